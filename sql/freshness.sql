-- name: freshness
SELECT
    name,
    kind,
    reads,
    state,
    snapshot,
    publication,
    source_changed_at,
    fresh_at,
    published_at,
    refreshed_at,
    age
FROM recosync.freshness
WHERE name = any(%(names)s);

-- name: known
SELECT name FROM recosync.freshness
ORDER BY kind DESC, name ASC;

-- name: access
SELECT
    count(*) > 0 AS stands,
    coalesce(bool_and(has_schema_privilege(pg_namespace.oid, 'USAGE')), FALSE) AS usable,
    current_user::text AS role
FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_namespace.nspname = 'recosync' AND pg_class.relname = 'freshness';
