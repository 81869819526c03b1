"""Rehearsal: a row of every BigQuery type goes the way that snapshots go, from a query to the reader of parts. It goes
under names that no function takes for its own, and is taken away again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from shared.catalog import Column, PgType, Source, Table
from shared.daily.extract import Extraction
from shared.daily.manifest import Manifest
from shared.daily.names import SnapshotTable
from shared.errors import DataError, SyncError
from shared.names import DatasetRef, ObjectVersion, SnapshotId, TableRef
from shared.operate.doctor.check import Check, tried, wrong
from shared.rows import casts
from shared.rows.profile import Tap
from shared.services import Services

#: The folder of what is written, below that of the snapshots, whose lifecycle it has. It is no table's: to gcs_import,
#: its objects are foreign.
FOLDER = "_doctor"

#: Seconds that the jobs may take.
PATIENCE = 300

#: A value of each type that a source may have, and a type that it becomes
#: (https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#literals).
ROW = {
    "STRING": ("'text'", "text"),
    "INT64": ("7", "bigint"),
    "FLOAT64": ("0.5e0", "double precision"),
    "NUMERIC": ("NUMERIC '1.5'", "numeric"),
    "BIGNUMERIC": ("BIGNUMERIC '1.5'", "numeric"),
    "BOOL": ("TRUE", "boolean"),
    "DATE": ("DATE '2026-01-02'", "date"),
    "TIME": ("TIME '03:04:05.000006'", "time"),
    "TIMESTAMP": ("TIMESTAMP '2026-01-02 03:04:05.000006+00'", "timestamptz"),
    "DATETIME": ("DATETIME '2026-01-02 03:04:05.000006'", "timestamp"),
    "INTERVAL": ("INTERVAL 1 DAY", "interval"),
    "BYTES": ("b'bytes'", "bytea"),
    "JSON": ("JSON '{\"a\": 1}'", "jsonb"),
    "STRUCT": ("STRUCT(1 AS a, 'x' AS b)", "jsonb"),
    "RANGE": ("RANGE(DATE '2026-01-02', DATE '2026-01-03')", "jsonb"),
    "GEOGRAPHY": ("ST_GEOGPOINT(2, 48)", "geography"),
    "ARRAY<INT64>": ("[1, 2]", "bigint[]"),
    "ARRAY<STRING>": ("['a', 'b']", "text[]"),
    "ARRAY<TIMESTAMP>": ("[TIMESTAMP '2026-01-02 03:04:05+00']", "timestamptz[]"),
    "ARRAY<STRUCT>": ("[STRUCT(1 AS a)]", "jsonb"),
}


def checks(services: Services) -> Iterator[Check]:
    """What came of the rehearsal. Its table, its objects and its temporary table are gone afterwards."""
    rehearsal = _Rehearsal.of(services)
    try:
        yield tried("a row of every type", rehearsal.travel)
        yield tried("an object that is there", rehearsal.collide)
    except BaseException:  # Ctrl-C, or nobody hears more
        with suppress(SyncError):
            rehearsal.clear()
        raise
    yield tried("what was written", rehearsal.clear)


@dataclass(frozen=True)
class _Rehearsal:
    """The services with a folder of their own, and the table that is their source."""

    services: Services
    table: Table
    source: TableRef
    snapshot: SnapshotId

    @classmethod
    def of(cls, services: Services) -> _Rehearsal:
        settings, now = services.settings, datetime.now(UTC)
        source = TableRef(settings.project, settings.temporary_dataset, f"recosync_doctor_{uuid4().hex}")
        columns = [Column(_name(type_), PgType.parse(becomes)) for type_, (_, becomes) in ROW.items()]
        dataset = DatasetRef(settings.project, settings.temporary_dataset)
        table = Table(source.table, Source(dataset, source.table), tuple(columns))
        own = replace(services, settings=replace(settings, prefix=f"{settings.prefix}/{FOLDER}"))
        return cls(own, table, source, SnapshotId(now))

    def travel(self) -> str:
        """By the functions' own steps: what BigQuery counts of the row and what the reader of parts gives agree."""
        bigquery, settings = self.services.bigquery, self.services.settings
        values = ", ".join(f"{literal} AS `{_name(type_)}`" for type_, (literal, _) in ROW.items())
        hour = "TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR)"
        bigquery.rows(
            self._location(),
            f"CREATE TABLE {self.source.quoted} OPTIONS (expiration_timestamp = {hour}) AS SELECT {values}",
        )
        made = bigquery.table(self.source)
        # A clock that is behind would ask for a time before the table was there.
        as_of = max(datetime.now(UTC), made.modified) if made is not None and made.modified else datetime.now(UTC)
        manifest, _ = Extraction(self.services, self.table, self.snapshot, as_of, time.monotonic() + PATIENCE).run()
        for version, _ in manifest.versions(settings.bucket):
            self._read(manifest, version)
        return f"{len(ROW)} types went from BigQuery through {settings.bucket} to the reader"

    def collide(self) -> str:
        """By https://cloud.google.com/storage/docs/request-preconditions."""
        bucket, name = self.services.settings.bucket, f"{self._folder}once"
        made = [self.services.storage.create(bucket, name, b"once", "text/plain") for _ in range(2)]
        if made != [True, False]:
            raise wrong(
                "was written a second time", f"gs://{bucket}/{name}", "Nothing is safe there: name another bucket"
            )
        return "is not written a second time"

    def clear(self) -> str:
        """Take away what was written. What is left after a failure goes by itself: tables have an expiration, and
        objects the lifecycle of snapshots.
        """
        settings, bigquery, storage = self.services.settings, self.services.bigquery, self.services.storage
        temporary = SnapshotTable(self.table.name, self.snapshot, 1)
        bigquery.drop(self.source)
        bigquery.drop(TableRef(settings.project, settings.temporary_dataset, str(temporary)))
        for stored in storage.objects(settings.bucket, self._folder):
            storage.delete(stored.version)
        return "is taken away"

    @property
    def _folder(self) -> str:
        return f"{self.services.settings.prefix}/{self.table.name}/"

    def _location(self) -> str:
        """Where the sources are, and jobs run."""
        settings = self.services.settings
        for table in self.services.catalog.tables.values():
            found = self.services.bigquery.table(table.source.ref(settings.project, settings.datasets))
            if found is not None:
                return found.location
        raise wrong("no source is there to tell where jobs run", "the catalog", "Make one")

    def _read(self, manifest: Manifest, version: ObjectVersion) -> None:
        parquet, columns = self.services.parquet, self.table.columns
        footer = parquet.footer(version)
        plan = casts.plan(columns, footer, where=str(version))
        tap = Tap(plan)
        for _ in tap.through(parquet.stream(version, parquet.part(version, footer, casts.selected(plan)))):
            pass
        stated = manifest.origin.profile if manifest.origin is not None else None
        differences = stated.differences(tap.profile) if stated is not None else ["BigQuery counted nothing"]
        if differences:
            raise DataError(
                f"BigQuery and Parquet differ: {'; '.join(differences)}",
                where=str(version),
                remedy="Report this as a bug",
            )


def _name(type_: str) -> str:
    return type_.lower().replace("<", "_").rstrip(">")
