-- name: orphaned_tables
-- The tables that were published, or have parts, and are not among those: each with its parts, the relations that have
-- these as children, and the bytes of all that. A table that is published without parts is told by its name: the role
-- acts for its owner. `in_use` is whether it was exported or published within that time.
WITH parts AS (
    SELECT
        part.table_name,
        part.id,
        relation.oid
    FROM pg_class AS relation
    INNER JOIN recosync.part ON part.id = substring(relation.relname FROM '^part_([0-9]{1,18})$')::bigint
    WHERE relation.relnamespace = 'recosync'::regnamespace AND part.table_name <> all(%(tables)s::text[])
),

known AS (
    SELECT table_name FROM recosync.publication
    WHERE table_name <> all(%(tables)s::text[])
    UNION
    SELECT table_name FROM parts
),

parents AS (
    SELECT DISTINCT
        parts.table_name,
        attached.inhparent AS oid
    FROM parts
    INNER JOIN pg_inherits AS attached ON parts.oid = attached.inhrelid
),

homes AS (
    SELECT
        table_name,
        oid
    FROM parents
    UNION
    SELECT
        known.table_name,
        relation.oid
    FROM known
    INNER JOIN pg_class AS relation ON known.table_name = relation.relname AND relation.relkind = 'r'
    WHERE
        relation.relnamespace <> 'recosync'::regnamespace
        AND pg_has_role(relation.relowner, 'USAGE')
        AND NOT EXISTS (
            SELECT FROM parents
            WHERE parents.table_name = known.table_name
        )
),

every AS (
    SELECT
        table_name,
        oid
    FROM homes
    UNION ALL
    SELECT
        table_name,
        oid
    FROM parts
)

SELECT
    known.table_name,
    (
        SELECT json_agg(json_build_array(namespace.nspname, relation.relname) ORDER BY namespace.nspname)
        FROM homes
        INNER JOIN pg_class AS relation ON homes.oid = relation.oid
        INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
        WHERE homes.table_name = known.table_name
    ) AS relations,
    array(
        SELECT parts.id FROM parts
        WHERE parts.table_name = known.table_name
        ORDER BY parts.id
    ) AS parts,
    coalesce((
        SELECT sum(pg_total_relation_size(every.oid)) FROM every
        WHERE every.table_name = known.table_name
    ), 0)::bigint AS bytes,
    coalesce(greatest(
        (
            SELECT max(publication.published_at) FROM recosync.publication
            WHERE publication.table_name = known.table_name
        ),
        (
            SELECT max(call.finished_at) FROM recosync.export_run AS call
            WHERE call.table_name = known.table_name
        )
    ) > clock_timestamp() - %(quiet)s::interval, false) AS in_use
FROM known
ORDER BY known.table_name;

-- name: orphaned_views
-- The views that were built and are not among those: each with the materialized views of its name that read a table or
-- part of ours, and their bytes.
WITH known AS (
    SELECT
        view_name,
        array_agg(DISTINCT table_name) AS reads,
        max(built_at) AS built_at
    FROM recosync.view_build
    WHERE view_name <> all(%(views)s::text[])
    GROUP BY view_name
),

homes AS (
    SELECT DISTINCT
        known.view_name,
        relation.oid
    FROM known
    INNER JOIN pg_class AS relation ON known.view_name = relation.relname AND relation.relkind = 'm'
    INNER JOIN pg_rewrite AS rule ON relation.oid = rule.ev_class
    INNER JOIN pg_depend AS depend ON depend.classid = 'pg_rewrite'::regclass AND rule.oid = depend.objid
    INNER JOIN pg_class AS source ON depend.refclassid = 'pg_class'::regclass AND depend.refobjid = source.oid
    WHERE
        source.oid <> relation.oid
        AND (source.relnamespace = 'recosync'::regnamespace OR source.relname = any(known.reads))
)

SELECT
    known.view_name,
    (
        SELECT json_agg(json_build_array(namespace.nspname, relation.relname) ORDER BY namespace.nspname)
        FROM homes
        INNER JOIN pg_class AS relation ON homes.oid = relation.oid
        INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
        WHERE homes.view_name = known.view_name
    ) AS relations,
    '{}'::bigint[] AS parts,
    coalesce((
        SELECT sum(pg_total_relation_size(homes.oid)) FROM homes
        WHERE homes.view_name = known.view_name
    ), 0)::bigint AS bytes,
    known.built_at > clock_timestamp() - %(quiet)s::interval AS in_use
FROM known
ORDER BY known.view_name;

-- name: forget_table
-- What the ledger has of a table, but for what a human rejected, and for calls and failures, which are history: should
-- the table come back, it is as if it had never been published.
WITH rejected AS (
    SELECT
        table_name,
        snapshot_id
    FROM recosync.hold
    WHERE table_name = %(name)s AND decision = 'rejected'
),

gone_pin AS (
    DELETE FROM recosync.pin
    WHERE table_name = %(name)s
),

gone_holds AS (
    DELETE FROM recosync.hold
    WHERE table_name = %(name)s AND decision IS DISTINCT FROM 'rejected'
),

gone_builds AS (
    DELETE FROM recosync.view_build
    WHERE table_name = %(name)s
),

gone_publications AS (
    DELETE FROM recosync.publication
    WHERE table_name = %(name)s
),

gone_receipts AS (
    DELETE FROM recosync.receipt
    WHERE table_name = %(name)s
),

gone_parts AS (
    DELETE FROM recosync.part
    WHERE table_name = %(name)s
),

gone_names AS (
    DELETE FROM recosync.snapshot_part
    WHERE table_name = %(name)s AND snapshot_id NOT IN (SELECT snapshot_id FROM rejected)
),

gone_failing AS (
    DELETE FROM recosync.failing
    WHERE name = %(name)s
)

DELETE FROM recosync.snapshot
WHERE table_name = %(name)s AND snapshot_id NOT IN (SELECT snapshot_id FROM rejected);

-- name: forget_view
WITH gone_failing AS (
    DELETE FROM recosync.failing
    WHERE name = %(name)s
)

DELETE FROM recosync.view_build
WHERE view_name = %(name)s;
