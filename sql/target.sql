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

-- name: view_kind
SELECT relkind::text FROM pg_class
WHERE oid = to_regclass(%(view)s);

-- name: view_dependants
-- What would be lost with a view: other views by their rewrite rules, functions with parsed bodies, and so on.
SELECT DISTINCT coalesce(dependant.oid::regclass::text, pg_describe_object(depend.classid, depend.objid, 0)) AS name
FROM pg_depend AS depend
LEFT JOIN pg_rewrite AS rule ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
LEFT JOIN pg_class AS dependant ON rule.ev_class = dependant.oid
WHERE
    depend.refclassid = 'pg_class'::regclass
    AND depend.refobjid = to_regclass(%(view)s)
    AND depend.deptype = 'n'
    AND depend.objid <> depend.refobjid
    AND dependant.oid IS DISTINCT FROM depend.refobjid
ORDER BY name;

-- name: grants
-- Who may do what with a relation, its owner left out.
SELECT
    CASE WHEN acl.grantee = 0 THEN NULL ELSE pg_get_userbyid(acl.grantee) END AS grantee,
    acl.privilege_type,
    acl.is_grantable
FROM pg_class AS relation
CROSS JOIN LATERAL aclexplode(relation.relacl) AS acl
WHERE relation.oid = to_regclass(%(view)s) AND acl.grantee <> relation.relowner;
