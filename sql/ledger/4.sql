-- The ledger, version 4: failures that an operator has dealt with.

ALTER TABLE recosync.failure
ADD COLUMN acknowledged_at timestamptz,
ADD COLUMN acknowledged_by text,
ADD COLUMN acknowledged_why text,
ADD CONSTRAINT failure_acknowledged CHECK (num_nulls(acknowledged_at, acknowledged_by, acknowledged_why) IN (0, 3));
COMMENT ON COLUMN recosync.failure.acknowledged_at IS
'When an operator said that this is dealt with. Then it waits for nobody; the next failure of the kind does.';

ALTER TABLE recosync.export_run
ADD COLUMN acknowledged_at timestamptz,
ADD COLUMN acknowledged_by text,
ADD COLUMN acknowledged_why text,
ADD CONSTRAINT export_run_acknowledged CHECK (num_nulls(acknowledged_at, acknowledged_by, acknowledged_why) IN (0, 3));
COMMENT ON COLUMN recosync.export_run.acknowledged_at IS 'As of recosync.failure, where the outcome is failed.';

ALTER TABLE recosync.failing
ADD COLUMN acknowledged_at timestamptz,
ADD COLUMN acknowledged_by text,
ADD COLUMN acknowledged_why text,
ADD CONSTRAINT failing_acknowledged CHECK (num_nulls(acknowledged_at, acknowledged_by, acknowledged_why) IN (0, 3));
COMMENT ON COLUMN recosync.failing.acknowledged_at IS
'As of recosync.failure, and of what was told until then: it counts again once last_at is later.';
