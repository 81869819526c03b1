"""Days that pass, in a deployment of the shipped catalog: what is written of each day is dated to it afterwards."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from local import logs
from local.cloud import Cloud, Deployment
from local.postgres import RELAXED
from local.sources import Sources
from shared.daily import arrival, export
from shared.daily.names import PartName, parse_object_name
from shared.daily.refresh import refresh
from shared.db.kept import kept
from shared.errors import IncompleteError
from shared.hourly import request, run
from shared.ledger import publications
from shared.names import ObjectVersion, SnapshotId
from shared.operate.status import gather, page
from shared.services import HourlyServices, Services
from shared.upkeep import housekeeping, reconcile
from tests.age.costs import Costs, counting
from tests.kit.uploads import Upload

#: Days after which the lifecycle of the bucket deletes snapshots (terraform/variables_storage.tf).
SNAPSHOTS = 14
#: The hours of a day at which the log's hours are called for, each time those since the call before; how many hours lie
#: between two with rows.
CALLS, BUSY, ROWS = (12, 24), 12, 50
DAY = timedelta(days=1)
#: How long the ledger tells of what is gone, instead of 90 days: long before the end, as much is forgotten as comes.
HISTORY = 20 * DAY

type Sizes = dict[str, float]


class Days:
    """A deployment, day by day: each table has a new snapshot every day, and the log has rows of some hours."""

    def __init__(self, here: Deployment, costs: Costs, start: datetime) -> None:
        self.here, self.costs, self.now = here, costs, start
        housekeeping.HISTORY = HISTORY
        self.services, self.hourly = Services.from_environment(), HourlyServices.from_environment()
        (self.log,) = self.hourly.catalog.hourly.values()
        self.rows = logs.create(here, self.log)
        self.database = psycopg.connect(here.dsn, autocommit=True)
        self._seen: set[tuple[str, int]] = set()
        self._parts = self._exported()

    def pass_one(self) -> None:
        """The daily job after its export, and the hours of the log."""
        for table in self.services.catalog.tables:
            upload = Upload(self.services, table, SnapshotId(self.now + timedelta(hours=4)))
            for part in self._parts[table]:
                upload.part(part)
            upload.manifest()
        self.costs.of("housekeeping", lambda: housekeeping.run(self.services, self.now))
        for version in self._events():
            self.costs.of("event of a part or manifest", partial(self._arrive, version))
        for table, number in publications.numbers(self.database, self.services.catalog.tables).items():
            self.costs.of("refresh of a table's views", partial(refresh, self.services, table, number))
        for hour in range(0, 24, BUSY):
            at = self.now + timedelta(hours=hour)
            self.rows.write(self.here.dsn, at, at + timedelta(hours=1), ROWS)
        for hour in CALLS:
            self._call(self.now + timedelta(hours=hour, minutes=5))
        self._date()
        self.now += DAY
        self._delete()

    def _exported(self) -> dict[str, list[pa.Table]]:
        """Few rows of each table, in two parts, as they are exported: an export a day would take most of the time."""
        Sources(self.here, 300).make()
        answer, status = export.run(self.services, export.parse(self.services, {}, None, datetime.now(UTC)))
        assert (status, answer["failed"]) == (200, []), answer
        found: dict[str, list[pa.Table]] = {}
        for blob in list(self.here.storage_client.list_blobs(self.here.bucket)):
            name = parse_object_name(blob.name, self.services.settings.prefix)
            if isinstance(name, PartName):
                rows = pq.read_table(io.BytesIO(blob.download_as_bytes()))
                found[name.folder.table] = [rows.slice(0, ROWS), rows.slice(ROWS, ROWS)]
            blob.delete()
        return found

    def _arrive(self, version: ObjectVersion) -> None:
        with suppress(IncompleteError):
            arrival.handle(self.services, version, 1, kept)

    def _events(self) -> Iterator[ObjectVersion]:
        """The objects that came since, manifests last, as they are written."""
        blobs = {
            (blob.name, int(blob.generation)) for blob in self.here.storage_client.list_blobs(self.here.bucket)
        } - self._seen
        self._seen |= blobs
        for name, generation in sorted(blobs, key=lambda blob: (blob[0].endswith("manifest.json"), blob)):
            yield ObjectVersion(self.here.bucket, name, generation)

    def _call(self, now: datetime) -> None:
        """What hourly_export does, and the status page."""
        asked = request.parse(self.hourly, {"table_name": self.log.name}, None, now)
        answer, status = self.costs.of("call of the log, 12 hours", lambda: run.run(self.hourly, asked))
        assert (status, answer["failed"], answer["remaining"]) == (200, [], 0), answer
        assert self.costs.of("reconcile", lambda: reconcile.run(self.services, now)) == []
        self.costs.of("status page", lambda: page.answer(gather(self.hourly, now), page.parse({})))

    def _date(self) -> None:
        """Have all that was written now be of this day: the ledger is as old as it would be."""
        now = self.now + timedelta(hours=12)
        columns = self.database.execute(
            "SELECT relname::text, array_agg(attname::text) FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid"
            " WHERE relnamespace = 'recosync'::regnamespace AND relkind = 'r' AND atttypid = 'timestamptz'::regtype"
            " AND relname !~ '^part_[0-9]' AND relname <> 'migration' GROUP BY relname"
        ).fetchall()
        for table, names in columns:
            dated = sql.SQL(", ").join(
                sql.SQL("{0} = CASE WHEN {0} > {1} THEN {0} - {2} ELSE {0} END").format(
                    sql.Identifier(name), now + DAY, datetime.now(UTC) - now
                )
                for name in names
            )
            new = sql.SQL(" OR ").join(sql.SQL("{} > {}").format(sql.Identifier(name), now + DAY) for name in names)
            self.database.execute(
                sql.SQL("UPDATE {} SET {} WHERE {}").format(sql.Identifier("recosync", table), dated, new)
            )

    def _delete(self) -> None:
        """What the bucket's lifecycle deletes."""
        prefix = self.services.settings.prefix
        for blob in list(self.here.storage_client.list_blobs(self.here.bucket)):
            name = parse_object_name(blob.name, prefix)
            if name is not None and name.folder.snapshot.at < self.now - timedelta(days=SNAPSHOTS):
                blob.delete()

    def sizes(self) -> Sizes:
        """What there is."""
        found: Sizes = {}
        for (table,) in self.database.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace AND relkind = 'r'"
            " AND relname !~ '^part_[0-9]' ORDER BY 1"
        ).fetchall():
            rows, size = self.database.execute(
                sql.SQL("SELECT count(*), coalesce(sum(pg_column_size(t.*)), 0) FROM {} AS t").format(
                    sql.Identifier("recosync", table)
                )
            ).fetchone() or (0, 0)
            found[f"ledger: rows of {table}"] = rows
            found["ledger: KB of rows"] = found.get("ledger: KB of rows", 0) + float(size) / 1000
        for name, query in _SIZES.items():
            found[name] = float((self.database.execute(query).fetchone() or (0,))[0])
        for bucket in (self.here.bucket, self.here.hourly_bucket):
            blobs = list(self.here.storage_client.list_blobs(bucket))
            found[f"objects in {bucket}"] = len(blobs)
            found[f"KB in {bucket}"] = sum(blob.size for blob in blobs) / 1000
        return found


_SIZES = {
    "tables of parts": "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^part_[0-9]+$'",
    "relations": "SELECT count(*) FROM pg_class",
    **{
        f"KB of {name}": f"SELECT pg_total_relation_size('{name}') / 1000.0"
        for name in ("pg_class", "pg_attribute", "pg_depend", "pg_type", "pg_statistic", "pg_index")
    },
    "KB of the ledger, with indexes and what is dead": "SELECT sum(pg_total_relation_size(oid)) / 1000.0 FROM pg_class"
    " WHERE relnamespace = 'recosync'::regnamespace AND relkind = 'r' AND relname !~ '^part_[0-9]'",
}


@contextmanager
def days(count: int) -> Iterator[Days]:
    """A deployment whose log began so many days ago. Autovacuum looks each second, as a day is a few of these."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - (count + 2) * DAY
    settings = {**RELAXED, "autovacuum_naptime": "1s"}
    with (
        Cloud(rows_per_part=10_000, postgres=settings, in_memory=True) as cloud,
        cloud.deploy("age", functions={}, env={"HOURLY_START": f"{start:%Y%m%dT%H}"}) as here,
        counting(here) as costs,
    ):
        yield Days(here, costs, start)


def told(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for name, value in after.items():
        yield f"{name:50} {before.get(name, '')!s:>38} {value!s:>38}"
