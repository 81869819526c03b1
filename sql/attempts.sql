-- name: kept
-- NULL where it is not there, or of before.
SELECT
    has_table_privilege(attempt, 'INSERT')
    AND has_table_privilege(attempt, 'UPDATE')
    AND has_table_privilege(attempt, 'DELETE')
    AND has_table_privilege(attempt, 'SELECT')
FROM (SELECT to_regclass('recosync.attempt') AS attempt) AS ledger;

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
