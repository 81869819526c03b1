-- The ledger, version 3: the template that a view was built from and when it was built anew, what fails now, and what
-- was begun and came to no answer.

ALTER TABLE recosync.view_build
ADD COLUMN template text,
ADD COLUMN rebuilt_at timestamptz;
COMMENT ON COLUMN recosync.view_build.template IS
'The digest of the template. NULL of what was built before there were digests: that counts as built from the template '
'of today, so that the deployment of this version does not have every view rebuilt at once.';
COMMENT ON COLUMN recosync.view_build.built_at IS 'When the view held the publication first.';
COMMENT ON COLUMN recosync.view_build.rebuilt_at IS
'When the view was last built of it again: for another table that it reads, or because an operator asked. Else NULL.';

ALTER TABLE recosync.failure ADD COLUMN templates text;
COMMENT ON COLUMN recosync.failure.templates IS
'Of a refresh: the digest of the templates of all views that read the table. Others may succeed.';

CREATE TABLE recosync.failing (
    function text NOT NULL,
    name text NOT NULL,
    subject text NOT NULL,
    error text NOT NULL,
    message text NOT NULL,
    retryable boolean NOT NULL,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    times bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (function, name)
);
COMMENT ON TABLE recosync.failing IS
'What the last answer of a function told as failed of a table, view or log, and since when; the name is empty where '
'it is about none of them. A success takes the row away. What failed of a snapshot for good is in recosync.failure.';

CREATE TABLE recosync.attempt (
    work text PRIMARY KEY,
    unanswered integer NOT NULL DEFAULT 1,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE recosync.attempt IS
'Work that was begun: how often since a worker last came to an answer, of whatever kind, and when last.';

GRANT SELECT ON recosync.failing, recosync.attempt TO public;
