-- name: find
SELECT bigquery, parquet, postgresql, duplicate_keys FROM recosync.receipt
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: keep
INSERT INTO recosync.receipt (table_name, snapshot_id, bigquery, parquet, postgresql, duplicate_keys)
VALUES (%(table)s, %(snapshot)s, %(bigquery)s, %(parquet)s, %(postgresql)s, %(duplicate_keys)s)
ON CONFLICT DO NOTHING;
