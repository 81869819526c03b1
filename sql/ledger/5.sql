-- The ledger, version 5: the messages that a view stands, and the trace of each snapshot.

ALTER TABLE recosync.snapshot ADD COLUMN traceparent text;
COMMENT ON COLUMN recosync.snapshot.traceparent IS
'The trace of the call that exported it, as W3C writes it. NULL where nobody knows one.';

CREATE TABLE recosync.refreshed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    view_name text NOT NULL,
    views text[] NOT NULL,
    publications jsonb NOT NULL,
    rows bigint NOT NULL,
    seconds double precision NOT NULL,
    refreshed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    traceparent text
);
COMMENT ON TABLE recosync.refreshed IS
'Messages that a view stands, until they are sent: one per build that readers got. publications has the number of each '
'table that the view reads.';

GRANT SELECT ON recosync.refreshed TO public;
