"""Odd files given to a real gcs_import process, and what comes of each held against what pyarrow reads.

Whatever the file: the process lives, answers once and for all, stays below its memory, and changes nothing that it does
not tell. What it refuses it names, and quotes no value.
"""

from __future__ import annotations

import http.client
import io
import json
import multiprocessing
import re
import resource
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.cloud import Cloud, Deployment
from local.functions import COLD, Instance, Spec
from shared.catalog import FOLDER_VARIABLE
from shared.ledger.attempts import MOST
from shared.names import ObjectVersion, SnapshotId
from shared.services import Services
from tests.fuzz.odd_files import COLUMNS, SECRET, OddFile, odd_file
from tests.kit.uploads import Upload

TABLE = "odd"

#: Bytes that the function may have in memory, as Terraform deploys it.
MEMORY = 1 << 30

#: Characters of a log line.
MAX_LINE = 8_192

CATALOG = f"""
[tables.{TABLE}]
source = "odd"
dataset = "BIGQUERY_SEED_DATASET"
allow_empty = true
[tables.{TABLE}.columns]
{"\n".join(f'{name} = "{type_}"' for name, type_ in COLUMNS.items())}
[views.odd_mv]
template = "odd_mv.sql.jinja"
reads = ["{TABLE}"]
"""


@dataclass
class Trial:
    """One function process, and what it did with the files so far: how many `arrived`, the reasons why others were
    `refused`, without their places, how often a worker died, and the most memory that one needed, in bytes. A worker
    that asks for more than `limit` bytes does not get them.
    """

    here: Deployment
    services: Services
    database: psycopg.Connection
    arrived: int = 0
    deaths: int = 0
    peak: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    limit: int | None = None
    _tries: int = 0
    _read_of_log: int = 0
    _reader: ProcessPoolExecutor | None = None

    def of(self, seed: int) -> list[str]:
        """What is wrong with the answer to the file of a seed."""
        odd = odd_file(seed)
        wrong = [f"{what}\n    {odd}" for what in self._judge(odd)]
        self._tries += 1
        return wrong

    @property
    def _instance(self) -> Instance:
        (instance,) = self.here.instances["gcs_import"]
        return instance

    def restart(self) -> None:
        """A new process of the function."""
        self._instance.restart()
        self.bound()

    def bound(self) -> None:
        """Have the kernel refuse more memory than the limit."""
        if self.limit is not None:
            for process in (self._instance.process.pid, self._instance.worker_pid):
                resource.prlimit(process, resource.RLIMIT_DATA, (self.limit, self.limit))

    def _judge(self, odd: OddFile) -> Iterator[str]:
        snapshot = SnapshotId(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._tries))
        upload = Upload(self.services, TABLE, snapshot)
        part = upload.part(odd.content)
        (named,) = upload.parts
        upload.parts = [type(named)(named.name, named.generation, odd.rows.num_rows, named.bytes, named.crc32c)]
        before = self._published()
        status = self._deliver(upload.manifest())
        if status is None:
            yield f"the worker died at each delivery: {self._instance.process.tail(8)}"
        elif status != 204:
            yield f"answered {status}, so the event comes again"
        peak = self._instance.peak_rss()
        self.peak = max(self.peak, peak)
        if peak > MEMORY:
            yield f"needed {peak >> 20} MiB"
            self.restart()
        yield from self._told()
        values = {"snapshot": str(snapshot)}
        staged = self.database.execute(
            "SELECT id FROM recosync.part WHERE snapshot_id = %(snapshot)s AND rows IS NOT NULL", values
        ).fetchone()
        failures = self.database.execute(
            "SELECT message FROM recosync.failure WHERE snapshot_id = %(snapshot)s", values
        ).fetchall()
        if staged is not None:
            self.arrived += 1
            yield from self._compare(odd, staged[0])
        elif status == 204:
            if [name for name, *_ in failures if part.name not in name] or not failures:
                yield f"refused without the file's name: {failures}"
            if before != self._published():
                yield "readers have something else than before"
        for (message,) in failures:
            self.refused[f"{'damaged' if odd.damage != 'none' else 'sound'}: {_reason(message)}"] += 1
            if quoted := _quoted(message):
                yield f"quotes {quoted} in {message}"

    def _deliver(self, version: ObjectVersion) -> int | None:
        """Send an event until it is answered, as Pub/Sub does where a worker died of it; None if that never helps."""
        for _ in range(MOST + 1):
            worker = self._instance.worker_pid
            status = self._send(version)
            if status is not None and worker == self._instance.worker_pid:
                return status
            self.deaths += 1
            self.restart()
        return None

    def _send(self, version: ObjectVersion) -> int | None:
        """Send an object's finalize event; the status of the answer, None where there was none."""
        host = urlsplit(self._instance.url).netloc
        connection = http.client.HTTPConnection(host, timeout=300)
        data = {"bucket": version.bucket, "name": version.name, "generation": str(version.generation), "size": "1"}
        headers = {
            "content-type": "application/json", "ce-specversion": "1.0", "ce-id": str(self._tries),
            "ce-type": "google.cloud.storage.object.v1.finalized", "ce-source": "//storage.googleapis.com/fuzz",
        }  # fmt: skip
        try:
            connection.request("POST", "/", json.dumps(data), headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _published(self) -> object:
        query = "SELECT publication, snapshot_id FROM recosync.publication ORDER BY publication DESC LIMIT 1"
        return self.database.execute(query).fetchone() if self._tries else None

    def _told(self) -> Iterator[str]:
        """What is wrong with the log lines that came since."""
        with self._instance.log.open("rb") as log:
            log.seek(self._read_of_log)
            new = log.read()
        self._read_of_log += len(new)
        for line in new.decode(errors="replace").splitlines():
            if len(line) > MAX_LINE:
                yield f"a log line of {len(line)} characters: {line[:200]}…"
            if SECRET in line:
                yield f"a log line with a value: {line[:500]}"

    def _compare(self, odd: OddFile, part: int) -> Iterator[str]:
        # As numbers: Python has no years after 9999.
        numbers = {"date": "\"{}\" - DATE '1970-01-01'", "timestamp": '(extract(EPOCH FROM "{}") * 1000000)::bigint'}
        columns = ", ".join(numbers.get(type_, '"{}"').format(name) for name, type_ in COLUMNS.items())
        query = f"SELECT {columns} FROM recosync.part_{part} ORDER BY ctid"
        stored = [_row(row) for row in self.database.execute(query.encode())]
        expected = self._read(odd.content)
        told = "other values than pyarrow reads"
        if expected is None:
            told, expected = "took what pyarrow does not read", expected_rows(odd.rows)
        if difference := _difference(stored, expected):
            yield f"{told}: {difference}"

    def _read(self, content: bytes) -> list[tuple[str, ...]] | None:
        """What pyarrow reads, in a process that may die of it; None where it does not."""
        self._reader = self._reader or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._reader.submit(read, content).result(60)
        except (BrokenProcessPool, TimeoutError):
            self.close()
            return None

    def close(self) -> None:
        """End the process in which pyarrow reads."""
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)
            self._reader = None


def read(content: bytes) -> list[tuple[str, ...]] | None:
    """The rows of a file as pyarrow reads them."""
    try:
        return expected_rows(pq.read_table(io.BytesIO(content), page_checksum_verification=False).select(list(COLUMNS)))
    except Exception:  # noqa: BLE001 - whatever pyarrow has to say
        return None


def expected_rows(rows: pa.Table) -> list[tuple[str, ...]]:
    """The rows as the columns of PostgreSQL should have them."""
    return [_row(row) for row in zip(*(_values(name, rows.column(name)) for name in COLUMNS), strict=True)]


def _row(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(_normal(_as(type_, value)) for type_, value in zip(COLUMNS.values(), values, strict=True))


def _values(name: str, column: pa.ChunkedArray) -> Sequence[object]:
    if pa.types.is_timestamp(column.type) or (COLUMNS[name] == "timestamp" and pa.types.is_date(column.type)):
        if column.type in (pa.timestamp("ns"), pa.timestamp("ns", tz=getattr(column.type, "tz", None))):
            # Cut to the microsecond before, also before 1970.
            return [None if value is None else value // 1_000 for value in column.cast(pa.int64()).to_pylist()]
        tz = column.type.tz if pa.types.is_timestamp(column.type) else None
        return column.cast(pa.timestamp("us", tz=tz), safe=False).cast(pa.int64()).to_pylist()
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32()).to_pylist()
    if COLUMNS[name] == "numeric" and column.type in (pa.float16(), pa.float32()):
        # The shortest decimal of a single float is not that of the double which Python makes of it.
        return [None if value is None else Decimal(str(np.float32(value))) for value in column.to_pylist()]
    return column.to_pylist()


def _as(type_: str, value: object) -> object:
    """A value as the PostgreSQL type has it."""
    match value:
        case None:
            return None
        case bytes():
            value = value.decode(errors="replace")
    match type_, value:
        case "real", bool() | int() | float() | Decimal():
            try:
                return struct.unpack("f", struct.pack("f", float(value)))[0]
            except OverflowError:
                return value
        case "double precision", int() | Decimal():
            return float(value)
        case (("integer" | "bigint" | "smallint"), float() | Decimal()) if value == value.__trunc__():
            return int(value)
        case "numeric", float():
            return Decimal(repr(value))
        case "jsonb", str():
            try:
                return json.loads(value)
            except ValueError:
                return value
    return value


def _normal(value: object) -> str:
    """The same text for the same value."""
    match value:
        case bool() | None:
            return repr(value)
        case int() | Decimal():
            return f"{Decimal(value).normalize() + 0:f}"
        case float():
            return repr(value + 0.0)
        case str():
            return value
    return json.dumps(value, sort_keys=True)


def _difference(found: Sequence[tuple[str, ...]], expected: Sequence[tuple[str, ...]]) -> str:
    """The first difference; empty where there is none."""
    if len(found) != len(expected):
        return f"{len(found)} rows for {len(expected)}"
    for row, (one, other) in enumerate(zip(found, expected, strict=True)):
        for (name, type_), a, b in zip(COLUMNS.items(), one, other, strict=True):
            if a != b and not (type_ == "numeric" and _is_same_single(a, b)):
                return f"row {row}, {name}: {a[:80]} for {b[:80]}"
    return ""


def _is_same_single(a: str, b: str) -> bool:
    """Whether both are as short a decimal of one float of 32 bits: two may be equally near."""
    if "None" in (a, b) or max(len(Decimal(text).as_tuple().digits) for text in (a, b)) > 9:
        return False
    return np.float32(a) == np.float32(b)


def _reason(message: str) -> str:
    """A failure's message without names and numbers."""
    message = re.sub(r"gs://\S+", "…", message)
    return re.sub(r"-?\d+", "0", message)[:300]


def _quoted(message: str) -> str | None:
    """A value of the file in a message."""
    found = re.search(rf"{SECRET}|\b7919", re.sub(r"gs://\S+", "", message))
    return found[0] if found else None


@contextmanager
def trial(cloud: Cloud, name: str, folder: Path, limit: int | None = None) -> Iterator[Trial]:
    """A project whose gcs_import knows the table of odd files, and nobody else calls it."""
    (folder / "catalog.toml").write_text(CATALOG)
    (folder / "views").mkdir()
    (folder / "views" / "odd_mv.sql.jinja").touch()
    fleet = {"gcs_import": Spec("cloudevent")}
    with pytest.MonkeyPatch.context() as environment, ExitStack() as open_:
        if limit is not None:
            environment.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own reserves 1 GiB, which would count
        here = open_.enter_context(cloud.deploy(name, fleet, env={FOLDER_VARIABLE: str(folder)}, runtime=COLD))
        database = open_.enter_context(psycopg.connect(here.dsn, autocommit=True))
        for key, value in here.env.items():
            environment.setenv(key, value)
        services = Services.from_environment()
        with closing(Trial(here, services, database, limit=limit)) as made:
            made.bound()
            yield made
