-- What the database needs, by an administrator of it who need be no superuser, once. psql reads it:
--   psql "$ADMINISTRATORS_URL" -v loader=loader -v status=status -v api=api -f sql/deploy/database.sql
--   psql "$ADMINISTRATORS_URL" -c '\password loader' -c '\password status'
-- `loader` is the role of the functions, `status` that of the status page, `api` the one that reads tables and views.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE ROLE :"loader" LOGIN;
CREATE ROLE :"status" LOGIN;

-- The schema recosync, with the ledger and the parts; tables and views that the API reads.
GRANT CREATE ON DATABASE :"DBNAME" TO :"loader";
GRANT USAGE, CREATE ON SCHEMA public TO :"loader";
-- As since PostgreSQL 15: a cluster that was upgraded from before still lets everybody create there.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Whoever gives the loader tables, or says who may read what it makes, has to be its member.
GRANT :"loader" TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA public GRANT SELECT ON TABLES TO :"api";
GRANT USAGE ON SCHEMA public TO :"api";

-- Optional: a refresh sees the age of other roles' transactions, and does not start when they would outlast it.
GRANT pg_read_all_stats TO :"loader";
