-- name: record
INSERT INTO recosync.export_run (table_name, started_at, outcome, snapshot_id, message)
VALUES (%(table)s, %(started)s, %(outcome)s, %(snapshot)s, %(message)s);
