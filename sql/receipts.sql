-- name: find
SELECT
    receipt.bigquery,
    receipt.parquet,
    receipt.postgresql,
    receipt.duplicate_keys,
    snapshot.source_modified_at,
    snapshot.exported_at
FROM recosync.receipt
INNER JOIN recosync.snapshot
    ON receipt.table_name = snapshot.table_name AND receipt.snapshot_id = snapshot.snapshot_id
WHERE receipt.table_name = %(table)s AND receipt.snapshot_id = %(snapshot)s;

-- name: keep
INSERT INTO recosync.receipt (table_name, snapshot_id, bigquery, parquet, postgresql, duplicate_keys)
VALUES (%(table)s, %(snapshot)s, %(bigquery)s, %(parquet)s, %(postgresql)s, %(duplicate_keys)s)
ON CONFLICT DO NOTHING;
