-- name: hold
INSERT INTO recosync.hold (table_name, snapshot_id, reasons)
VALUES (%(table)s, %(snapshot)s, %(reasons)s)
ON CONFLICT DO NOTHING;

-- name: held
SELECT reasons, decision FROM recosync.hold
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: latest_hold
SELECT snapshot_id FROM recosync.hold
WHERE
    table_name = %(table)s
    AND decision IS NULL
    AND NOT EXISTS (
        SELECT 1 FROM recosync.publication
        WHERE publication.table_name = hold.table_name AND publication.snapshot_id >= hold.snapshot_id
    )
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: decide
UPDATE recosync.hold
SET decision = %(decision)s, decided_at = clock_timestamp(), decided_by = %(by)s
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s AND decision IS NULL;

-- name: pinned
SELECT snapshot_id FROM recosync.pin
WHERE table_name = %(table)s;

-- name: pin
INSERT INTO recosync.pin (table_name, snapshot_id, pinned_by)
VALUES (%(table)s, %(snapshot)s, %(by)s)
ON CONFLICT (table_name) DO UPDATE
    SET snapshot_id = excluded.snapshot_id, pinned_at = clock_timestamp(), pinned_by = excluded.pinned_by;

-- name: unpin
DELETE FROM recosync.pin
WHERE table_name = %(table)s;

-- name: kept_back
-- The newest complete snapshot that is newer than what readers see, that they have never seen, and nobody rejected.
WITH seen AS (
    SELECT snapshot_id FROM recosync.publication
    WHERE table_name = %(table)s
    ORDER BY publication DESC
    LIMIT 1
)

SELECT receipt.snapshot_id FROM recosync.receipt
INNER JOIN seen ON receipt.snapshot_id > seen.snapshot_id
WHERE
    receipt.table_name = %(table)s
    AND NOT EXISTS (
        SELECT FROM recosync.publication
        WHERE publication.table_name = receipt.table_name AND publication.snapshot_id = receipt.snapshot_id
    )
    AND NOT EXISTS (
        SELECT FROM recosync.hold
        WHERE
            hold.table_name = receipt.table_name AND hold.snapshot_id = receipt.snapshot_id
            AND hold.decision = 'rejected'
    )
ORDER BY receipt.snapshot_id DESC
LIMIT 1;

-- name: previous
-- The newest snapshot before this one that readers have seen, and that no operator went back from; the rows that the
-- table held before any publish come last.
WITH history AS (
    SELECT
        snapshot_id,
        lead(snapshot_id) OVER by_number AS next_snapshot,
        lead(cause) OVER by_number AS next_cause
    FROM recosync.publication
    WHERE table_name = %(table)s
    WINDOW by_number AS (ORDER BY publication)
)

SELECT snapshot_id FROM recosync.snapshot
WHERE
    table_name = %(table)s
    AND snapshot_id < %(snapshot)s
    AND (snapshot_id = %(adopted)s OR snapshot_id IN (SELECT snapshot_id FROM history))
    AND snapshot_id NOT IN (
        SELECT snapshot_id FROM history
        WHERE next_cause = 'rollback' AND next_snapshot < snapshot_id
    )
ORDER BY snapshot_id DESC
LIMIT 1;
