-- name: latest
-- The newest snapshot whose manifest came, and what became of it.
SELECT
    snapshot.snapshot_id,
    snapshot.source_modified_at,
    snapshot.columns,
    snapshot.snapshot_id IN (
        SELECT snapshot_id FROM recosync.publication
        WHERE table_name = %(table)s
    ) AS published,
    snapshot.snapshot_id IN (
        SELECT snapshot_id FROM recosync.failure
        WHERE table_name = %(table)s
    ) AS failed,
    hold.reasons,
    hold.decision,
    (
        SELECT snapshot_id FROM recosync.publication
        WHERE table_name = %(table)s
        ORDER BY publication DESC
        LIMIT 1
    ) AS seen
FROM recosync.snapshot AS snapshot
LEFT JOIN recosync.hold AS hold
    ON snapshot.table_name = hold.table_name AND snapshot.snapshot_id = hold.snapshot_id
WHERE snapshot.table_name = %(table)s
ORDER BY snapshot.snapshot_id DESC
LIMIT 1;

-- name: record
INSERT INTO recosync.export_run (table_name, started_at, outcome, snapshot_id, message)
VALUES (%(table)s, %(started)s, %(outcome)s, %(snapshot)s, %(message)s);
