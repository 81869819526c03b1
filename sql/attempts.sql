-- name: kept
-- Of a schema that a role may not use, a name alone is an error.
SELECT count(*) > 0 FROM pg_catalog.pg_class AS attempt
INNER JOIN pg_catalog.pg_namespace AS ledger ON attempt.relnamespace = ledger.oid
WHERE
    ledger.nspname = 'recosync'
    AND attempt.relname = 'attempt'
    AND has_schema_privilege(ledger.oid, 'USAGE')
    AND has_table_privilege(attempt.oid, 'INSERT')
    AND has_table_privilege(attempt.oid, 'UPDATE')
    AND has_table_privilege(attempt.oid, 'DELETE')
    AND has_table_privilege(attempt.oid, 'SELECT');

-- name: begin
-- Nobody waits for the disk: what the note has to outlive is its worker, not the server.
INSERT INTO recosync.attempt (work) VALUES (%(work)s)
ON CONFLICT (work) DO UPDATE
    SET unanswered = attempt.unanswered + 1, begun_at = clock_timestamp()
RETURNING unanswered, set_config('synchronous_commit', 'off', TRUE);

-- name: forget
DELETE FROM recosync.attempt
WHERE work = %(work)s
RETURNING set_config('synchronous_commit', 'off', TRUE);

-- name: begin_alone
-- No row where another session has the lock: then nothing is noted.
WITH lock AS MATERIALIZED (SELECT pg_try_advisory_lock(%(key)s) AS had)

INSERT INTO recosync.attempt (work)
SELECT %(work)s FROM lock
WHERE lock.had
ON CONFLICT (work) DO UPDATE
    SET unanswered = attempt.unanswered + 1, begun_at = clock_timestamp()
RETURNING unanswered, set_config('synchronous_commit', 'off', TRUE);

-- name: end_alone
-- Who takes the lock before this is committed waits for that with a note of its own, as long as for any lock.
WITH forgotten AS (
    DELETE FROM recosync.attempt
    WHERE work = %(work)s
    RETURNING set_config('synchronous_commit', 'off', TRUE) AS later
)

SELECT
    pg_advisory_unlock(%(key)s) AS unlocked,
    count(forgotten.later) AS attempts
FROM forgotten;
