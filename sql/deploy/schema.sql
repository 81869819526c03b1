-- What another schema of tables and views needs, by the administrator who executed database.sql, once for each that the
-- catalog names besides public. psql reads it:
--   psql "$ADMINISTRATORS_URL" -v schema=reco -v loader=loader -v api=api -f sql/deploy/schema.sql
CREATE SCHEMA IF NOT EXISTS :"schema";
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"loader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"api";
GRANT USAGE ON SCHEMA :"schema" TO :"api";
