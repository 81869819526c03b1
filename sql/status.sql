-- name: access
SELECT
    coalesce(has_schema_privilege(schemas.oid, 'USAGE'), FALSE) AS schema_usable,
    coalesce(has_table_privilege(relations.oid, 'SELECT'), FALSE) AS readable
FROM pg_catalog.pg_namespace AS schemas
INNER JOIN pg_catalog.pg_class AS relations ON schemas.oid = relations.relnamespace AND relations.relname = 'migration'
WHERE schemas.nspname = 'recosync';

-- name: published
SELECT DISTINCT ON (publication.table_name)
    publication.table_name AS name,
    publication.snapshot_id AS snapshot,
    publication.publication,
    publication.rows,
    publication.published_at,
    publication.cause,
    snapshot.source_modified_at,
    snapshot.export_started_at,
    (
        SELECT max(export_run.started_at) FROM recosync.export_run
        WHERE
            export_run.table_name = publication.table_name AND export_run.snapshot_id = publication.snapshot_id
            AND export_run.outcome = 'confirmed unchanged'
    ) AS confirmed_at,
    receipt.made_at AS receipt_made_at,
    (receipt.bigquery ->> 'rows')::bigint AS bigquery_rows,
    (receipt.parquet ->> 'rows')::bigint AS parquet_rows,
    (receipt.postgresql ->> 'rows')::bigint AS postgresql_rows,
    (SELECT count(*) FROM jsonb_object_keys(receipt.postgresql -> 'columns')) AS columns,
    receipt.duplicate_keys
FROM recosync.publication
INNER JOIN recosync.snapshot
    ON publication.table_name = snapshot.table_name AND publication.snapshot_id = snapshot.snapshot_id
LEFT JOIN recosync.receipt
    ON publication.table_name = receipt.table_name AND publication.snapshot_id = receipt.snapshot_id
ORDER BY publication.table_name ASC, publication.publication DESC;

-- name: snapshots
WITH recent AS (
    SELECT
        table_name,
        snapshot_id,
        export_started_at,
        exported_at,
        manifest_recorded_at,
        row_number() OVER (PARTITION BY table_name ORDER BY snapshot_id DESC) AS place
    FROM recosync.snapshot
    WHERE snapshot_id <> %(adopted)s
),

-- A part that was dropped and staged again, for a rollback, was staged when it came first.
first_staged AS (
    SELECT DISTINCT ON (named.bucket, named.name, named.generation)
        named.table_name,
        named.snapshot_id,
        part.staged_at,
        part.seconds
    FROM recosync.snapshot_part AS named
    INNER JOIN recosync.part
        ON
            named.bucket = part.bucket AND named.name = part.name AND named.generation = part.generation
            AND part.rows IS NOT NULL
    INNER JOIN recent ON named.table_name = recent.table_name AND named.snapshot_id = recent.snapshot_id
    WHERE recent.place <= %(runs)s
    ORDER BY named.bucket, named.name, named.generation, part.id
)

SELECT
    recent.table_name AS name,
    recent.snapshot_id AS snapshot,
    recent.export_started_at AS export_began,
    recent.exported_at AS export_ended,
    recent.manifest_recorded_at AS recorded,
    staged.began AS stage_began,
    staged.ended AS stage_ended,
    published.published_at AS published,
    published.cause,
    published.seconds,
    refreshed.ended AS refresh_ended,
    hold.decision,
    hold.held_at AS held
FROM recent
LEFT JOIN LATERAL (
    SELECT
        min(first_staged.staged_at - first_staged.seconds * interval '1 second') AS began,
        max(first_staged.staged_at) AS ended
    FROM first_staged
    WHERE first_staged.table_name = recent.table_name AND first_staged.snapshot_id = recent.snapshot_id
) AS staged ON TRUE
LEFT JOIN LATERAL (
    SELECT
        publication.publication,
        publication.published_at,
        publication.cause,
        publication.seconds
    FROM recosync.publication
    WHERE publication.table_name = recent.table_name AND publication.snapshot_id = recent.snapshot_id
    ORDER BY publication.publication
    LIMIT 1
) AS published ON TRUE
LEFT JOIN LATERAL (
    SELECT max(view_build.built_at) AS ended FROM recosync.view_build
    WHERE view_build.table_name = recent.table_name AND view_build.publication = published.publication
) AS refreshed ON TRUE
LEFT JOIN recosync.hold ON recent.table_name = hold.table_name AND recent.snapshot_id = hold.snapshot_id
WHERE recent.place <= %(runs)s
ORDER BY recent.table_name ASC, recent.snapshot_id DESC;

-- name: calls
SELECT
    table_name AS name,
    started_at,
    finished_at,
    outcome,
    snapshot_id AS snapshot,
    message
FROM (
    SELECT
        table_name,
        started_at,
        finished_at,
        outcome,
        snapshot_id,
        message,
        row_number() OVER (PARTITION BY table_name ORDER BY id DESC) AS place
    FROM recosync.export_run
    WHERE outcome <> 'exported already'
) AS recent
WHERE place <= %(runs)s
ORDER BY table_name, place;

-- name: holds
SELECT
    hold.table_name AS name,
    hold.snapshot_id AS snapshot,
    snapshot.rows,
    hold.held_at,
    hold.reasons
FROM recosync.hold
INNER JOIN recosync.snapshot
    ON hold.table_name = snapshot.table_name AND hold.snapshot_id = snapshot.snapshot_id
WHERE
    hold.decision IS NULL
    AND NOT EXISTS (
        SELECT FROM recosync.publication
        WHERE publication.table_name = hold.table_name AND publication.snapshot_id >= hold.snapshot_id
    )
ORDER BY hold.table_name ASC, hold.snapshot_id DESC;

-- name: pins
SELECT
    table_name AS name,
    snapshot_id AS snapshot,
    pinned_at,
    pinned_by
FROM recosync.pin;

-- name: views
SELECT DISTINCT ON (view_build.view_name, view_build.table_name)
    view_build.view_name AS name,
    view_build.table_name,
    view_build.publication,
    publication.snapshot_id AS snapshot,
    view_build.built_at,
    view_build.seconds
FROM recosync.view_build
INNER JOIN recosync.publication
    ON view_build.table_name = publication.table_name AND view_build.publication = publication.publication
ORDER BY view_build.view_name ASC, view_build.table_name ASC, view_build.publication DESC;

-- name: failures
SELECT
    at,
    kind,
    table_name,
    snapshot_id AS snapshot,
    subject,
    message,
    count(*) OVER () AS total
FROM (
    SELECT
        at,
        kind,
        table_name,
        snapshot_id,
        subject,
        message
    FROM recosync.failure
    UNION ALL
    SELECT
        finished_at,
        'Export',
        table_name,
        snapshot_id,
        'export',
        coalesce(message, 'no reason was recorded')
    FROM recosync.export_run
    WHERE outcome = 'failed'
) AS both_kinds
WHERE at > %(since)s
ORDER BY at DESC
LIMIT %(limit)s;
