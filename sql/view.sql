-- name: kind
SELECT relkind::text FROM pg_class
WHERE oid = to_regclass(%(view)s);

-- name: owner
SELECT pg_get_userbyid(relowner)::text FROM pg_class
WHERE oid = to_regclass(%(view)s);

-- name: old_readers
-- Transactions that have held a lock on a view for longer than a swap would wait.
SELECT count(*) FROM pg_locks AS held
INNER JOIN pg_stat_activity AS activity ON held.pid = activity.pid
WHERE
    held.locktype = 'relation'
    AND held.database = activity.datid
    AND held.relation = to_regclass(%(view)s)
    AND held.granted
    AND activity.datname = current_database()
    AND activity.xact_start < clock_timestamp() - make_interval(secs => %(age)s);

-- name: standing
-- How a view stands, as text: its owner, all grants on it and its columns, and the versions of the rows in the catalog
-- that say what hangs on it. And what would be lost with it: other views by their rewrite rules, functions with parsed
-- bodies, and what uses the type of its rows.
WITH live AS (
    SELECT relation.*
    FROM pg_class AS relation
    WHERE relation.oid = to_regclass(%(view)s)
),

objects AS (
    SELECT oid FROM live
    UNION ALL
    SELECT reltoastrelid FROM live
    UNION ALL
    SELECT indexrelid FROM live INNER JOIN pg_index ON live.oid = indrelid
    UNION ALL
    SELECT own.oid FROM live INNER JOIN pg_statistic_ext AS own ON live.oid = stxrelid
),

versions AS (
    SELECT
        pg_class.oid,
        pg_class.xmin
    FROM objects INNER JOIN pg_class ON objects.oid = pg_class.oid
    WHERE pg_class.oid NOT IN (SELECT oid FROM live)  -- the swap itself renames it
    UNION ALL
    SELECT
        attrelid,
        pg_attribute.xmin
    FROM objects INNER JOIN pg_attribute ON objects.oid = attrelid
    UNION ALL
    SELECT
        indexrelid,
        pg_index.xmin
    FROM live INNER JOIN pg_index ON live.oid = indrelid
    UNION ALL
    SELECT
        own.oid,
        own.xmin
    FROM live INNER JOIN pg_statistic_ext AS own ON live.oid = stxrelid
    UNION ALL
    SELECT
        objoid,
        pg_description.xmin
    FROM objects INNER JOIN pg_description ON objects.oid = objoid
    UNION ALL
    SELECT
        objoid,
        pg_seclabel.xmin
    FROM objects INNER JOIN pg_seclabel ON objects.oid = objoid
)

SELECT
    concat_ws(
        ' ',
        live.relowner,
        live.relacl,
        live.relam,
        live.reltablespace,
        live.reloptions,
        (SELECT string_agg(oid || '.' || xmin, ' ' ORDER BY oid, xmin::text) FROM versions)
    ) AS state,
    array(
        SELECT DISTINCT
            coalesce(dependant.oid::regclass::text, pg_describe_object(depend.classid, depend.objid, 0)) AS name
        FROM pg_depend AS depend
        LEFT JOIN pg_type AS rows ON live.reltype = rows.oid
        LEFT JOIN pg_rewrite AS rule ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
        LEFT JOIN pg_class AS dependant
            ON
                rule.ev_class = dependant.oid
                OR (depend.classid = 'pg_class'::regclass AND depend.objid = dependant.oid)
        WHERE
            (
                (depend.refclassid = 'pg_class'::regclass AND live.oid = depend.refobjid)
                OR (depend.refclassid = 'pg_type'::regclass AND depend.refobjid IN (rows.oid, rows.typarray))
            )
            AND depend.deptype = 'n'
            AND dependant.oid IS DISTINCT FROM live.oid
        ORDER BY name
    ) AS dependants
FROM live;

-- name: grants
-- Who may do what with a relation or a column of it, its owner left out.
WITH granted AS (
    SELECT
        oid,
        relacl AS acl,
        NULL AS attname
    FROM pg_class
    UNION ALL
    SELECT
        attrelid,
        attacl,
        attname
    FROM pg_attribute
    WHERE NOT attisdropped
)

SELECT
    CASE WHEN acl.grantee = 0 THEN NULL ELSE pg_get_userbyid(acl.grantee) END AS grantee,
    acl.privilege_type,
    acl.is_grantable,
    granted.attname
FROM pg_class AS relation
INNER JOIN granted ON relation.oid = granted.oid
CROSS JOIN LATERAL aclexplode(granted.acl) AS acl
WHERE relation.oid = to_regclass(%(view)s) AND acl.grantee <> relation.relowner;

-- name: column_names
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(%(view)s) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: sources
-- The relations that a view reads.
SELECT DISTINCT
    namespace.nspname,
    source.relname
FROM pg_rewrite AS rule
INNER JOIN pg_depend AS depend ON depend.classid = 'pg_rewrite'::regclass AND rule.oid = depend.objid
INNER JOIN pg_class AS source ON depend.refclassid = 'pg_class'::regclass AND depend.refobjid = source.oid
INNER JOIN pg_namespace AS namespace ON source.relnamespace = namespace.oid
WHERE rule.ev_class = to_regclass(%(view)s) AND source.oid <> rule.ev_class;

-- name: homes
SELECT namespace.nspname FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
WHERE relation.relname = %(name)s AND relation.relkind = 'm'
ORDER BY namespace.nspname;
