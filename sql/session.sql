-- name: pin
-- What a session's start can't be asked for: commits that reach the disk. Then the path, which is kept for the views.
-- Until it is set, nothing is trusted that is not named with its schema.
SELECT
    pg_catalog.current_setting('lock_timeout') AS lock_timeout,
    pg_catalog.pg_backend_pid() AS pid,
    pg_catalog.current_setting('session_replication_role') AS replication,
    (
        SELECT pg_catalog.quote_ident(namespace.nspname)
        FROM pg_catalog.pg_extension AS extension
        INNER JOIN pg_catalog.pg_namespace AS namespace ON extension.extnamespace OPERATOR (pg_catalog.=) namespace.oid
        WHERE extension.extname OPERATOR (pg_catalog.=) 'postgis'
    ) AS postgis,
    (
        SELECT pg_catalog.quote_ident(namespace.nspname)
        FROM pg_catalog.pg_extension AS extension
        INNER JOIN pg_catalog.pg_namespace AS namespace ON extension.extnamespace OPERATOR (pg_catalog.=) namespace.oid
        WHERE extension.extname OPERATOR (pg_catalog.=) 'vector'
    ) AS pgvector,
    CASE
        WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR (pg_catalog.=) 'off'
            THEN pg_catalog.set_config('synchronous_commit', 'on', FALSE)
    END AS synchronous_commit,
    pg_catalog.set_config('recosync.search_path', pg_catalog.current_setting('search_path'), FALSE) AS kept,
    pg_catalog.set_config('search_path', %(path)s, FALSE) AS search_path;

-- name: policies
-- Whether policies of a relation bind this role, and what they are called: without one, it sees no row at all.
SELECT
    array(
        SELECT polname::text FROM pg_policy
        WHERE polrelid = to_regclass(%(relation)s)
        ORDER BY polname
    ) AS policies
WHERE row_security_active(to_regclass(%(relation)s));

-- name: path_of_catalog
-- What templates of views and definitions of indexes find without naming a schema: the catalog's relations, PostGIS
-- and pgvector wherever they are installed, and what somebody set for the role, the database or in the URL on purpose.
SELECT set_config(
    'search_path',
    concat_ws(
        ', ',
        (
            SELECT string_agg(quote_ident(named.name), ', ' ORDER BY named.place)
            FROM unnest(%(schemas)s::text[]) WITH ORDINALITY AS named (name, place)
        ),
        %(postgis)s::text,
        (
            SELECT quote_ident(pg_namespace.nspname)
            FROM pg_extension
            INNER JOIN pg_namespace ON pg_extension.extnamespace = pg_namespace.oid
            WHERE pg_extension.extname = 'vector'
        ),
        nullif(nullif(current_setting('recosync.search_path'), '"$user", public'), ''),
        'pg_temp'
    ),
    %(local)s
);
