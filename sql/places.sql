-- name: schema_rights
SELECT
    has_schema_privilege(oid, 'USAGE') AS may_use,
    has_schema_privilege(oid, 'CREATE') AS may_create
FROM pg_namespace
WHERE nspname = %(schema)s;

-- name: table_elsewhere
-- Another relation than the table that has the table's parts as children.
SELECT
    home.nspname,
    parent.relname
FROM pg_inherits AS attached
INNER JOIN pg_class AS child ON attached.inhrelid = child.oid AND child.relnamespace = 'recosync'::regnamespace
INNER JOIN recosync.part ON part.id = substring(child.relname FROM '^part_([0-9]{1,18})$')::bigint
INNER JOIN pg_class AS parent ON attached.inhparent = parent.oid
INNER JOIN pg_namespace AS home ON parent.relnamespace = home.oid
WHERE
    part.table_name = %(name)s
    AND (home.nspname, parent.relname) <> (%(schema)s, %(name)s)
ORDER BY home.nspname, parent.relname
LIMIT 1;

-- name: view_elsewhere
-- A materialized view of that name in another schema, over tables or parts of ours, of which the ledger knows and that
-- is not in its place.
SELECT
    home.nspname,
    relation.relname
FROM pg_class AS relation
INNER JOIN pg_namespace AS home ON relation.relnamespace = home.oid
INNER JOIN pg_rewrite AS rule ON relation.oid = rule.ev_class
INNER JOIN pg_depend AS depend ON depend.classid = 'pg_rewrite'::regclass AND rule.oid = depend.objid
INNER JOIN pg_class AS source ON depend.refclassid = 'pg_class'::regclass AND depend.refobjid = source.oid
INNER JOIN pg_namespace AS source_home ON source.relnamespace = source_home.oid
WHERE
    relation.relname = %(name)s
    AND relation.relkind = 'm'
    AND home.nspname <> %(schema)s
    AND source.oid <> relation.oid
    AND (source_home.nspname = 'recosync' OR source.relname = any(%(reads)s))
    AND EXISTS (
        SELECT FROM recosync.view_build
        WHERE view_build.view_name = %(name)s
    )
    AND to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(name)s)) IS NULL
ORDER BY home.nspname
LIMIT 1;
