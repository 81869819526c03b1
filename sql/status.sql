-- name: access
SELECT
    coalesce(has_schema_privilege(schemas.oid, 'USAGE'), FALSE) AS schema_usable,
    coalesce(has_table_privilege(relations.oid, 'SELECT'), FALSE) AS readable
FROM pg_catalog.pg_namespace AS schemas
INNER JOIN pg_catalog.pg_class AS relations ON schemas.oid = relations.relnamespace AND relations.relname = 'migration'
WHERE schemas.nspname = 'recosync';

-- name: published
WITH wanted AS (SELECT unnest(%(tables)s::text[]) AS name)

SELECT
    publication.table_name AS name,
    publication.snapshot_id AS snapshot,
    publication.publication,
    publication.rows,
    publication.published_at,
    publication.cause,
    snapshot.source_modified_at,
    snapshot.export_started_at,
    (
        SELECT max(export_run.started_at) FROM recosync.export_run
        WHERE
            export_run.table_name = publication.table_name AND export_run.snapshot_id = publication.snapshot_id
            AND export_run.outcome = 'confirmed unchanged' AND export_run.message IS NULL
    ) AS confirmed_at,
    receipt.made_at AS receipt_made_at,
    (receipt.bigquery ->> 'rows')::bigint AS bigquery_rows,
    (receipt.parquet ->> 'rows')::bigint AS parquet_rows,
    (receipt.postgresql ->> 'rows')::bigint AS postgresql_rows,
    (SELECT count(*) FROM jsonb_object_keys(receipt.postgresql -> 'columns')) AS columns,
    receipt.duplicate_keys,
    -- Parts of it that are no children of the table any more: somebody dropped or detached them.
    (
        SELECT count(*) FROM recosync.snapshot_part AS named
        LEFT JOIN recosync.part
            ON
                named.bucket = part.bucket AND named.name = part.name AND named.generation = part.generation
                AND part.dropped_at IS NULL
        WHERE
            named.table_name = publication.table_name AND named.snapshot_id = publication.snapshot_id
            AND NOT EXISTS (
                SELECT FROM pg_inherits
                WHERE pg_inherits.inhrelid = to_regclass('recosync.part_' || part.id)
            )
    ) AS lost_parts
FROM wanted
-- One step down the index for each table: the ledger keeps the publications of months.
INNER JOIN LATERAL (
    SELECT
        latest.table_name,
        latest.snapshot_id,
        latest.publication,
        latest.rows,
        latest.published_at,
        latest.cause
    FROM recosync.publication AS latest
    WHERE latest.table_name = wanted.name
    ORDER BY latest.publication DESC
    LIMIT 1
) AS publication ON TRUE
INNER JOIN recosync.snapshot
    ON publication.table_name = snapshot.table_name AND publication.snapshot_id = snapshot.snapshot_id
LEFT JOIN recosync.receipt
    ON publication.table_name = receipt.table_name AND publication.snapshot_id = receipt.snapshot_id;

-- name: snapshots
WITH wanted AS (SELECT unnest(%(tables)s::text[]) AS name),

recent AS (
    SELECT
        newest.table_name,
        newest.snapshot_id,
        newest.export_started_at,
        newest.exported_at,
        newest.manifest_recorded_at
    FROM wanted
    INNER JOIN LATERAL (
        SELECT
            snapshot.table_name,
            snapshot.snapshot_id,
            snapshot.export_started_at,
            snapshot.exported_at,
            snapshot.manifest_recorded_at
        FROM recosync.snapshot
        WHERE snapshot.table_name = wanted.name AND snapshot.snapshot_id <> %(adopted)s
        ORDER BY snapshot.snapshot_id DESC
        LIMIT %(runs)s
    ) AS newest ON TRUE
),

-- A part that was dropped and staged again, for a rollback, was staged when it came first.
first_staged AS MATERIALIZED (
    SELECT DISTINCT ON (named.bucket, named.name, named.generation)
        named.table_name,
        named.snapshot_id,
        part.staged_at,
        part.seconds
    FROM recent
    INNER JOIN recosync.snapshot_part AS named
        ON recent.table_name = named.table_name AND recent.snapshot_id = named.snapshot_id
    INNER JOIN recosync.part
        ON
            -- The first two follow from the name, and have an index.
            named.table_name = part.table_name AND named.snapshot_id = part.snapshot_id
            AND named.bucket = part.bucket AND named.name = part.name AND named.generation = part.generation
            AND part.rows IS NOT NULL
    ORDER BY named.bucket, named.name, named.generation, part.id
),

staged AS (
    SELECT
        table_name,
        snapshot_id,
        min(staged_at - seconds * interval '1 second') AS began,
        max(staged_at) AS ended
    FROM first_staged
    GROUP BY table_name, snapshot_id
),

published AS (
    SELECT DISTINCT ON (publication.table_name, publication.snapshot_id)
        publication.table_name,
        publication.snapshot_id,
        publication.publication,
        publication.published_at,
        publication.cause,
        publication.seconds
    FROM recent
    INNER JOIN recosync.publication
        ON recent.table_name = publication.table_name AND recent.snapshot_id = publication.snapshot_id
    ORDER BY publication.table_name, publication.snapshot_id, publication.publication
),

-- A view that is built again later held the snapshot before: it was refreshed when it held it first.
refreshed AS (
    SELECT
        published.table_name,
        published.snapshot_id,
        max(view_build.built_at) AS ended
    FROM published
    INNER JOIN recosync.view_build
        ON published.table_name = view_build.table_name AND published.publication = view_build.publication
    GROUP BY published.table_name, published.snapshot_id
)

SELECT
    recent.table_name AS name,
    recent.snapshot_id AS snapshot,
    recent.export_started_at AS export_began,
    recent.exported_at AS export_ended,
    recent.manifest_recorded_at AS recorded,
    staged.began AS stage_began,
    staged.ended AS stage_ended,
    receipt.made_at AS counted,
    published.published_at AS published,
    published.cause,
    published.seconds,
    refreshed.ended AS refresh_ended,
    hold.decision,
    hold.held_at AS held
FROM recent
LEFT JOIN staged ON recent.table_name = staged.table_name AND recent.snapshot_id = staged.snapshot_id
LEFT JOIN published ON recent.table_name = published.table_name AND recent.snapshot_id = published.snapshot_id
LEFT JOIN refreshed ON recent.table_name = refreshed.table_name AND recent.snapshot_id = refreshed.snapshot_id
LEFT JOIN recosync.receipt ON recent.table_name = receipt.table_name AND recent.snapshot_id = receipt.snapshot_id
LEFT JOIN recosync.hold ON recent.table_name = hold.table_name AND recent.snapshot_id = hold.snapshot_id
ORDER BY recent.table_name ASC, recent.snapshot_id DESC;

-- name: calls
WITH wanted AS (SELECT unnest(%(tables)s::text[]) AS name)

SELECT
    newest.table_name AS name,
    newest.started_at,
    newest.finished_at,
    newest.outcome,
    newest.snapshot_id AS snapshot,
    newest.message,
    newest.id,
    newest.acknowledged_at,
    newest.acknowledged_by,
    newest.acknowledged_why
FROM wanted
INNER JOIN LATERAL (
    SELECT
        export_run.id,
        export_run.table_name,
        export_run.started_at,
        export_run.finished_at,
        export_run.outcome,
        export_run.snapshot_id,
        export_run.message,
        export_run.acknowledged_at,
        export_run.acknowledged_by,
        export_run.acknowledged_why
    FROM recosync.export_run
    WHERE export_run.table_name = wanted.name AND export_run.outcome <> 'exported already'
    ORDER BY export_run.id DESC
    LIMIT %(runs)s
) AS newest ON TRUE
ORDER BY newest.table_name ASC, newest.id DESC;

-- name: holds
SELECT
    hold.table_name AS name,
    hold.snapshot_id AS snapshot,
    snapshot.rows,
    hold.held_at,
    hold.reasons
FROM recosync.hold
INNER JOIN recosync.snapshot
    ON hold.table_name = snapshot.table_name AND hold.snapshot_id = snapshot.snapshot_id
WHERE
    hold.decision IS NULL
    AND NOT EXISTS (
        SELECT FROM recosync.publication
        WHERE publication.table_name = hold.table_name AND publication.snapshot_id >= hold.snapshot_id
    )
ORDER BY hold.table_name ASC, hold.snapshot_id DESC;

-- name: pins
SELECT
    table_name AS name,
    snapshot_id AS snapshot,
    pinned_at,
    pinned_by
FROM recosync.pin;

-- name: views
WITH wanted AS (
    SELECT
        unnest(%(views)s::text[]) AS view_name,
        unnest(%(reads)s::text[]) AS table_name,
        unnest(%(schemas)s::text[]) AS schema_name
)

SELECT
    latest.view_name AS name,
    latest.table_name,
    latest.publication,
    publication.snapshot_id AS snapshot,
    latest.built_at,
    latest.seconds,
    latest.template,
    (
        SELECT count(*) > 0 FROM pg_class
        INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
        WHERE
            pg_namespace.nspname = wanted.schema_name AND pg_class.relname = wanted.view_name
            AND pg_class.relkind = 'm'
    ) AS stands
FROM wanted
INNER JOIN LATERAL (
    SELECT
        view_build.view_name,
        view_build.table_name,
        view_build.publication,
        coalesce(view_build.rebuilt_at, view_build.built_at) AS built_at,
        view_build.seconds,
        view_build.template
    FROM recosync.view_build
    WHERE view_build.view_name = wanted.view_name AND view_build.table_name = wanted.table_name
    ORDER BY view_build.publication DESC
    LIMIT 1
) AS latest ON TRUE
INNER JOIN recosync.publication
    ON latest.table_name = publication.table_name AND latest.publication = publication.publication
ORDER BY latest.view_name ASC, latest.table_name ASC;

-- name: orphans
-- What was published or built, and is not in the catalog any more.
SELECT DISTINCT
    'view' AS kind,
    view_name AS name
FROM recosync.view_build
WHERE view_name <> all(%(views)s::text[])
UNION ALL
SELECT DISTINCT
    'table' AS kind,
    table_name AS name
FROM recosync.publication
WHERE table_name <> all(%(tables)s::text[])
ORDER BY kind DESC, name ASC;

-- name: failing
-- What was told so lately that a retry, or the next call, may still come to it.
SELECT
    function,
    name,
    error,
    message,
    retryable,
    first_at,
    last_at,
    times,
    acknowledged_at,
    acknowledged_by,
    acknowledged_why
FROM recosync.failing
WHERE last_at > %(since)s
ORDER BY last_at DESC;

-- name: failed
-- The newest snapshots that something failed for good of, and what that was last.
WITH wanted AS (SELECT unnest(%(tables)s::text[]) AS name)

SELECT
    newest.table_name AS name,
    newest.snapshot_id AS snapshot,
    newest.at,
    newest.message,
    newest.templates,
    newest.id,
    newest.acknowledged_at,
    newest.acknowledged_by,
    newest.acknowledged_why
FROM wanted
INNER JOIN LATERAL (
    SELECT DISTINCT ON (failure.snapshot_id)
        failure.id,
        failure.table_name,
        failure.snapshot_id,
        failure.at,
        failure.message,
        failure.templates,
        failure.acknowledged_at,
        failure.acknowledged_by,
        failure.acknowledged_why
    FROM recosync.failure
    WHERE failure.table_name = wanted.name AND failure.snapshot_id IS NOT NULL
    ORDER BY failure.snapshot_id DESC, failure.id DESC
    LIMIT %(runs)s
) AS newest ON TRUE
ORDER BY newest.table_name ASC, newest.snapshot_id DESC;

-- name: failures
WITH both_kinds AS (
    SELECT
        id,
        at,
        kind,
        table_name,
        snapshot_id,
        subject,
        message,
        acknowledged_at,
        acknowledged_by,
        acknowledged_why,
        substring(subject FROM '^publication ([0-9]{1,18})$')::bigint AS publication,
        FALSE AS is_export
    FROM recosync.failure
    WHERE at > %(since)s
    UNION ALL
    SELECT
        id,
        finished_at,
        'Export',
        table_name,
        snapshot_id,
        'export',
        coalesce(message, 'no reason was recorded'),
        acknowledged_at,
        acknowledged_by,
        acknowledged_why,
        NULL,
        TRUE
    FROM recosync.export_run
    WHERE outcome = 'failed' AND finished_at > %(since)s
),

newest AS (
    SELECT
        *,
        count(*) OVER () AS total
    FROM both_kinds
    ORDER BY at DESC
    LIMIT %(limit)s
)

SELECT
    newest.at,
    newest.kind,
    newest.table_name,
    newest.snapshot_id AS snapshot,
    newest.subject,
    newest.message,
    newest.publication,
    newest.total,
    newest.id,
    newest.is_export,
    newest.acknowledged_at,
    newest.acknowledged_by,
    newest.acknowledged_why,
    CASE
        WHEN newest.is_export
            THEN EXISTS (
                SELECT FROM recosync.export_run
                WHERE
                    export_run.table_name = newest.table_name AND export_run.finished_at > newest.at
                    AND export_run.outcome IN ('exported', 'confirmed unchanged', 'held')
            )
        -- An object that no manifest names: nobody missed it if the table came through since.
        WHEN newest.snapshot_id IS NULL
            THEN EXISTS (
                SELECT FROM recosync.receipt
                WHERE receipt.table_name = newest.table_name AND receipt.made_at > newest.at
            )
            OR EXISTS (
                SELECT FROM recosync.export_run
                WHERE
                    export_run.table_name = newest.table_name AND export_run.started_at > newest.at
                    AND export_run.outcome = 'confirmed unchanged'
            )
        ELSE
            EXISTS (
                SELECT FROM recosync.receipt
                WHERE receipt.table_name = newest.table_name AND receipt.snapshot_id > newest.snapshot_id
            )
            OR EXISTS (
                SELECT FROM recosync.publication
                WHERE publication.table_name = newest.table_name AND publication.snapshot_id = newest.snapshot_id
            )
            OR EXISTS (
                SELECT FROM recosync.hold
                WHERE hold.table_name = newest.table_name AND hold.snapshot_id = newest.snapshot_id
            )
    END AS passed
FROM newest
ORDER BY newest.at DESC;
