-- name: owe
-- Builds that take their places in one transaction; each is an object with the fields below.
INSERT INTO recosync.refreshed (view_name, views, publications, rows, seconds, traceparent)
SELECT
    given.build ->> 'view',
    %(views)s,
    given.build -> 'publications',
    (given.build ->> 'rows')::bigint,
    (given.build ->> 'seconds')::double precision,
    %(traceparent)s
FROM jsonb_array_elements(%(builds)s) WITH ORDINALITY AS given (build, number)
ORDER BY given.number;

-- name: owed
-- In the order of their builds: a view is built by one worker at a time.
SELECT
    refreshed.id,
    refreshed.message_id::text,
    refreshed.view_name,
    refreshed.views,
    refreshed.rows,
    refreshed.seconds,
    refreshed.refreshed_at,
    refreshed.traceparent,
    (
        SELECT
            jsonb_agg(
                jsonb_build_object(
                    'table', publication.table_name,
                    'publication', publication.publication,
                    'snapshot_id', publication.snapshot_id
                ) ORDER BY publication.table_name
            )
        FROM jsonb_each_text(refreshed.publications) AS held (table_name, publication)
        INNER JOIN recosync.publication
            ON
                held.table_name = publication.table_name
                AND held.publication::bigint = publication.publication
    ) AS tables
FROM recosync.refreshed
ORDER BY refreshed.id;

-- name: sent
DELETE FROM recosync.refreshed
WHERE id = %(id)s;
