-- name: pg_try_advisory_lock
SELECT pg_try_advisory_lock(%(key)s);

-- name: pg_try_advisory_xact_lock
SELECT pg_try_advisory_xact_lock(%(key)s);

-- name: pg_try_advisory_xact_lock_shared
SELECT pg_try_advisory_xact_lock_shared(%(key)s);

-- name: pg_try_advisory_lock_shared
SELECT pg_try_advisory_lock_shared(%(key)s);

-- name: pg_advisory_xact_lock
SELECT pg_advisory_xact_lock(%(key)s);

-- name: pg_advisory_unlock
SELECT pg_advisory_unlock(%(key)s);

-- name: pg_advisory_lock_shared
SELECT pg_advisory_lock_shared(%(key)s);

-- name: end_stale_holders
-- pg_locks shows a 64-bit key as its two halves, with objsubid 1
-- (https://www.postgresql.org/docs/current/view-pg-locks.html). A holder's name says how many seconds it may live; one
-- that says nothing is given a day.
SELECT pg_terminate_backend(activity.pid)
FROM pg_locks AS held
INNER JOIN pg_stat_activity AS activity ON held.pid = activity.pid
WHERE
    held.locktype = 'advisory'
    AND held.granted
    AND held.objsubid = 1
    AND held.database = activity.datid
    AND activity.datname = current_database()
    AND (held.classid::bigint << 32 | held.objid::bigint) = %(key)s
    AND activity.backend_start < clock_timestamp() - make_interval(
        secs => coalesce(substring(activity.application_name FROM '^recosync (\d{1,7})s ')::int, 86400)
    );

-- name: holders
-- Who holds one of the advisory locks, or has read one of the relations in a transaction that is open: never what they
-- ask, which may quote a row. A role without pg_read_all_stats sees no more of other roles' sessions than who they are
-- (https://www.postgresql.org/docs/current/monitoring-stats.html).
SELECT DISTINCT
    activity.pid,
    activity.usename::text AS role,
    activity.application_name AS application,
    CASE held.locktype WHEN 'relation' THEN activity.xact_start ELSE activity.backend_start END AS since,
    activity.state
FROM pg_locks AS held
INNER JOIN pg_stat_activity AS activity ON held.pid = activity.pid
WHERE
    held.granted
    AND held.database = activity.datid
    AND activity.datname = current_database()
    AND held.pid <> pg_backend_pid()
    AND (
        (
            held.locktype = 'advisory' AND held.objsubid = 1
            AND (held.classid::bigint << 32 | held.objid::bigint) = any(%(keys)s::bigint[])
        )
        OR (
            held.locktype = 'relation'
            AND held.relation IN (SELECT to_regclass(wanted.name) FROM unnest(%(relations)s::text[]) AS wanted (name))
        )
    )
ORDER BY since ASC NULLS LAST, activity.pid ASC;
