-- name: owed
SELECT count(*) FROM recosync.publication
WHERE table_name = %(table)s AND announced_at IS NULL AND published_at < %(before)s;

-- name: behind
-- What the table is published as, when views do not hold it though its message was sent, or hold it by another
-- template, and nothing says why. From message to message, the pause grows with the time since the publish, to a day.
-- Of a template, whose day nobody knows, it does not; but nothing is sent while a message of before is being retried.
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
),

wanted AS (
    SELECT
        unnest(%(views)s::text[]) AS view_name,
        unnest(%(stands)s::boolean[]) AS stands,
        unnest(%(digests)s::text[]) AS template
)

SELECT
    newest.publication,
    coalesce(
        array_agg(wanted.view_name ORDER BY wanted.view_name) FILTER (WHERE view_build.view_name IS NULL), '{}'
    ) AS views,
    coalesce(
        array_agg(wanted.view_name ORDER BY wanted.view_name) FILTER (WHERE view_build.view_name IS NOT NULL), '{}'
    ) AS rebuilt,
    newest.announced_at - newest.published_at AS waited,
    coalesce(
        bool_or(
            newest.announced_at
            > coalesce(view_build.rebuilt_at, view_build.built_at) + (%(now)s - %(before)s)
        ), FALSE
    ) AS asked_for
FROM newest
CROSS JOIN wanted
LEFT JOIN recosync.view_build
    ON
        wanted.view_name = view_build.view_name
        -- A view that somebody dropped holds nothing.
        AND wanted.stands
        AND newest.table_name = view_build.table_name
        AND newest.publication = view_build.publication
WHERE
    newest.announced_at < %(before)s
    AND CASE
        WHEN view_build.view_name IS NULL
            THEN newest.announced_at + least(newest.announced_at - newest.published_at, interval '1 day') < %(now)s
        ELSE
            view_build.template <> wanted.template
            AND NOT EXISTS (
                SELECT FROM recosync.failing
                WHERE
                    failing.function = 'mv_refresh'
                    AND failing.name IN (newest.table_name, wanted.view_name)
                    AND failing.retryable
                    AND failing.last_at >= %(before)s
            )
    END
    AND NOT EXISTS (
        SELECT 1 FROM recosync.failure
        WHERE
            failure.table_name = newest.table_name
            AND failure.snapshot_id = newest.snapshot_id
            AND failure.subject = 'publication ' || newest.publication
            -- Where nobody knows of which templates it was, they are asked once more.
            AND failure.templates = %(templates)s
    )
GROUP BY newest.publication, newest.published_at, newest.announced_at;

-- name: owe
UPDATE recosync.publication
SET announced_at = NULL
WHERE table_name = %(table)s AND publication = %(publication)s;
