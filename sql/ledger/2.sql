-- The ledger, version 2: receipts, holds and pins, what each export call found, and a history of every stage.

ALTER TABLE recosync.snapshot
ADD COLUMN source_modified_at timestamptz,
ADD COLUMN export_started_at timestamptz,
ADD COLUMN exported_at timestamptz,
ADD COLUMN profile jsonb;
COMMENT ON COLUMN recosync.snapshot.source_modified_at IS
'When the source was last changed before it was read. NULL where that is unknown: then it counts as changed.';
COMMENT ON COLUMN recosync.snapshot.profile IS 'What BigQuery counts. NULL where another uploader wrote the manifest.';

ALTER TABLE recosync.part
ADD COLUMN parquet jsonb,
ADD COLUMN postgresql jsonb,
ADD COLUMN dropped_at timestamptz,
DROP CONSTRAINT part_bucket_name_generation_key;
COMMENT ON COLUMN recosync.part.dropped_at IS
'Set when the part''s table was dropped. The same object may be staged again.';
CREATE UNIQUE INDEX part_staged_once ON recosync.part (bucket, name, generation) WHERE dropped_at IS NULL;

CREATE TABLE recosync.receipt (
    table_name text NOT NULL,
    snapshot_id text NOT NULL,
    bigquery jsonb,
    parquet jsonb,
    postgresql jsonb NOT NULL,
    duplicate_keys bigint,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, snapshot_id),
    FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.snapshot
);
COMMENT ON TABLE recosync.receipt IS
'What each system counts of a snapshot: {"rows": n, "columns": {name: {"values": n, "sum": n or null}}}. Values are '
'those that are not NULL; sum adds up integers, true as 1, and the bytes of text. All agree, or there is no receipt.';

ALTER TABLE recosync.publication
ADD COLUMN cause text NOT NULL DEFAULT 'event' CHECK (cause IN ('event', 'approval', 'rollback', 'import')),
ADD COLUMN seconds double precision,
ADD CONSTRAINT publication_has_receipt
FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.receipt NOT VALID;

ALTER TABLE recosync.view_build
DROP CONSTRAINT view_build_pkey,
ADD PRIMARY KEY (view_name, table_name, publication);
COMMENT ON TABLE recosync.view_build IS
'Every build of a view, per table it reads; the live view holds the highest publication.';

CREATE TABLE recosync.hold (
    table_name text NOT NULL,
    snapshot_id text NOT NULL,
    reasons text[] NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decision text CHECK (decision IN ('approved', 'rejected')),
    decided_at timestamptz,
    decided_by text,
    PRIMARY KEY (table_name, snapshot_id),
    FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.snapshot,
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);
COMMENT ON TABLE recosync.hold IS
'Snapshots that are complete but tripped a limit: not published until somebody approves.';

CREATE TABLE recosync.pin (
    table_name text PRIMARY KEY,
    snapshot_id text NOT NULL,
    pinned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    pinned_by text NOT NULL,
    FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.snapshot
);
COMMENT ON TABLE recosync.pin IS
'Tables that events leave alone: what an operator rolled back to stays until it is unpinned.';

CREATE TABLE recosync.export_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome text NOT NULL
    CHECK (outcome IN ('exported', 'exported already', 'confirmed unchanged', 'held', 'failed', 'to be retried')),
    snapshot_id text,
    message text
);
COMMENT ON TABLE recosync.export_run IS
'What each export call found of each table. held: the source is not what the catalog says, and message says how.';
CREATE INDEX export_run_by_table ON recosync.export_run (table_name, id DESC);
CREATE INDEX export_run_confirmed ON recosync.export_run (table_name, snapshot_id, started_at)
WHERE outcome = 'confirmed unchanged' AND message IS NULL;
CREATE INDEX failure_by_time ON recosync.failure (at);
CREATE INDEX publication_by_snapshot ON recosync.publication (table_name, snapshot_id);
CREATE INDEX view_build_by_publication ON recosync.view_build (table_name, publication);

-- Who may use the schema may read the ledger, and not the parts that stand beside it: those hold rows. A role for the
-- status page needs nothing but GRANT USAGE ON SCHEMA recosync.
GRANT SELECT ON
recosync.migration, recosync.snapshot, recosync.snapshot_part, recosync.part, recosync.receipt, recosync.publication,
recosync.view_build, recosync.building, recosync.failure, recosync.hold, recosync.pin, recosync.export_run
TO public;
