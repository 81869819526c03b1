-- name: standing
-- Everything that the standing of snapshots depends on: what readers see of their tables and have seen of them, and
-- what humans and failures say.
WITH wanted AS (
    SELECT
        unnest(%(tables)s::text[]) AS table_name,
        unnest(%(snapshots)s::text[]) AS snapshot_id
)

SELECT
    wanted.table_name,
    wanted.snapshot_id,
    newest.publication,
    newest.snapshot_id AS seen,
    (
        SELECT count(*) > 0 FROM recosync.publication
        WHERE publication.table_name = wanted.table_name AND publication.snapshot_id = wanted.snapshot_id
    ) AS was_published,
    hold.reasons,
    hold.decision,
    pin.snapshot_id AS pinned,
    (
        SELECT count(*) > 0 FROM recosync.failure
        WHERE failure.table_name = wanted.table_name AND failure.snapshot_id = wanted.snapshot_id
    ) AS failed
FROM wanted
LEFT JOIN LATERAL (
    SELECT
        publication.publication,
        publication.snapshot_id
    FROM recosync.publication
    WHERE publication.table_name = wanted.table_name
    ORDER BY publication.publication DESC
    LIMIT 1
) AS newest ON TRUE
LEFT JOIN recosync.hold
    ON wanted.table_name = hold.table_name AND wanted.snapshot_id = hold.snapshot_id
LEFT JOIN recosync.pin ON wanted.table_name = pin.table_name;
