-- The database's roles, with the run's passwords: what docs/deploy.md asks of an administrator. psql reads it, with the
-- variables loader, status, api, and deploy for the path of sql/deploy/database.sql. The passwords are in the environment,
-- and of no use once the instance is gone.
\getenv loader_password RECOSYNC_E2E_LOADER_PASSWORD
\getenv status_password RECOSYNC_E2E_STATUS_PASSWORD
CREATE ROLE :"api";
\i :deploy
ALTER ROLE :"loader" PASSWORD :'loader_password';
ALTER ROLE :"status" PASSWORD :'status_password';
