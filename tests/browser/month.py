"""A plausible month: what the ledger and the hour manifests hold of it at a fixed instant, the same on each run."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product

import psycopg
from psycopg.types.json import Jsonb

from local.cloud import Deployment
from shared.hourly.manifest import (
    NOTHING,
    Audit,
    Batch,
    BatchReceipt,
    Content,
    DayManifest,
    Deletion,
    Export,
    Exporting,
    Failure,
    HourRecord,
    Part,
    StoredFile,
)
from shared.hourly.names import LogFolder
from shared.ledger import migrations
from shared.names import Hour, SnapshotId, format_day

NOW = datetime(2026, 11, 23, 9, 12, 40, tzinfo=UTC)
START = Hour(datetime(2026, 10, 27, 6, tzinfo=UTC))

#: Rows, parts and views of each table, and the seconds that export, staging, publish and refresh take.
TABLES = {
    "enriched_user": (3_204_117, 8, ("enriched_user_mv",), (48, 31, 0.4, 21)),
    "recommendable_offers_raw": (2_911_402, 9, ("item_ids_mv", "recommendable_offers_raw_mv"), (64, 43, 0.5, 58)),
    "non_recommendable_items_data": (8_460_250, 6, ("non_recommendable_items_mv",), (39, 52, 0.3, 44)),
    "iris_france": (49_304, 1, ("iris_france_mv",), (9, 4, 0.2, 6)),
}

#: What became of recommendable_offers_raw this morning.
HELD_ROWS = 1_134_650

#: Why non_recommendable_items_data was not exported at first, three days ago.
REFUSED = "tmp_prod: refused (404): Not found: Dataset recosync:tmp_prod. Make what is missing, or grant the role"


def environment(here: Deployment) -> dict[str, str]:
    """What the status function would find in its environment."""
    role = here.cloud.postgres.dsn(here.name, "status")
    return here.env | {"ENV_SHORT_NAME": "prod", "HOURLY_START": str(START), "DATABASE_URL": role}


def fill(here: Deployment) -> None:
    """Write the month into a deployment's ledger and bucket."""
    with psycopg.connect(here.dsn, autocommit=True) as database:
        migrations.migrate(database)
        with database.transaction():
            for table, (_, _, views, _) in TABLES.items():
                database.execute(f"CREATE TABLE {table} ()")
                for view in views:
                    database.execute(f"CREATE MATERIALIZED VIEW {view} AS SELECT WITH NO DATA")
                _days(database, table)
            _trouble(database)
    folder = LogFolder("cloudsql_hourly", "past_offer_context")
    bucket = here.storage_client.bucket(here.hourly_bucket)
    for manifest in manifests(folder.table):
        blob = bucket.blob(f"{folder.manifests}{manifest.date}.json")
        blob.metadata = {"settled": "true" if manifest.settled else "false"}
        blob.upload_from_string(manifest.to_json(), "application/json")


def worsen(here: Deployment) -> None:
    """Since the morning of the month's last day: a mistake that two tables meet, and a source that drifted."""
    required = (
        "public.{}: its column tenant_id, which the catalog does not have, is NOT NULL and has no default."
        " ALTER TABLE … ALTER tenant_id DROP NOT NULL, or SET DEFAULT"
    )
    drifted = (
        "recosync.seed.iris_france: column irisCode is INT64, varchar takes STRING or JSON;"
        " column centroid is missing, geometry takes GEOGRAPHY. Mend the source, or change the catalog"
    )
    with psycopg.connect(here.dsn, autocommit=True) as database:
        for age, table in product((171, 141, 111, 81, 51, 21), ("enriched_user", "non_recommendable_items_data")):
            at = NOW - timedelta(minutes=age)
            database.execute(
                "INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)"
                " VALUES (%s, 'TargetError', %s, %s, 'part', %s)",
                [at, table, str(SnapshotId(NOW - timedelta(minutes=173))), required.format(table)],
            )
        run(database, "iris_france", NOW - timedelta(minutes=12), "held", message=drifted)


def _days(database: psycopg.Connection, table: str) -> None:
    """Nine days of exports at five. iris_france only changes once."""
    chance = random.Random(table)  # noqa: S311 - a demonstration
    publication = 0
    for age in range(8, -1, -1):
        at = NOW.replace(hour=5, minute=0, second=2) - timedelta(days=age)
        if table == "iris_france" and age < 8:
            run(database, table, at, "confirmed unchanged", SnapshotId(NOW - timedelta(days=8)).at)
            continue
        if table == "non_recommendable_items_data" and age == 3:
            run(database, table, at - timedelta(hours=1), "failed", message=REFUSED)
        held = table == "recommendable_offers_raw" and age == 0
        rows = int(TABLES[table][0] * (1 - 0.0006 * age - 0.0003 * chance.random()))
        rows = HELD_ROWS if held else rows
        if held:
            snapshot(database, table, at, rows, chance, None)
        else:
            publication += 1
            snapshot(database, table, at, rows, chance, publication)


def snapshot(
    database: psycopg.Connection, table: str, at: datetime, rows: int, chance: random.Random, publication: int | None
) -> None:
    """A snapshot, exported, staged, and unless it is held, published and refreshed."""
    _, parts, views, stages = TABLES[table]
    name = _id(at, table)
    export, stage, publish, refresh = (timedelta(seconds=s * chance.uniform(0.85, 1.2)) for s in stages)
    exported = at + export
    profile = {"rows": rows, "columns": {f"column_{n}": {"values": rows, "sum": None} for n in range(8)}}
    database.execute(
        "INSERT INTO recosync.snapshot VALUES (%s, %s, %s, %s, '[]', %s, %s, %s, %s, %s)",
        [table, name, rows, rows, exported, at - timedelta(hours=2, minutes=14), at, exported, Jsonb(profile)],
    )
    for number in range(parts):
        key = [table, name, "exports", f"{table}/{name}/part-{number}", 1]
        ends = exported + stage * ((number + 1) / parts)
        seconds = (stage / parts).total_seconds()
        database.execute("INSERT INTO recosync.snapshot_part VALUES (%s, %s, %s, %s, %s, %s)", [*key, rows // parts])
        staged = database.execute(
            "INSERT INTO recosync.part (table_name, snapshot_id, bucket, name, generation, rows, staged_at, seconds)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            [*key, rows // parts, ends, seconds],
        ).fetchone()
        database.execute(f"CREATE TABLE recosync.part_{staged[0]} () INHERITS ({table})")
    run(database, table, at, "exported", at, finished=exported)
    database.execute(
        "INSERT INTO recosync.receipt VALUES (%s, %s, %s, %s, %s, 0, %s)",
        [table, name, Jsonb(profile), Jsonb(profile), Jsonb(profile), exported + stage],
    )
    if publication is None:
        return
    published = exported + stage + publish
    database.execute(
        "INSERT INTO recosync.publication VALUES (%s, %s, %s, %s, %s, %s, 'event', %s)",
        [table, publication, name, rows, published, published, publish.total_seconds()],
    )
    for share, view in enumerate(views, 1):
        database.execute(
            "INSERT INTO recosync.view_build VALUES (%s, %s, %s, %s, %s)",
            [view, table, publication, published + refresh * (share / len(views)), refresh.total_seconds()],
        )


def run(
    database: psycopg.Connection,
    table: str,
    at: datetime,
    outcome: str,
    of: datetime | None = None,
    message: str | None = None,
    finished: datetime | None = None,
) -> None:
    """What an export call found of a table."""
    database.execute(
        "INSERT INTO recosync.export_run (table_name, started_at, finished_at, outcome, snapshot_id, message)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        [table, at, finished or at + timedelta(seconds=3), outcome, of and _id(of, table), message],
    )


def _trouble(database: psycopg.Connection) -> None:
    held = NOW.replace(hour=5, minute=0, second=2)
    reason = f"{HELD_ROWS:,} rows, 61.0% fewer than the 2,909,359 published; the limit is 30.0%"
    database.execute(
        "INSERT INTO recosync.hold (table_name, snapshot_id, reasons, held_at) VALUES (%s, %s, %s, %s)",
        [
            "recommendable_offers_raw",
            _id(held, "recommendable_offers_raw"),
            [reason, "12.41% of venue_id are NULL, 2.03% in what is published; the limit is 5.00% more"],
            held + timedelta(minutes=1, seconds=57),
        ],
    )
    counted = "its footer counts 400,514 rows, the manifest 400,515. Export the snapshot again with force"
    database.execute(
        "INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)"
        " VALUES (%s, 'DataError', 'enriched_user', %s, 'part', %s)",
        [
            NOW - timedelta(days=6, hours=4),
            "20261117T050002Z",
            f"enriched_user/20261117T050002Z/2/part-000000000003.parquet: {counted}",
        ],
    )


def manifests(table: str) -> Iterator[DayManifest]:
    """The log's manifests, each day's as it would stand at NOW."""
    chance = random.Random(table)  # noqa: S311 - a demonstration
    day = START.day
    while day <= NOW.date():
        hours = [hour for n in range(24) if (hour := Hour.of_day(day, n)) >= START and hour.end < NOW]
        records = {f"{hour.number:02d}": record for hour in hours if (record := _record(hour, chance)) is not None}
        audit = Audit(datetime.combine(day, NOW.time(), UTC).replace(hour=1, minute=6), (), 0, 0)
        yield DayManifest(table, format_day(day), str(START), records, audit)
        day += timedelta(days=1)


def _record(hour: Hour, chance: random.Random) -> HourRecord | None:
    wave = 0.52 - 0.48 * math.cos((hour.number - 3) * math.pi / 12)
    weekend = 1.25 if hour.day.weekday() > 4 else 1
    rows = int(wave**1.4 * 41_000 * weekend * chance.uniform(0.85, 1.1))
    batches = [_batch(hour, 1, rows)]
    if chance.random() < 0.02:
        batches.append(_batch(hour, 2, chance.randint(3, 60)))
    if (hour.day == date(2026, 11, 12) and hour.number in (3, 4)) or rows < 60:
        return HourRecord()
    if hour.day == date(2026, 11, 21) and hour.number in (14, 15):
        return None
    if hour.day == date(2026, 11, 18) and hour.number == 11:
        what = "past_offer_context.offer_stock_price of the row with id 88410233: NaN is no NUMERIC. Correct the row"
        return HourRecord(failure=Failure(hour.end + timedelta(minutes=5), what))
    if hour.end + timedelta(hours=1) > NOW:
        return HourRecord(work=Exporting(1, "a1b2", hour.end + timedelta(minutes=11)))
    if hour.day < date(2026, 11, 2):
        return HourRecord(tuple(batches), deletion=Deletion(NOW, len(batches), rows, NOTHING))
    return HourRecord(tuple(batches))


def _batch(hour: Hour, number: int, rows: int) -> Batch:
    at = hour.end + timedelta(minutes=5 if number == 1 else 65, seconds=20 + hour.number)
    content = Content(rows, str(rows * 7), str(rows))
    files = (StoredFile(f"{kind}-{number}-a1b2-0.parquet", 1, rows, "AAAAAA==") for kind in ("part", "keys"))
    export = Export(number, "a1b2", (Part(rows, *files),), content, NOTHING, {}, at)
    return Batch(export, f"job-{hour}-{number}", BatchReceipt(content, content, content), at, at + timedelta(seconds=9))


def _id(at: datetime, table: str) -> str:
    if table == "iris_france":
        at = at.replace(hour=5, minute=0, second=2)
    return str(SnapshotId(at))
