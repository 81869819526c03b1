-- name: failure
UPDATE recosync.failure
SET acknowledged_at = now(), acknowledged_by = %(by)s, acknowledged_why = %(why)s
WHERE id = any(%(ids)s) AND acknowledged_at IS NULL;

-- name: export_run
UPDATE recosync.export_run
SET acknowledged_at = now(), acknowledged_by = %(by)s, acknowledged_why = %(why)s
WHERE id = any(%(ids)s) AND acknowledged_at IS NULL;

-- name: failing
-- What was told since it was read is news.
UPDATE recosync.failing
SET acknowledged_at = now(), acknowledged_by = %(by)s, acknowledged_why = %(why)s
WHERE function = %(function)s AND name = %(name)s AND last_at = %(last_at)s;
