-- name: parts
-- The parts that stand in PostgreSQL, of one table or of all.
WITH seen AS (
    SELECT
        table_name,
        snapshot_id,
        max(publication) AS publication
    FROM recosync.publication
    GROUP BY table_name, snapshot_id
)

SELECT
    part.id,
    part.table_name,
    part.snapshot_id,
    part.bucket,
    part.name,
    part.generation,
    part.staged_at,
    child.inhrelid IS NOT NULL AS attached,
    seen.publication
FROM recosync.part
LEFT JOIN pg_inherits AS child ON child.inhrelid = to_regclass('recosync.part_' || part.id)
LEFT JOIN seen ON part.table_name = seen.table_name AND part.snapshot_id = seen.snapshot_id
WHERE part.dropped_at IS NULL AND part.table_name = coalesce(%(table)s, part.table_name)
ORDER BY part.id;

-- name: stand_ins
-- The views that builds read instead of a table, by the names that builds have, and that nothing reads any more.
SELECT relation.relname FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
LEFT JOIN pg_rewrite AS own ON relation.oid = own.ev_class
LEFT JOIN pg_depend AS depend
    ON
        relation.oid = depend.refobjid
        AND depend.refclassid = 'pg_class'::regclass
        AND depend.deptype = 'n'
        AND (depend.classid <> 'pg_rewrite'::regclass OR own.oid <> depend.objid)
WHERE
    namespace.nspname = 'recosync'
    AND relation.relkind = 'v'
    AND relation.relname ~ '^[0-9]{8}T[0-9]{12}_'
    AND depend.objid IS NULL
ORDER BY relation.relname;

-- name: readers_of_stand_ins
-- The materialized views that read parts, because they were built for other columns of their table.
SELECT DISTINCT
    home.nspname,
    reader.relname
FROM pg_class AS relation
INNER JOIN pg_namespace AS namespace ON relation.relnamespace = namespace.oid
INNER JOIN pg_depend AS depend
    ON
        relation.oid = depend.refobjid
        AND depend.refclassid = 'pg_class'::regclass
        AND depend.classid = 'pg_rewrite'::regclass
INNER JOIN pg_rewrite AS rule ON depend.objid = rule.oid
INNER JOIN pg_class AS reader ON rule.ev_class = reader.oid
INNER JOIN pg_namespace AS home ON reader.relnamespace = home.oid
WHERE
    namespace.nspname = 'recosync'
    AND relation.relkind = 'v'
    AND relation.relname ~ '^[0-9]{8}T[0-9]{12}_'
    AND reader.relkind = 'm'
    AND reader.relname NOT IN (SELECT building.build_name FROM recosync.building)
ORDER BY home.nspname, reader.relname;

-- name: builds
SELECT
    build_name,
    view_name
FROM recosync.building
ORDER BY build_name;

-- name: forget_export_runs
DELETE FROM recosync.export_run
WHERE finished_at < %(before)s;

-- name: forget_attempts
DELETE FROM recosync.attempt
WHERE begun_at < %(before)s;

-- name: forget_failing
DELETE FROM recosync.failing
WHERE last_at < %(before)s;

-- name: forget_failures
DELETE FROM recosync.failure
WHERE at < %(before)s;

-- name: tables
SELECT DISTINCT table_name FROM recosync.snapshot
UNION
SELECT DISTINCT table_name FROM recosync.part
ORDER BY table_name;

-- name: forget_snapshots
-- Snapshots of long ago that can't come back: readers see a newer one, and no part of theirs stands. A view that was
-- not built since still holds what it was built of, and a message that is owed tells of its snapshot.
WITH seen AS (
    SELECT snapshot_id FROM recosync.publication
    WHERE table_name = %(table)s
    ORDER BY publication DESC
    LIMIT 1
),

held AS (
    SELECT max(publication) AS publication FROM recosync.view_build
    WHERE table_name = %(table)s
    GROUP BY view_name
),

gone AS MATERIALIZED (
    SELECT snapshot.snapshot_id FROM recosync.snapshot
    INNER JOIN seen ON snapshot.snapshot_id < seen.snapshot_id
    WHERE
        snapshot.table_name = %(table)s
        AND snapshot.manifest_recorded_at < %(before)s
        AND NOT EXISTS (
            SELECT FROM recosync.part
            WHERE
                part.table_name = snapshot.table_name AND part.snapshot_id = snapshot.snapshot_id
                AND (part.dropped_at IS NULL OR part.dropped_at >= %(before)s)
        )
        AND NOT EXISTS (
            SELECT FROM recosync.pin
            WHERE pin.table_name = snapshot.table_name AND pin.snapshot_id = snapshot.snapshot_id
        )
        AND NOT EXISTS (
            SELECT FROM recosync.publication
            WHERE
                publication.table_name = snapshot.table_name AND publication.snapshot_id = snapshot.snapshot_id
                AND (
                    publication.published_at >= %(before)s
                    OR publication.announced_at IS NULL
                    OR EXISTS (
                        SELECT FROM recosync.refreshed
                        WHERE refreshed.publications ->> publication.table_name = publication.publication::text
                    )
                    OR publication.publication IN (SELECT held.publication FROM held)
                )
        )
),

gone_builds AS (
    DELETE FROM recosync.view_build
    USING recosync.publication
    WHERE
        view_build.table_name = %(table)s
        AND view_build.table_name = publication.table_name AND view_build.publication = publication.publication
        AND publication.snapshot_id IN (SELECT snapshot_id FROM gone)
),

gone_publications AS (
    DELETE FROM recosync.publication
    WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone)
),

gone_receipts AS (
    DELETE FROM recosync.receipt
    WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone)
),

gone_holds AS (
    DELETE FROM recosync.hold
    WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone)
),

gone_parts AS (
    DELETE FROM recosync.part
    WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone)
),

gone_names AS (
    DELETE FROM recosync.snapshot_part
    WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone)
)

DELETE FROM recosync.snapshot
WHERE table_name = %(table)s AND snapshot_id IN (SELECT snapshot_id FROM gone);

-- name: forget_parts
-- What was staged, and dropped, of a snapshot whose manifest never came.
DELETE FROM recosync.part
WHERE
    part.table_name = %(table)s AND part.dropped_at < %(before)s
    AND NOT EXISTS (
        SELECT FROM recosync.snapshot
        WHERE snapshot.table_name = part.table_name AND snapshot.snapshot_id = part.snapshot_id
    );
