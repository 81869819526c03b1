-- name: columns
-- The columns of a table as format_type prints them; no row when there is no such table.
SELECT
    attribute.attname,
    format_type(attribute.atttypid, attribute.atttypmod) AS type,
    attribute.attnotnull,
    relation.relkind::text
FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
LEFT JOIN pg_attribute AS attribute
    ON relation.oid = attribute.attrelid AND attribute.attnum > 0 AND NOT attribute.attisdropped
WHERE namespace.nspname = %(schema)s AND relation.relname = %(table)s
ORDER BY attribute.attnum;

-- name: checks
-- CHECK constraints that a child must have too (https://www.postgresql.org/docs/current/ddl-inherit.html).
SELECT
    conname,
    pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid = %(table)s::regclass AND contype = 'c' AND NOT connoinherit
ORDER BY conname;

-- name: references
SELECT conrelid::regclass::text FROM pg_constraint
WHERE confrelid = %(table)s::regclass AND contype = 'f';

-- name: children
SELECT
    namespace.nspname,
    child.relname
FROM pg_inherits
INNER JOIN pg_class AS child ON pg_inherits.inhrelid = child.oid
INNER JOIN pg_namespace AS namespace ON child.relnamespace = namespace.oid
WHERE pg_inherits.inhparent = %(table)s::regclass
ORDER BY child.relname;
