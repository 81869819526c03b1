-- name: stopped
-- Whether a human has to do something before the snapshot can be published, or has said no.
SELECT
    EXISTS (
        SELECT 1 FROM recosync.failure
        WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s
    )
    OR EXISTS (
        SELECT 1 FROM recosync.hold
        WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s AND decision IS DISTINCT FROM 'approved'
    );

-- name: owed
SELECT count(*) FROM recosync.publication
WHERE table_name = %(table)s AND announced_at IS NULL AND published_at < %(before)s;

-- name: behind
-- What the table is published as, when views do not hold it though its message was sent, and nothing says why.
-- From message to message, the pause grows with the time since the publish, to a day.
WITH newest AS (
    SELECT
        table_name,
        publication,
        snapshot_id,
        published_at,
        announced_at
    FROM recosync.publication
    WHERE table_name = %(table)s
    ORDER BY publication DESC
    LIMIT 1
)

SELECT
    newest.publication,
    array_agg(wanted.view_name ORDER BY wanted.view_name) AS views,
    newest.announced_at - newest.published_at AS waited
FROM newest
CROSS JOIN unnest(%(views)s::text[]) AS wanted (view_name)
WHERE
    newest.announced_at < %(before)s
    AND newest.announced_at + least(newest.announced_at - newest.published_at, interval '1 day') < %(now)s
    AND NOT EXISTS (
        SELECT 1 FROM recosync.view_build
        WHERE
            view_build.view_name = wanted.view_name
            AND view_build.table_name = newest.table_name
            AND view_build.publication = newest.publication
    )
    AND NOT EXISTS (
        SELECT 1 FROM recosync.failure
        WHERE
            failure.table_name = newest.table_name
            AND failure.snapshot_id = newest.snapshot_id
            AND failure.subject = 'publication ' || newest.publication
    )
GROUP BY newest.publication, newest.published_at, newest.announced_at;

-- name: owe
UPDATE recosync.publication
SET announced_at = NULL
WHERE table_name = %(table)s AND publication = %(publication)s;
