-- name: columns
-- The columns of a table, and their types as format_type prints them, with their modifiers and without; of an enum, the
-- catalog does not have the name.
SELECT
    attname,
    CASE
        WHEN pg_type.typtype = 'e' THEN 'enum'
        WHEN element.typtype = 'e' THEN 'enum[]'
        ELSE format_type(atttypid, atttypmod)
    END AS type,
    CASE
        WHEN pg_type.typtype = 'e' THEN 'enum'
        WHEN element.typtype = 'e' THEN 'enum[]'
        ELSE format_type(atttypid, NULL)
    END AS plain
FROM pg_attribute
INNER JOIN pg_type ON pg_attribute.atttypid = pg_type.oid
LEFT JOIN pg_type AS element ON pg_type.typelem = element.oid AND pg_type.typcategory = 'A'
WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: has_children
-- Whether other tables inherit from it: its key does not hold for their rows.
SELECT count(*) > 0
FROM pg_inherits
INNER JOIN pg_class ON pg_inherits.inhparent = pg_class.oid
WHERE pg_class.oid = to_regclass(%(table)s) AND pg_class.relkind = 'r';

-- name: indexed
-- The columns of which an index serves ranges: a B-tree, valid, whole, with the column first.
SELECT DISTINCT pg_attribute.attname
FROM pg_index
INNER JOIN pg_class AS index_class ON pg_index.indexrelid = index_class.oid
INNER JOIN pg_am ON index_class.relam = pg_am.oid
INNER JOIN pg_attribute ON pg_index.indrelid = pg_attribute.attrelid AND pg_attribute.attnum = pg_index.indkey[0]
WHERE
    pg_index.indrelid = to_regclass(%(table)s)
    AND pg_am.amname = 'btree'
    AND pg_index.indisvalid
    AND pg_index.indpred IS NULL;

-- name: keys
-- The columns that are unique and never NULL, each alone; that of the primary key first.
SELECT pg_attribute.attname
FROM pg_index
INNER JOIN pg_attribute ON pg_index.indrelid = pg_attribute.attrelid AND pg_attribute.attnum = pg_index.indkey[0]
WHERE
    pg_index.indrelid = to_regclass(%(table)s)
    AND pg_attribute.attnotnull
    AND pg_index.indnkeyatts = 1
    AND pg_index.indisunique
    AND pg_index.indisvalid
    AND pg_index.indpred IS NULL
ORDER BY pg_index.indisprimary DESC, pg_attribute.attnum ASC;
