-- The ledger, version 6: the catalog that the functions work by, and how fresh each table and view is, for those who
-- read them.

CREATE TABLE recosync.catalog_entry (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('table', 'view')),
    schema_name text NOT NULL,
    reads text[] NOT NULL
);
COMMENT ON TABLE recosync.catalog_entry IS
'The tables and views of the catalog by which a function worked last. reads are the tables that a view reads; a table '
'reads itself.';

CREATE INDEX failure_by_snapshot ON recosync.failure (table_name, snapshot_id);

-- docs/contract.md promises the columns of this view and the words of state. It is asked with every request of an API:
-- each of its parts is a step down an index, in statements that prepare for any number of rows.
CREATE VIEW recosync.freshness AS
SELECT
    1 AS contract,
    entry.name,
    entry.kind,
    entry.schema_name,
    entry.reads,
    CASE
        -- What a view reads was published since: this is about its refresh.
        WHEN entry.kind = 'view' AND NOT rows.unpublished AND rows.behind
            THEN
                CASE
                    WHEN rows.refused THEN 'failed'
                    WHEN
                        EXISTS (
                            SELECT FROM recosync.failing
                            WHERE
                                failing.function = 'mv_refresh' AND failing.name = any(entry.name || entry.reads)
                                AND failing.retryable AND failing.error NOT IN ('BusyError', 'IncompleteError')
                                AND failing.last_at > coalesce(failing.acknowledged_at, now() - interval '26 hours')
                        )
                        THEN 'failing'
                    ELSE 'behind'
                END
        WHEN rows.trouble < 5 THEN (ARRAY['pinned', 'held', 'failed', 'failing'])[rows.trouble]
        WHEN rows.publication IS NULL THEN 'never_published'
        WHEN rows.fresh_at > now() - interval '26 hours' THEN 'fresh'
        ELSE 'stale'
    END AS state,
    rows.snapshot,
    rows.publication,
    rows.source_changed_at,
    rows.fresh_at,
    rows.published_at,
    rows.refreshed_at,
    now() - rows.fresh_at AS age
FROM recosync.catalog_entry AS entry
CROSS JOIN LATERAL ( -- noqa: ST05
    WITH source AS (
        SELECT
            seen.publication AS seen,
            held.publication,
            held.snapshot_id AS snapshot,
            held.source_modified_at AS source_changed_at,
            held.published_at,
            built.refreshed_at,
            -- The latest instant at which the source is known to have had these rows. The rows that a table held before
            -- its first publish have the id of the year 1, and no such instant.
            greatest(
                coalesce(
                    held.export_started_at,
                    CASE WHEN held.snapshot_id > '0002' THEN held.snapshot_id::timestamptz END
                ),
                (
                    SELECT max(call.started_at) FROM recosync.export_run AS call
                    WHERE
                        call.table_name = held.table_name AND call.snapshot_id = held.snapshot_id
                        AND call.outcome = 'confirmed unchanged' AND call.message IS NULL
                )
            ) AS fresh_at,
            -- Whether the refresh of what readers of the table see failed for good.
            (
                SELECT count(*) > 0 FROM recosync.failure
                WHERE
                    failure.table_name = seen.table_name AND failure.snapshot_id = seen.snapshot_id
                    AND failure.subject = 'publication ' || seen.publication
                    AND failure.acknowledged_at IS NULL
                    AND seen.publication IS DISTINCT FROM held.publication
            ) AS refused,
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM recosync.pin
                        WHERE pin.table_name = wanted.name
                    )
                    THEN 1
                WHEN
                    last_call.outcome = 'held'
                    OR (
                        SELECT hold.snapshot_id FROM recosync.hold
                        WHERE
                            hold.table_name = wanted.name AND hold.snapshot_id > coalesce(newest.snapshot_id, '')
                            AND hold.decision IS NULL
                        ORDER BY hold.snapshot_id DESC
                        LIMIT 1
                    ) IS NOT NULL
                    THEN 2
                WHEN
                    (last_call.outcome = 'failed' AND last_call.acknowledged_at IS NULL)
                    OR (
                        SELECT failure.snapshot_id FROM recosync.failure
                        WHERE
                            failure.table_name = wanted.name AND failure.snapshot_id > coalesce(newest.snapshot_id, '')
                            AND failure.acknowledged_at IS NULL
                        ORDER BY failure.snapshot_id DESC
                        LIMIT 1
                    ) IS NOT NULL
                    THEN 3
                WHEN
                    EXISTS (
                        SELECT FROM recosync.failing
                        WHERE
                            failing.function IN ('bq_export', 'gcs_import') AND failing.name = wanted.name
                            AND failing.retryable AND failing.error NOT IN ('BusyError', 'IncompleteError')
                            AND failing.last_at > coalesce(failing.acknowledged_at, now() - interval '26 hours')
                    )
                    THEN 4
                ELSE 5
            END AS trouble
        FROM unnest(entry.reads) AS wanted (name)
        -- What readers of the table see.
        LEFT JOIN LATERAL (
            SELECT
                publication.table_name,
                publication.publication,
                publication.snapshot_id
            FROM recosync.publication
            WHERE publication.table_name = wanted.name
            ORDER BY publication.publication DESC
            LIMIT 1
        ) AS seen ON TRUE
        -- What the view holds of it.
        LEFT JOIN LATERAL (
            SELECT
                view_build.publication,
                coalesce(view_build.rebuilt_at, view_build.built_at) AS refreshed_at
            FROM recosync.view_build
            WHERE
                view_build.view_name = entry.name AND view_build.table_name = wanted.name
                AND entry.kind = 'view'
            ORDER BY view_build.publication DESC
            LIMIT 1
        ) AS built ON TRUE
        LEFT JOIN LATERAL (
            SELECT
                publication.table_name,
                publication.publication,
                publication.snapshot_id,
                publication.published_at,
                snapshot.source_modified_at,
                snapshot.export_started_at
            FROM recosync.publication
            INNER JOIN recosync.snapshot
                ON publication.table_name = snapshot.table_name AND publication.snapshot_id = snapshot.snapshot_id
            WHERE
                publication.table_name = wanted.name
                AND publication.publication
                = CASE entry.kind WHEN 'view' THEN built.publication ELSE seen.publication END
            ORDER BY publication.publication
            LIMIT 1
        ) AS held ON TRUE
        -- The newest snapshot that readers have ever seen: what an operator went back from is no news.
        LEFT JOIN LATERAL (
            SELECT publication.snapshot_id FROM recosync.publication
            WHERE publication.table_name = wanted.name
            ORDER BY publication.snapshot_id DESC
            LIMIT 1
        ) AS newest ON TRUE
        -- What the last call found of the source. A range and an order by the name have it asked of the index that
        -- begins with the name: by the ids alone, a table that no call names would cost a look at every call.
        LEFT JOIN LATERAL (
            SELECT
                call.outcome,
                call.acknowledged_at
            FROM recosync.export_run AS call
            WHERE
                call.table_name BETWEEN wanted.name AND wanted.name
                AND call.outcome NOT IN ('exported already', 'to be retried')
            ORDER BY call.table_name ASC, call.id DESC
            LIMIT 1
        ) AS last_call ON TRUE
    )

    -- Of several tables that a view reads, the one with the oldest rows counts; one that it does not hold comes first.
    SELECT
        source.snapshot,
        source.publication,
        source.source_changed_at,
        source.fresh_at,
        source.published_at,
        max(source.refreshed_at) OVER () AS refreshed_at,
        min(source.trouble) OVER () AS trouble,
        bool_or(source.seen IS NULL) OVER () AS unpublished,
        bool_or(source.seen IS DISTINCT FROM source.publication) OVER () AS behind,
        bool_or(source.refused) OVER () AS refused
    FROM source
    ORDER BY (source.publication IS NULL) DESC, source.fresh_at ASC NULLS FIRST
    LIMIT 1
) AS rows;
COMMENT ON VIEW recosync.freshness IS
'How fresh each table and view of the catalog is. Its columns are a contract: docs/contract.md.';

GRANT SELECT ON recosync.catalog_entry, recosync.freshness TO public;
