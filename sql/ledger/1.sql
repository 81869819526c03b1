-- The ledger, version 1: what was staged, what was published, what was built, and what failed for good.

CREATE TABLE recosync.snapshot (
    table_name text NOT NULL,
    snapshot_id text NOT NULL,
    source_rows bigint,
    rows bigint NOT NULL,
    columns jsonb NOT NULL,
    manifest_recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, snapshot_id)
);
COMMENT ON TABLE recosync.snapshot IS
'Snapshots whose manifest arrived. source_rows is NULL where the footers are the receipt.';

CREATE TABLE recosync.snapshot_part (
    table_name text NOT NULL,
    snapshot_id text NOT NULL,
    bucket text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (bucket, name, generation),
    FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.snapshot
);
COMMENT ON TABLE recosync.snapshot_part IS 'The parts that a manifest names: only these count.';
CREATE INDEX snapshot_part_by_snapshot ON recosync.snapshot_part (table_name, snapshot_id);

CREATE TABLE recosync.part (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    snapshot_id text NOT NULL,
    bucket text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    rows bigint,
    staged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds double precision,
    UNIQUE (bucket, name, generation)
);
COMMENT ON TABLE recosync.part IS 'Staged parts: part 17 is the table recosync.part_17. rows is what COPY counted.';
CREATE INDEX part_by_snapshot ON recosync.part (table_name, snapshot_id);

CREATE TABLE recosync.publication (
    table_name text NOT NULL,
    publication bigint NOT NULL,
    snapshot_id text NOT NULL,
    rows bigint NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    announced_at timestamptz,
    PRIMARY KEY (table_name, publication),
    FOREIGN KEY (table_name, snapshot_id) REFERENCES recosync.snapshot
);
COMMENT ON TABLE recosync.publication IS
'Every publish, rollbacks included; readers see the highest number. announced_at is NULL while the message is owed.';

CREATE TABLE recosync.view_build (
    view_name text NOT NULL,
    table_name text NOT NULL,
    publication bigint NOT NULL,
    built_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds double precision NOT NULL,
    PRIMARY KEY (view_name, table_name),
    FOREIGN KEY (table_name, publication) REFERENCES recosync.publication
);
COMMENT ON TABLE recosync.view_build IS 'For each live view and table it reads, the publication it holds.';

CREATE TABLE recosync.building (
    build_name text PRIMARY KEY,
    view_name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE recosync.building IS
'Views built beside the live ones. A row whose view nobody holds the lock of is a leftover.';

CREATE TABLE recosync.failure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    table_name text,
    snapshot_id text,
    subject text NOT NULL,
    message text NOT NULL
);
COMMENT ON TABLE recosync.failure IS 'Permanent failures: what was wrong, where, and what to do.';
