-- name: server
SELECT
    current_setting('server_version_num')::integer AS version,
    current_setting('server_version') AS printed,
    pg_encoding_to_char(pg_database.encoding) AS encoding,
    clock_timestamp() AS now
FROM pg_database
WHERE pg_database.datname = current_database();

-- name: connections
-- The connections that are left for the suite's role: of the server, of the database and of the role. Those of the
-- suite's own logins, which may act as this role, do not count: the functions' are among them. Whose a session is may
-- be seen by everybody, and of which kind it is may not.
WITH others AS (
    SELECT
        count(*) AS of_server,
        count(*) FILTER (WHERE sessions.datname = current_database()) AS of_database
    FROM pg_stat_activity AS sessions
    INNER JOIN pg_roles AS logins ON sessions.usesysid = logins.oid
    WHERE logins.rolsuper OR NOT pg_has_role(sessions.usesysid, current_user, 'MEMBER')
)

SELECT
    least(
        current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', TRUE), '0')::integer
        - others.of_server,
        nullif(pg_database.datconnlimit, -1) - others.of_database,
        nullif(pg_roles.rolconnlimit, -1)
    ) AS free
FROM pg_database
CROSS JOIN pg_roles
CROSS JOIN others
WHERE pg_database.datname = current_database() AND pg_roles.rolname = session_user;

-- name: current
SELECT current_user;

-- name: ledger_of_others
-- The relations of the ledger that belong to a role which this one may not act as.
SELECT count(*) FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE
    pg_namespace.nspname = 'recosync'
    AND pg_class.relkind IN ('r', 'S')
    AND NOT pg_has_role(pg_class.relowner, 'USAGE');

-- name: ledger_tables
-- The tables of the ledger, without the parts.
SELECT pg_class.relname FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_namespace.nspname = 'recosync' AND pg_class.relkind = 'r' AND pg_class.relname !~ '^part_[0-9]'
ORDER BY pg_class.relname;

-- name: ledger
-- Whether the schema of the ledger is there, whether this role may do with it as its owner, and, where it is not there,
-- whether this role may make it.
SELECT
    pg_namespace.oid IS NOT NULL AS stands,
    coalesce(pg_has_role(pg_namespace.nspowner, 'USAGE'), FALSE) AS owns,
    has_database_privilege(current_database(), 'CREATE') AS may_create
FROM (SELECT 'recosync' AS name) AS wanted
LEFT JOIN pg_namespace ON wanted.name = pg_namespace.nspname;

-- name: open_schema
-- Whether everybody may create in a schema: then anybody's function could be called in place of another one.
SELECT coalesce(bool_or(granted.grantee = 0 AND granted.privilege_type = 'CREATE'), FALSE) AS is_open
FROM pg_namespace
LEFT JOIN LATERAL aclexplode(pg_namespace.nspacl) AS granted ON TRUE
WHERE pg_namespace.nspname = %(schema)s;

-- name: owner
-- The owner of a table or view, whether this role may do with it as its owner, and of which kind it is; no row where it
-- is not there.
SELECT
    pg_get_userbyid(pg_class.relowner) AS owner,
    pg_has_role(pg_class.relowner, 'USAGE') AS owns,
    pg_class.relkind::text AS kind
FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_namespace.nspname = %(schema)s AND pg_class.relname = %(name)s;

-- name: log_rights
SELECT
    has_table_privilege(pg_class.oid, 'SELECT') AS may_read,
    has_table_privilege(pg_class.oid, 'DELETE') AS may_delete
FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_namespace.nspname = %(schema)s AND pg_class.relname = %(name)s;

-- name: extension
-- Whether this role may use the schema of an extension, and its version.
SELECT
    quote_ident(pg_namespace.nspname) AS schema_name,
    has_schema_privilege(pg_namespace.oid, 'USAGE') AS usable,
    pg_extension.extversion AS version
FROM pg_extension
INNER JOIN pg_namespace ON pg_extension.extnamespace = pg_namespace.oid
WHERE pg_extension.extname = %(name)s;

-- name: role
SELECT count(*) > 0 FROM pg_roles
WHERE rolname = %(role)s;

-- name: unread
-- Of the tables and views that stand, those that a role may not read.
WITH wanted AS (
    SELECT
        unnest(%(schemas)s::text[]) AS schema_name,
        unnest(%(names)s::text[]) AS name
)

SELECT format('%%I.%%I', wanted.schema_name, wanted.name) AS name FROM wanted
INNER JOIN pg_namespace ON wanted.schema_name = pg_namespace.nspname
INNER JOIN pg_class ON pg_namespace.oid = pg_class.relnamespace AND wanted.name = pg_class.relname
WHERE
    NOT has_schema_privilege(%(role)s, pg_namespace.oid, 'USAGE')
    OR NOT has_table_privilege(%(role)s, pg_class.oid, 'SELECT')
ORDER BY wanted.schema_name, wanted.name;
