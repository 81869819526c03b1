-- The ledger, version 3: what was begun and came to no answer, and when a view was built anew for what it held already.

CREATE TABLE recosync.attempt (
    work text PRIMARY KEY,
    unanswered integer NOT NULL DEFAULT 1,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE recosync.attempt IS
'Work that was begun: how often since a worker last came to an answer, of whatever kind, and when last.';

ALTER TABLE recosync.view_build
ADD COLUMN rebuilt_at timestamptz;
COMMENT ON COLUMN recosync.view_build.built_at IS 'When the view held the publication first.';
COMMENT ON COLUMN recosync.view_build.rebuilt_at IS
'When the view was last built of it again: for another table that it reads, or because an operator asked. Else NULL.';

GRANT SELECT ON recosync.attempt TO public;
