-- name: pg_try_advisory_lock
SELECT pg_try_advisory_lock(%(key)s);

-- name: pg_try_advisory_xact_lock
SELECT pg_try_advisory_xact_lock(%(key)s);

-- name: pg_try_advisory_xact_lock_shared
SELECT pg_try_advisory_xact_lock_shared(%(key)s);

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
