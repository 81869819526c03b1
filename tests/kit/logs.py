"""A log in a project of a test's own: rows of any hour, runs at any time, and what they leave in each system.

Hours are counted from MIDNIGHT: 10 is 20260310T10, the first that the flow owns here, and 34 is 20260311T10.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import NotFound
from google.cloud.storage import Blob
from psycopg import sql

from local import context
from local.cloud import Cloud, Deployment
from shared import catalog
from shared.catalog import HourlyTable
from shared.hourly import run
from shared.hourly.request import parse
from shared.names import Hour
from shared.services import HourlyServices
from tests.kit.answer_schemas import checked

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
START = 10
#: Quoted, as a user's own names may have to be.
MOOD = '"Mood of"'


def at(hour: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hour)


def named(hour: int, until: int | None = None) -> dict[str, object]:
    """The fields of a body that name an hour, or a range."""
    body: dict[str, object] = {"date": f"{at(hour):%Y%m%d}", "hour": at(hour).hour}
    return body if until is None else {**body, "until": str(Hour(at(until)))}


@dataclass
class Log:
    """One log. `errors` are the messages of severity ERROR so far, on which alerts fire."""

    here: Deployment
    database: psycopg.Connection
    services: HourlyServices
    name: str = "past_offer_context"
    errors: list[str] = field(default_factory=list)

    @property
    def table(self) -> HourlyTable:
        return self.services.catalog.hourly[self.name]

    def change(self, **settings: object) -> None:
        self.services = replace(self.services, settings=replace(self.services.settings, **settings))

    def add(
        self, hour: float, rows: int = 1, connection: psycopg.Connection | None = None, **values: object
    ) -> list[int]:
        """Add rows in the middle of an hour, in a transaction of the caller's if there is one; their keys."""
        values = {self.table.time: (at(hour) + timedelta(minutes=30)).replace(tzinfo=None), **values}
        statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) RETURNING {}").format(
            sql.Identifier(self.name),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
            rows,
            sql.Identifier(self.table.key),
        )
        return [key for (key,) in (connection or self.database).execute(statement, list(values.values()))]

    def ask(self, now: float, scheduled: datetime | None = None, **body: object) -> tuple[Any, int]:
        """What a call five minutes after an hour's beginning answers, and its status."""
        request = parse(self.services, {"table_name": self.name, **body}, scheduled, at(now) + timedelta(minutes=5))
        answer, status = run.run(self.services, request)
        checked("hourly_export", {**answer, "reconciled": None})
        return answer, status

    def call(self, now: float, **body: object) -> Any:
        answer, status = self.ask(now, **body)
        assert status == 200, answer
        return answer

    def done(self, now: float, **body: object) -> dict[int, str]:
        """Make a call that must not fail; what it says of each hour."""
        answer = self.call(now, **body)
        assert answer["failed"] == []
        return {number(Hour.parse(hour["hour"])): hour["status"] for hour in answer["hours"]}

    def failures(self, now: float, **body: object) -> dict[int, str]:
        """Make a call; the hours that failed for good, and why."""
        failed = self.call(now, **body)["failed"]
        assert not any(failure["retryable"] for failure in failed)
        return {number(Hour.parse(failure["hour"])): failure["error"] for failure in failed}

    def source(self) -> list[int]:
        """The keys in PostgreSQL."""
        return [key for (key,) in self.database.execute(f'SELECT "{self.table.key}" FROM "{self.name}" ORDER BY 1')]

    def rows(self) -> list[Mapping[str, Any]]:
        """The rows in BigQuery, in the order of their keys."""
        try:
            rows = list(self.here.bigquery_client.list_rows(f"raw_local.{self.name}"))
        except NotFound:
            return []
        return sorted(map(dict, rows), key=lambda row: row[self.table.key])

    def bigquery(self) -> dict[int, list[int]]:
        """The keys that BigQuery holds of each hour."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for row in self.rows():
            found[number(Hour.of_day(row["import_date"], row["import_hour"]))].append(row[self.table.key])
        return dict(found)

    def load_by_hand(self, hour: int, key: int) -> None:
        """Put a row of an hour into BigQuery, as somebody else's job would."""
        self.here.bigquery_client.query(
            f"INSERT INTO raw_local.{self.name} ({self.table.key}, import_date, import_hour)"
            f" VALUES ({key}, DATE '{at(hour):%Y-%m-%d}', {at(hour).hour})"
        ).result()

    def erase_in_bigquery(self, hour: int) -> None:
        """Delete an hour's rows from BigQuery."""
        self.here.bigquery_client.query(
            f"DELETE FROM raw_local.{self.name}"
            f" WHERE import_date = DATE '{at(hour):%Y-%m-%d}' AND import_hour = {at(hour).hour}"
        ).result()

    def blob(self, name: str) -> Blob:
        """An object by its name below the log's folder."""
        return self.here.storage_client.bucket(self.here.hourly_bucket).blob(self.folder + name)

    @property
    def folder(self) -> str:
        return f"{self.services.settings.prefix}/{self.name}/"

    def objects(self, prefix: str = "") -> set[str]:
        """The names below the log's folder that begin so."""
        found = self.here.storage_client.list_blobs(self.here.hourly_bucket, prefix=self.folder + prefix)
        return {blob.name.removeprefix(self.folder) for blob in found}

    def parts(self, hour: int, kind: str = "part") -> list[str]:
        """The names of an hour's parts, or of the keys beside them."""
        return sorted(self.objects(f"date={at(hour):%Y%m%d}/hour={at(hour).hour:02d}/{kind}-"))

    def parquet(self, hour: int) -> pa.Table:
        """An hour's parts, read."""
        return pa.concat_tables(pq.read_table(io.BytesIO(self.blob(n).download_as_bytes())) for n in self.parts(hour))

    def manifest(self, day: int = 0) -> Blob:
        """The manifest of a day, as an object."""
        return self.blob(f"manifests/{at(24 * day):%Y%m%d}.json")

    def document(self, day: int = 0) -> Any:
        try:
            return json.loads(self.manifest(day).download_as_bytes())
        except NotFound:
            return {"hours": {}}

    def entry(self, hour: int) -> Any:
        """What the manifest says of an hour; None when nobody has begun it."""
        return self.document(hour // 24)["hours"].get(f"{hour % 24:02d}")

    def state(self, hour: int) -> str | None:
        entry = self.entry(hour)
        return entry["state"] if entry else None

    def everything(self) -> object:
        """Whatever a call may change, for a comparison."""
        blobs = self.here.storage_client.list_blobs(self.here.hourly_bucket)
        return {blob.name: blob.generation for blob in blobs}, self.rows(), self.source()


def number(hour: Hour) -> int:
    return int((hour.start - MIDNIGHT) / timedelta(hours=1))


def with_tables(folder: Path, blocks: str) -> catalog.Catalog:
    """The shipped catalog with more blocks of TOML."""
    file = folder / "catalog.toml"
    file.write_text(f"{catalog.Place.here().file.read_text()}\n{blocks}")
    return catalog.load(catalog.Place(file, catalog.Place.here().views))


@contextmanager
def open_log(here: Deployment, database: psycopg.Connection, *, create: bool = True) -> Iterator[Log]:
    """The API's log, empty, in a project whose environment is the process's."""
    if create:
        context.create(here.dsn)
    log = Log(here, database, HourlyServices.from_environment())
    log.change(start=Hour(at(START)))
    handler = _Errors(log.errors)
    logger = logging.getLogger("recosync")
    logger.addHandler(handler)
    try:
        yield log
    finally:
        logger.removeHandler(handler)


class _Errors(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextmanager
def place(cloud: Cloud, name: str, folder: Path, blocks: str) -> Iterator[Log]:
    """A project that many tests share, with more logs in its catalog than the API's. Their tables are not there yet."""
    with cloud.deploy(name, functions={}) as here, pytest.MonkeyPatch.context() as environment:
        for key, value in here.env.items():
            environment.setenv(key, value)
        with psycopg.connect(here.dsn, autocommit=True) as database, open_log(here, database) as log:
            log.services = replace(log.services, catalog=with_tables(folder, blocks))
            yield log


def block(name: str, columns: Mapping[str, str]) -> str:
    """The TOML of a log with the key `n`, the time `at` and further columns, each `<PostgreSQL type> <BigQuery type>`,
    and `refuse` where excess digits are, or `empty` where an array is instead of NULL.
    """
    lines = [f'[hourly.{name}]\nkey = "n"\ntime = "at"\n[hourly.{name}.columns]']
    more = {None: "", "refuse": ', excess_scale = "refuse"', "empty": ', null_array = "empty"'}
    for column, types in {"n": "bigint INT64", "at": "timestamp TIMESTAMP", **columns}.items():
        type_, target, said = re.fullmatch(r"(.+?) ([A-Z0-9<>]+)(?: (refuse|empty))?", types).groups()
        lines.append(f'{column} = {{ type = "{type_}", bigquery = "{target}"{more[said]} }}')
    return "\n".join(lines) + "\n"


def create(log: Log) -> None:
    """Make a log's table in PostgreSQL as the catalog has it; an enum is the type MOOD of `public`."""
    types = {column.name: column.type.sql.replace("enum", MOOD) for column in log.table.columns}
    if MOOD in types.values():
        log.database.execute(f"CREATE TYPE {MOOD} AS ENUM ('', 'sad', 'très \"happy\"')")
    columns = ", ".join(f'"{name}" {type_}' for name, type_ in types.items())
    log.database.execute(f'CREATE TABLE "{log.name}" ({columns}, PRIMARY KEY ("{log.table.key}"))')
    log.database.execute(f'ALTER TABLE "{log.name}" ALTER "{log.table.key}" ADD GENERATED BY DEFAULT AS IDENTITY')
    log.database.execute(f'CREATE INDEX ON "{log.name}" ("{log.table.time}")')
