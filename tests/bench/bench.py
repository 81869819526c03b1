"""What all cases share: the emulated cloud with a PostgreSQL as in production, its data, and calls of the functions."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import duckdb
import psycopg

from local import CACHE, ROOT, data
from local.cloud import Cloud, Deployment
from local.eventarc import CloudEvent
from local.functions import FLEET, Instance, Runtime, Spec
from local.prerequisites import MissingError
from shared import catalog
from shared.catalog import Table
from shared.daily.manifest import Manifest, ManifestPart, Origin
from shared.daily.names import SnapshotFolder
from shared.names import ObjectVersion, SnapshotId
from shared.rows.profile import Profile
from tests.bench import measure
from tests.bench.measure import APART, Sample, Samples, Way, timed

if TYPE_CHECKING:
    from google.cloud import storage

#: As Cloud SQL runs it: nothing that is confirmed is lost, WAL for a replica, a buffer pool of a small machine.
PRODUCTION = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
}

_FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Bench:
    """One run of the benchmark. `rows` are offers, and as many users; `log_rows` an hour of the log. Ways take turns
    for so many rounds, or as many as fit into the `seconds`. A function has `patience` seconds for an event.
    """

    cloud: Cloud
    rows: int
    log_rows: int
    rounds: int
    folder: Path
    seconds: float = inf
    patience: float = 3600
    _days: int = field(default=0)

    def parquet(self, table: Table, rows: int) -> Path:
        """A file of the table's columns as BigQuery exports them; made once."""
        sizes = {"offers": rows, "users": rows, "bookings": rows}
        file = self.folder / f"{table.name}-{rows}.parquet"
        if not file.exists():
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            with duckdb.connect() as db:
                data.prepare(db, **sizes)
                rows_of = db.sql(f"SELECT {columns} FROM ({data.source(table.source.table)})")
                rows_of.write_parquet(str(file), compression="snappy")
        return file

    def parquet_parts(self, table: Table, rows: int, parts: int) -> list[Path]:
        """The same rows in so many files of the same size; made once."""
        files = [self.folder / f"{table.name}-{rows}-{number}of{parts}.parquet" for number in range(parts)]
        whole = self.parquet(table, rows)
        for number, file in enumerate(files):
            if not file.exists():
                first, last = rows * number // parts, rows * (number + 1) // parts
                duckdb.sql(
                    f"COPY (SELECT * EXCLUDE (file_row_number) FROM read_parquet('{whole}', file_row_number = true)"
                    f" WHERE file_row_number >= {first} AND file_row_number < {last})"
                    f" TO '{file}' (FORMAT parquet, COMPRESSION snappy)"
                )
        return files

    def next_snapshot(self) -> SnapshotId:
        """A snapshot later than all before."""
        self._days += 1
        return SnapshotId(_FIRST_DAY + timedelta(minutes=self._days))

    @cached_property
    def python(self) -> Path:
        """A Python with what a function is deployed with, compiled as by its build, and nothing else: numpy, say, would
        be imported by pyarrow wherever it is found.
        """
        place = self.folder / "deployed"
        only = ["--frozen", "--no-default-groups", "--no-install-project", "--compile-bytecode"]
        subprocess.run(
            [uv(), "sync", "--quiet", *only, "--python", sys.executable],
            cwd=ROOT,
            env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(place)},
            check=True,
        )
        return place / "bin" / "python"

    @contextmanager
    def deployed(
        self,
        functions: Mapping[str, int],
        *,
        triggers: bool = False,
        env: Mapping[str, str] | None = None,
        source: Path = ROOT / "functions",
    ) -> Iterator[Deployment]:
        """A project of its own with so many instances of each function. Without triggers, events are for us to send."""
        specs = {
            name: Spec(FLEET[name].signature, FLEET[name].trigger if triggers else None, instances, FLEET[name].role)
            for name, instances in functions.items()
        }
        self._days += 1
        with self.cloud.deploy(f"bench_{self._days}", specs, env, Runtime(str(self.python), source)) as here:
            yield here

    def in_turn(
        self, ways: Mapping[str, Way], apart: Container[str] = (), once: Container[str] = (), times: int = 1
    ) -> Samples:
        """Let the ways take turns, so many times in a round, those of `apart` also with the server on processors of its
        own.
        """
        placed = {f"{name}{APART}": self._apart(way) for name, way in ways.items() if name in apart}
        return measure.in_turn(self.rounds * times, {**ways, **placed}, self.seconds, once)

    def _apart(self, way: Way) -> Way:
        def run(number: int) -> Sample:
            with self.apart():
                return way(number)

        return run

    @contextmanager
    def apart(self) -> Iterator[None]:
        """PostgreSQL has one half of the processors. The functions have the other, and whatever else is a client."""
        emulators = [service.pid for service in (self.cloud.storage, self.cloud.pubsub, self.cloud.bigquery)]
        with measure.apart(self.cloud.postgres.pid, emulators):
            yield

    def send(self, instance: Instance, event: CloudEvent) -> None:
        """Deliver an event to an instance. Raises RuntimeError unless it is done, TimeoutError if that takes long."""
        connection = http.client.HTTPConnection(urlsplit(instance.url).netloc, timeout=self.patience)
        try:
            connection.request("POST", "/", json.dumps(event.data), event.headers())
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 300:
                raise RuntimeError(f"{instance.name} answered {response.status} {answer!r}\n{instance.process.tail()}")
        finally:
            connection.close()
        if "ERROR" in instance.process.tail(3):
            raise RuntimeError(f"{instance.name} failed\n{instance.process.tail()}")

    def settle(self, here: Deployment) -> None:
        """Leave nothing for the next measurement to pay: write out what the server still holds back."""
        with self.cloud.postgres.superuser(here.name) as admin:
            admin.execute("CHECKPOINT")
        os.sync()
        time.sleep(0.2)

    @contextmanager
    def measured(self, here: Deployment, instances: Sequence[Instance] = ()) -> Iterator[Sample]:
        """Time the block, and see what the server, the function's instances and Cloud Storage spend."""
        processes = {"server": self.cloud.postgres.pid, "storage": self.cloud.storage.pid}
        processes |= {
            f"function {number}" if number else "function": i.process.pid for number, i in enumerate(instances)
        }
        with self.cloud.postgres.superuser(here.name) as admin:

            def wal() -> int:
                (position,) = admin.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").fetchone() or (0,)
                return int(position)

            with timed(processes, wal) as sample:
                yield sample
        for instance in instances:
            name = f"{instance.name} MiB"
            sample.spent[name] = max(sample.spent.get(name, 0), instance.peak_rss() / 2**20)


def uv() -> str:
    """The program that installs the locked dependencies: what `make setup` installed, or the one on PATH."""
    ours = CACHE / "tools" / "bin" / "uv"
    if program := str(ours) if ours.exists() else shutil.which("uv"):
        return program
    raise MissingError("uv is missing: make setup")


def table(name: str) -> Table:
    return catalog.load().tables[name]


def columns(table: Table) -> str:
    """The columns of a table, as CREATE TABLE has them."""
    return ", ".join(f'"{column.name}" {column.type.sql}' for column in table.columns)


def upload(
    here: Deployment, table: Table, snapshot: SnapshotId, files: Sequence[Path], first: int = 0
) -> list[storage.Blob]:
    """Put files into the export bucket as the parts of a snapshot, numbered from `first`."""
    folder = SnapshotFolder(here.env["EXPORT_PREFIX"], table.name, snapshot)
    blobs = []
    for number, file in enumerate(files, first):
        name = folder.part_pattern(1).replace("*", f"{number:012}")
        blob = here.storage_client.bucket(here.bucket).blob(name)
        blob.upload_from_filename(str(file))
        blobs.append(blob)
    return blobs


def upload_manifest(
    here: Deployment, table: Table, snapshot: SnapshotId, parts: Mapping[storage.Blob, int]
) -> storage.Blob:
    """Complete the snapshot as bq_export does: the parts with their rows, and what BigQuery counted of them."""
    now, rows = datetime.now(UTC), sum(parts.values())
    named = [ManifestPart(b.name, int(b.generation), n, int(b.size), b.crc32c) for b, n in parts.items()]
    columns = tuple((column.name, "STRING") for column in table.columns)
    origin = Origin(now, now, None, Profile(rows, keys=rows))
    manifest = Manifest(table.name, snapshot, rows, columns, tuple(named), origin)
    folder = SnapshotFolder(here.env["EXPORT_PREFIX"], table.name, snapshot)
    blob = here.storage_client.bucket(here.bucket).blob(folder.manifest)
    blob.upload_from_string(manifest.to_json())
    return blob


def version(blob: storage.Blob) -> ObjectVersion:
    return ObjectVersion(blob.bucket.name, blob.name, int(blob.generation))


def finalized(blob: storage.Blob) -> CloudEvent:
    """The event that Cloud Storage sends of an object."""
    return CloudEvent(
        id=str(blob.generation),
        type="google.cloud.storage.object.v1.finalized",
        source=f"//storage.googleapis.com/projects/_/buckets/{blob.bucket.name}",
        subject=f"objects/{blob.name}",
        time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        data={
            "bucket": blob.bucket.name,
            "name": blob.name,
            "generation": str(blob.generation),
            "metageneration": "1",
            "size": str(blob.size),
        },
        extensions={"bucket": blob.bucket.name},
    )


def completed(here: Deployment, table: str, publication: int) -> CloudEvent:
    """The event of a completion message."""
    sent = {"attributes": {"table": table, "snapshot_id": "", "publication": str(publication)}, "messageId": "1"}
    return CloudEvent(
        id=f"{table}-{publication}",
        type="google.cloud.pubsub.topic.v1.messagePublished",
        source=f"//pubsub.googleapis.com/{here.topic}",
        time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        data={"message": sent, "subscription": "bench"},
    )


@contextmanager
def folder(gib: int = 20) -> Iterator[Path]:
    """Where the data of a run lies, which needs so much space; kept, because making it takes a while."""
    place = CACHE / "bench"
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < gib << 30:
        raise MissingError(f"{place} has less than {gib} GiB left")
    yield place


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
