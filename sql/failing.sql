-- name: tell
INSERT INTO recosync.failing (function, name, subject, error, message, retryable)
VALUES (%(function)s, %(name)s, %(subject)s, %(error)s, %(message)s, %(retryable)s)
ON CONFLICT (function, name) DO UPDATE
    SET
        subject = excluded.subject,
        error = excluded.error,
        message = excluded.message,
        retryable = excluded.retryable,
        last_at = excluded.last_at,
        times = failing.times + 1;

-- name: told
-- Whether anything is told of them, which whoever may use the schema may know.
SELECT count(*) > 0 FROM recosync.failing
WHERE function = %(function)s AND name = any(%(names)s);

-- name: settle
-- What was told of another subject stays, unless all of it is well.
DELETE FROM recosync.failing
WHERE
    function = %(function)s
    AND name = any(%(names)s)
    AND (%(subject)s::text IS NULL OR subject IN ('', %(subject)s));
