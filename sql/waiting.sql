-- name: clock
SELECT clock_timestamp();

-- name: import_failure
-- What failed for good of a snapshot before its publication, since an instant if one is given.
SELECT message FROM recosync.failure
WHERE
    table_name = %(table)s
    AND snapshot_id = %(snapshot)s
    AND NOT starts_with(subject, 'publication ')
    AND at >= coalesce(%(since)s, '-infinity'::timestamptz)
ORDER BY id DESC
LIMIT 1;

-- name: refresh_failure
-- What failed for good of the views of a publication, by the templates that they have now.
SELECT message FROM recosync.failure
WHERE
    table_name = %(table)s
    AND subject = 'publication ' || %(publication)s
    AND coalesce(templates = %(templates)s, TRUE)
ORDER BY id DESC
LIMIT 1;

-- name: failing
-- What a function tells as failed, and tries again, of these names; of a snapshot's objects, or of no object.
SELECT message FROM recosync.failing
WHERE
    function = %(function)s
    AND name = any(%(names)s)
    AND retryable
    AND (subject = '' OR strpos(subject, %(snapshot)s) > 0)
    AND last_at >= coalesce(%(since)s, '-infinity'::timestamptz)
ORDER BY last_at DESC
LIMIT 1;

-- name: owed
SELECT count(*) > 0 FROM recosync.publication
WHERE table_name = %(table)s AND publication = %(publication)s AND announced_at IS NULL;

-- name: building
-- The newest builds of views that have not taken their places: under way, unless their worker was killed.
SELECT
    view_name,
    max(started_at) AS started_at
FROM recosync.building
WHERE view_name = any(%(views)s)
GROUP BY view_name
ORDER BY view_name;
