-- name: applied
SELECT coalesce(max(version), 0) FROM recosync.migration;

-- name: schema_exists
SELECT to_regnamespace('recosync') IS NOT NULL;

-- name: create_schema
CREATE SCHEMA recosync;

-- name: create_migration
CREATE TABLE IF NOT EXISTS recosync.migration (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: record_migration
INSERT INTO recosync.migration (version) VALUES (%(version)s);

-- name: record_snapshot
-- With the parts that it names; whether it was not there before.
WITH recorded AS (
    INSERT INTO recosync.snapshot (
        table_name,
        snapshot_id,
        source_rows,
        rows,
        columns,
        source_modified_at,
        export_started_at,
        exported_at,
        profile,
        traceparent
    )
    VALUES (
        %(table)s,
        %(snapshot)s,
        %(source_rows)s,
        %(rows)s,
        %(columns)s,
        %(source_modified)s,
        %(started)s,
        %(exported)s,
        %(profile)s,
        %(traceparent)s
    )
    ON CONFLICT DO NOTHING
    RETURNING table_name, snapshot_id
),

named AS (
    INSERT INTO recosync.snapshot_part (table_name, snapshot_id, bucket, name, generation, rows)
    SELECT
        recorded.table_name,
        recorded.snapshot_id,
        part.bucket,
        part.name,
        part.generation,
        part.rows
    FROM recorded
    CROSS JOIN unnest(
        %(buckets)s::text[], %(names)s::text[], %(generations)s::bigint[], %(rows_of_parts)s::bigint[]
    ) AS part (bucket, name, generation, rows)
)

SELECT count(*) > 0 AS is_new FROM recorded;

-- name: claim_part
INSERT INTO recosync.part (table_name, snapshot_id, bucket, name, generation)
VALUES (%(table)s, %(snapshot)s, %(bucket)s, %(name)s, %(generation)s)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: forget_lost_part
-- A part is staged no more when somebody dropped its table: then it may be staged again.
UPDATE recosync.part
SET dropped_at = clock_timestamp()
WHERE
    bucket = %(bucket)s AND name = %(name)s AND generation = %(generation)s AND dropped_at IS NULL
    AND to_regclass('recosync.part_' || id) IS NULL;

-- name: finish_part
UPDATE recosync.part
SET
    rows = %(rows)s,
    seconds = %(seconds)s,
    parquet = %(parquet)s,
    postgresql = %(postgresql)s,
    staged_at = clock_timestamp()
WHERE id = %(id)s;

-- name: drop_part
UPDATE recosync.part
SET dropped_at = clock_timestamp()
WHERE id = %(id)s;

-- name: snapshot
SELECT source_rows, rows, profile, source_modified_at, exported_at FROM recosync.snapshot
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: traceparent
SELECT traceparent FROM recosync.snapshot
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: newest_snapshot
SELECT
    snapshot_id,
    source_modified_at,
    columns
FROM recosync.snapshot
WHERE table_name = %(table)s
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: columns_of_snapshot
SELECT columns FROM recosync.snapshot
WHERE table_name = %(table)s AND snapshot_id = %(snapshot)s;

-- name: object_of_part
SELECT
    bucket,
    name,
    generation
FROM recosync.part
WHERE id = %(id)s;

-- name: parts_of_snapshot
SELECT
    named.bucket,
    named.name,
    named.generation,
    named.rows,
    part.id,
    part.rows AS staged_rows,
    part.parquet,
    part.postgresql
FROM recosync.snapshot_part AS named
LEFT JOIN recosync.part AS part
    ON
        named.bucket = part.bucket
        AND named.name = part.name
        AND named.generation = part.generation
        AND part.dropped_at IS NULL
        -- Unless somebody dropped its table.
        AND to_regclass('recosync.part_' || part.id) IS NOT NULL
WHERE named.table_name = %(table)s AND named.snapshot_id = %(snapshot)s
ORDER BY named.name;

-- name: published
SELECT publication, snapshot_id FROM recosync.publication
WHERE table_name = %(table)s
ORDER BY publication DESC
LIMIT 1;

-- name: published_for
SELECT clock_timestamp() - published_at FROM recosync.publication
WHERE table_name = %(table)s
ORDER BY publication DESC
LIMIT 1;

-- name: publish
-- The number is the time in milliseconds, and higher than those before: one that was told of does not come again when
-- the database is restored to an earlier state. A publish takes longer than a millisecond.
INSERT INTO recosync.publication (table_name, publication, snapshot_id, rows, cause, seconds)
SELECT
    %(table)s,
    greatest(coalesce(max(publication), 0) + 1, (extract(EPOCH FROM clock_timestamp()) * 1000)::bigint),
    %(snapshot)s,
    %(rows)s,
    %(cause)s,
    extract(EPOCH FROM clock_timestamp() - now())
FROM recosync.publication
WHERE table_name = %(table)s
RETURNING publication;

-- name: unannounced
SELECT
    publication.publication,
    publication.snapshot_id,
    publication.published_at,
    snapshot.traceparent
FROM recosync.publication
INNER JOIN recosync.snapshot
    ON publication.table_name = snapshot.table_name AND publication.snapshot_id = snapshot.snapshot_id
WHERE publication.table_name = %(table)s AND publication.announced_at IS NULL
ORDER BY publication.publication;

-- name: announced
UPDATE recosync.publication
SET announced_at = clock_timestamp()
WHERE table_name = %(table)s AND publication = %(publication)s AND announced_at IS NULL;

-- name: view_builds
SELECT DISTINCT ON (table_name)
    table_name,
    publication,
    template
FROM recosync.view_build
WHERE view_name = %(view)s
ORDER BY table_name ASC, publication DESC;

-- name: record_view_build
INSERT INTO recosync.view_build (view_name, table_name, publication, seconds, template)
VALUES (%(view)s, %(table)s, %(publication)s, %(seconds)s, %(template)s)
ON CONFLICT (view_name, table_name, publication) DO UPDATE
    SET rebuilt_at = clock_timestamp(), seconds = excluded.seconds, template = excluded.template;

-- name: start_building
INSERT INTO recosync.building (build_name, view_name) VALUES (%(build)s, %(view)s);

-- name: leftover_builds
SELECT build_name FROM recosync.building
WHERE view_name = %(view)s;

-- name: forget_building
DELETE FROM recosync.building
WHERE build_name = %(build)s;

-- name: record_failure
INSERT INTO recosync.failure (kind, table_name, snapshot_id, subject, message, templates)
VALUES (%(kind)s, %(table)s, %(snapshot)s, %(subject)s, %(message)s, %(templates)s);

-- name: refused
WITH newest AS (
    SELECT max(publication) AS publication FROM recosync.publication
    WHERE table_name = %(table)s
)

SELECT failure.message FROM recosync.failure
INNER JOIN newest ON failure.subject = 'publication ' || newest.publication
WHERE failure.table_name = %(table)s AND failure.templates = %(templates)s
ORDER BY failure.id DESC
LIMIT 1;

-- name: catalog_entries
SELECT
    name,
    kind,
    schema_name,
    reads
FROM recosync.catalog_entry;

-- name: lock_catalog_entries
-- Nobody who reads them is kept waiting.
LOCK TABLE recosync.catalog_entry IN SHARE ROW EXCLUSIVE MODE;

-- name: forget_catalog_entries
DELETE FROM recosync.catalog_entry
WHERE name <> all(%(names)s::text[]);

-- name: keep_catalog_entry
INSERT INTO recosync.catalog_entry (name, kind, schema_name, reads)
VALUES (%(name)s, %(kind)s, %(schema)s, %(reads)s)
ON CONFLICT (name) DO UPDATE
    SET kind = excluded.kind, schema_name = excluded.schema_name, reads = excluded.reads;
