-- name: standing
-- Everything that the standing of snapshots depends on: what readers see of their tables and have seen of them, and
-- what humans and failures say.
WITH wanted AS (
    SELECT
        unnest(%(tables)s::text[]) AS table_name,
        unnest(%(snapshots)s::text[]) AS snapshot_id
)

SELECT
    wanted.table_name,
    wanted.snapshot_id,
    newest.publication,
    newest.snapshot_id AS seen,
    (
        SELECT count(*) > 0 FROM recosync.publication
        WHERE publication.table_name = wanted.table_name AND publication.snapshot_id = wanted.snapshot_id
    ) AS was_published,
    hold.reasons,
    hold.decision,
    pin.snapshot_id AS pinned,
    (
        SELECT count(*) > 0 FROM recosync.failure
        WHERE failure.table_name = wanted.table_name AND failure.snapshot_id = wanted.snapshot_id
    ) AS failed,
    -- Whether readers lack rows of what they should see: a part of it is no child of the table any more.
    CASE
        WHEN newest.snapshot_id = wanted.snapshot_id
            THEN EXISTS (
                SELECT FROM recosync.snapshot_part AS named
                LEFT JOIN recosync.part
                    ON
                        named.bucket = part.bucket AND named.name = part.name AND named.generation = part.generation
                        AND part.dropped_at IS NULL
                WHERE
                    named.table_name = wanted.table_name AND named.snapshot_id = wanted.snapshot_id
                    AND NOT EXISTS (
                        SELECT FROM pg_inherits
                        WHERE pg_inherits.inhrelid = to_regclass('recosync.part_' || part.id)
                    )
            )
        ELSE FALSE
    END AS damaged,
    stated.snapshot_id IS NOT NULL AS recorded,
    stated.traceparent
FROM wanted
LEFT JOIN LATERAL (
    SELECT
        publication.publication,
        publication.snapshot_id
    FROM recosync.publication
    WHERE publication.table_name = wanted.table_name
    ORDER BY publication.publication DESC
    LIMIT 1
) AS newest ON TRUE
LEFT JOIN recosync.hold
    ON wanted.table_name = hold.table_name AND wanted.snapshot_id = hold.snapshot_id
LEFT JOIN recosync.pin ON wanted.table_name = pin.table_name
LEFT JOIN recosync.snapshot AS stated
    ON wanted.table_name = stated.table_name AND wanted.snapshot_id = stated.snapshot_id;

-- name: unaccounted
-- The tables that stand without a row, and of which the ledger knows no snapshot. A table of others, which is adopted
-- with its rows at the first publish, has some.
WITH wanted AS (
    SELECT
        unnest(%(tables)s::text[]) AS table_name,
        unnest(%(schemas)s::text[]) AS schema_name
)

SELECT wanted.table_name AS name FROM wanted
INNER JOIN pg_namespace ON wanted.schema_name = pg_namespace.nspname
INNER JOIN pg_class
    ON pg_namespace.oid = pg_class.relnamespace AND wanted.table_name = pg_class.relname AND pg_class.relkind = 'r'
WHERE
    pg_relation_size(pg_class.oid) = 0
    AND NOT EXISTS (
        SELECT FROM pg_inherits
        WHERE pg_inherits.inhparent = pg_class.oid
    )
    AND NOT EXISTS (
        SELECT FROM recosync.snapshot
        WHERE snapshot.table_name = wanted.table_name
    );
