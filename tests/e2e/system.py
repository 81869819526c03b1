"""The system as its users meet it: an HTTP call, BigQuery before, PostgreSQL after."""

from __future__ import annotations

import json
import re
import struct
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import psycopg

from shared import catalog
from shared.catalog import Column, PgType, Table
from tests.e2e.sources import SOURCES
from tests.kit.answer_schemas import checked

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

CATALOG = catalog.load()


@dataclass
class System:
    """One deployment, whose bq_export is at `url` if it can be called from here."""

    bigquery: Client
    datasets: Mapping[str, str]
    dsn: str
    url: str = ""

    def fill(self, day: int) -> None:
        """Give the sources the rows of a day, which are all others than those of the day before."""
        for table, query in SOURCES.items():
            source = CATALOG.tables[table].source.table
            self.bigquery.query(
                f"CREATE OR REPLACE TABLE {self.dataset(table)}.{source} AS {query.format(day=day)}"
            ).result()

    def call(self, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Call bq_export; status and answer, which is as the documents say. A body of bytes goes as it is."""
        status, answer = self._call(body, headers)
        checked("bq_export", json.loads(answer))
        return status, answer

    def _call(self, body: object, headers: Mapping[str, str] | None) -> tuple[int, str]:
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        request = urllib.request.Request(  # noqa: S310 - the address is the test's own
            self.url, content, {"content-type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=1800) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def schedule(self, at: datetime, *tables: str) -> dict[str, str]:
        """Run the daily job as Cloud Scheduler does; the snapshot of each table."""
        status, answer = self.call(
            {"tables": tables} if tables else {}, {"X-CloudScheduler-ScheduleTime": at.isoformat()}
        )
        assert status == 200, answer
        document = json.loads(answer)
        assert not document["failed"]
        return {table["table"]: table["snapshot_id"] for table in document["tables"]}

    def run(self, day: int, *tables: str) -> None:
        """The whole daily job on the rows of a day, until its views are there."""
        self.fill(day)
        self.wait_refreshed(self.schedule(scheduled(day), *tables))

    def wait_refreshed(self, snapshots: Mapping[str, str], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.refreshed(snapshots):
            assert time.monotonic() < deadline, f"{snapshots} never came to the views"
            time.sleep(0.1)

    def refreshed(self, snapshots: Mapping[str, str]) -> bool:
        """Whether these are the snapshots that the tables and all their views hold."""
        try:
            with psycopg.connect(self.dsn) as connection:
                published = connection.execute(
                    "SELECT DISTINCT ON (table_name) table_name, snapshot_id, publication FROM recosync.publication"
                    " ORDER BY table_name, publication DESC"
                ).fetchall()
                built = set(connection.execute("SELECT view_name, table_name, publication FROM recosync.view_build"))
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return False
        numbers = {table: number for table, snapshot, number in published if snapshots.get(table) == snapshot}
        views = {(view.name, table, n) for table, n in numbers.items() for view in CATALOG.views_of(table)}
        return numbers.keys() == snapshots.keys() and views <= built

    def agrees(self, *tables: str) -> bool:
        """Whether PostgreSQL holds row for row what BigQuery holds, and each view as many rows as it should."""
        for table in [CATALOG.tables[name] for name in tables or CATALOG.tables]:
            source = self.source_rows(table)
            assert source
            assert self.target_rows(table) == source, table.name
            for view, count in expected_counts(table, source).items():
                assert self.select(f"SELECT count(*) FROM {view}") == [(count,)], view
        return True

    def source_rows(self, table: Table) -> Counter[tuple[object, ...]]:
        columns = ", ".join(
            f"ST_ASTEXT({c.name}) AS {c.name}" if c.type == PgType.GEOMETRY else c.name for c in table.columns
        )
        rows = self.bigquery.query(f"SELECT {columns} FROM {self.dataset(table.name)}.{table.source.table}").result()
        return normal(table, (row.values() for row in rows))

    def target_rows(self, table: Table) -> Counter[tuple[object, ...]]:
        columns = ", ".join(
            f'st_astext("{c.name}")' if c.type == PgType.GEOMETRY else f'"{c.name}"' for c in table.columns
        )
        return normal(table, self.select(f"SELECT {columns} FROM {table.name}"))

    def select(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def publications(self, table: str) -> list[str]:
        """The snapshots that were published, in order."""
        query = f"SELECT snapshot_id FROM recosync.publication WHERE table_name = '{table}' ORDER BY publication"
        return [str(snapshot) for (snapshot,) in self.select(query)]

    def dataset(self, table: str) -> str:
        return self.datasets[CATALOG.tables[table].source.said_by]


def scheduled(day: int) -> datetime:
    """When Cloud Scheduler plans the call of a day for."""
    return datetime(2026, 1, 1, 4, 30, tzinfo=UTC) + timedelta(days=day)


def expected_counts(table: Table, rows: Counter[tuple[object, ...]]) -> dict[str, int]:
    """How many rows each view of a table has, by what it holds."""
    names = [column.name for column in table.columns]
    dicts = [dict(zip(names, row, strict=True)) for row in rows.elements()]
    match table.name:
        case "recommendable_offers_raw":
            shown = [row for row in dicts if row["is_geolocated"] and row["is_sensitive"] is False]
            offers = {row["offer_id"] for row in dicts}
            return {"item_ids_mv": len(offers), "recommendable_offers_raw_mv": len(shown)}
        case "non_recommendable_items_data":
            return {"non_recommendable_items_mv": len(rows)}
    return {f"{table.name}_mv": rows.total()}


def normal(table: Table, rows: object) -> Counter[tuple[object, ...]]:
    """Rows as values that are equal exactly when both databases mean the same."""
    return Counter(tuple(map(_normal, table.columns, row)) for row in rows)


def _normal(column: Column, value: object) -> object:
    if value is None:
        return None
    match column.type:
        case PgType.REAL:
            return struct.pack("f", value)
        case PgType.NUMERIC:
            return Decimal(str(value))
        case PgType.TIMESTAMP:
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        case PgType.GEOMETRY:
            return re.sub(r"-?[\d.]+", lambda number: repr(float(number[0])), re.sub(r"\s*([(,])\s*", r"\1", value))
    return value
