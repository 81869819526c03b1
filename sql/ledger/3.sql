-- The ledger, version 3: which work was begun and came to no answer.

CREATE TABLE recosync.attempt (
    work text PRIMARY KEY,
    unanswered integer NOT NULL DEFAULT 1,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE recosync.attempt IS
'Work that was begun: how often since a worker last came to an answer, of whatever kind, and when last.';

GRANT SELECT ON recosync.attempt TO public;
