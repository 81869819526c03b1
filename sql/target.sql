-- name: columns
-- The columns of a table as format_type prints them; no row when there is no such table.
SELECT
    attribute.attname,
    format_type(attribute.atttypid, attribute.atttypmod) AS type,
    attribute.attnotnull,
    relation.relkind::text,
    attribute.attgenerated::text AS generated,
    pg_get_expr(def.adbin, def.adrelid) AS default_value
FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
LEFT JOIN pg_attribute AS attribute
    ON relation.oid = attribute.attrelid AND attribute.attnum > 0 AND NOT attribute.attisdropped
LEFT JOIN pg_attrdef AS def ON attribute.attrelid = def.adrelid AND attribute.attnum = def.adnum
WHERE namespace.nspname = %(schema)s AND relation.relname = %(table)s
ORDER BY attribute.attnum;

-- name: required
-- The columns that are NOT NULL.
SELECT attname FROM pg_attribute
WHERE
    attrelid = to_regclass(%(table)s)
    AND attnum > 0
    AND attnotnull;

-- name: checks
-- CHECK constraints that a child must have too, with the columns that they use
-- (https://www.postgresql.org/docs/current/ddl-inherit.html).
SELECT
    conname,
    pg_get_constraintdef(oid) AS definition,
    array(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = conrelid AND attnum = any(conkey)
    ) AS used
FROM pg_constraint
WHERE
    conrelid = to_regclass(%(table)s)
    AND contype = 'c'
    AND NOT connoinherit
ORDER BY conname;

-- name: indexes_of_part
SELECT relation.relname FROM pg_index
INNER JOIN pg_class AS relation ON pg_index.indexrelid = relation.oid
WHERE pg_index.indrelid = to_regclass(%(part)s) AND pg_index.indisvalid;

-- name: has_indexes
SELECT count(*) > 0 FROM pg_index
WHERE indrelid = to_regclass(%(table)s);

-- name: children
SELECT
    namespace.nspname,
    child.relname
FROM pg_inherits
INNER JOIN pg_class AS child ON pg_inherits.inhrelid = child.oid
INNER JOIN pg_namespace AS namespace ON child.relnamespace = namespace.oid
WHERE pg_inherits.inhparent = %(table)s::regclass
ORDER BY child.relname;

-- name: columns_of_several
SELECT
    relation.relname,
    attribute.attname,
    format_type(attribute.atttypid, attribute.atttypmod) AS type
FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
INNER JOIN pg_attribute AS attribute ON relation.oid = attribute.attrelid
WHERE
    namespace.nspname = %(schema)s
    AND relation.relname = any(%(tables)s)
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
ORDER BY relation.relname, attribute.attnum;

-- name: recorded_columns
SELECT DISTINCT named.value ->> 'name' AS name
FROM recosync.snapshot
CROSS JOIN LATERAL jsonb_array_elements(snapshot.columns) AS named
WHERE snapshot.table_name = %(table)s;

-- name: unattached
-- The staged parts of a table that are not its children now.
SELECT part.id FROM recosync.part
WHERE
    part.table_name = %(name)s
    AND part.dropped_at IS NULL
    AND NOT EXISTS (
        SELECT FROM pg_inherits AS attached
        WHERE
            attached.inhparent = %(table)s::regclass
            AND attached.inhrelid = to_regclass('recosync.part_' || part.id)
    )
ORDER BY part.id;

-- name: column_dependants
-- What uses these columns of a table: views by their rewrite rules, functions with parsed bodies, policies, triggers,
-- and what the server rebuilds itself when a column's type changes, but would silently drop with the column. A default
-- and NOT NULL are the column's own.
SELECT DISTINCT
    attribute.attname,
    coalesce(viewed.oid::regclass::text, pg_describe_object(depend.classid, depend.objid, depend.objsubid)) AS name,
    namespace.nspname AS home,
    CASE WHEN viewed.relkind = 'm' THEN viewed.relname END AS view,
    depend.classid IN ('pg_constraint'::regclass, 'pg_statistic_ext'::regclass)
    OR (depend.classid = 'pg_class'::regclass AND depend.objsubid = 0) AS follows
FROM pg_attribute AS attribute
INNER JOIN pg_depend AS depend
    ON
        depend.refclassid = 'pg_class'::regclass
        AND attribute.attrelid = depend.refobjid
        AND attribute.attnum = depend.refobjsubid
LEFT JOIN pg_rewrite AS rule ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
LEFT JOIN pg_class AS viewed ON rule.ev_class = viewed.oid AND attribute.attrelid <> viewed.oid
LEFT JOIN pg_namespace AS namespace ON viewed.relnamespace = namespace.oid
LEFT JOIN pg_attrdef AS def
    ON
        depend.classid = 'pg_attrdef'::regclass
        AND depend.objid = def.oid
        AND attribute.attrelid = def.adrelid
        AND attribute.attnum = def.adnum
LEFT JOIN pg_constraint AS required
    ON depend.classid = 'pg_constraint'::regclass AND depend.objid = required.oid AND required.contype = 'n'
WHERE
    attribute.attrelid = %(table)s::regclass
    AND attribute.attname = any(%(columns)s)
    AND depend.deptype IN ('n', 'a')
    AND def.oid IS NULL
    AND required.oid IS NULL
ORDER BY name, attribute.attname;
