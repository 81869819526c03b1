-- name: hold
INSERT INTO recosync.hold (table_name, snapshot_id, reasons)
VALUES (%(table)s, %(snapshot)s, %(reasons)s)
ON CONFLICT DO NOTHING;

-- name: held
SELECT reasons, decision FROM recosync.hold
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: latest_hold
SELECT snapshot_id FROM recosync.hold
WHERE table_name = %(table)s AND decision IS NULL
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

-- name: previous
-- What the table was published as before what it is published as now; the rows it held before any publish come last.
SELECT snapshot.snapshot_id FROM recosync.snapshot AS snapshot
LEFT JOIN recosync.publication AS publication
    ON snapshot.table_name = publication.table_name AND snapshot.snapshot_id = publication.snapshot_id
WHERE
    snapshot.table_name = %(table)s
    AND snapshot.snapshot_id < %(snapshot)s
    AND (publication.publication IS NOT NULL OR snapshot.snapshot_id = %(adopted)s)
ORDER BY snapshot.snapshot_id DESC
LIMIT 1;
