"""Tables of any columns: a catalog written for one test, and parts that go all the way into PostgreSQL."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from google.cloud import bigquery
from psycopg import sql

from local.cloud import Cloud
from shared import catalog
from shared.daily import export
from shared.daily.names import SnapshotFolder
from shared.names import SnapshotId
from shared.services import Services
from tests.kit.uploads import Upload, arrive

TABLE = "typed"
#: No two exports of a test run have the same snapshot.
_exports = itertools.count()
SNAPSHOT = SnapshotId.parse("20260101T000000Z")


@dataclass
class Place:
    """A project and a database, of which only the table `typed` is used. Its first column numbers the rows."""

    services: Services
    database: psycopg.Connection
    folder: Path
    bigquery: bigquery.Client

    def empty(self) -> None:
        self.database.execute(f"DROP TABLE IF EXISTS {TABLE} CASCADE; DROP SCHEMA IF EXISTS recosync CASCADE")

    def upload(self, columns: Mapping[str, str]) -> Upload:
        """An upload to a table of these columns and types."""
        (self.folder / "typed_mv.sql.jinja").touch()
        file = self.folder / "catalog.toml"
        types = "\n".join(f'"{name}" = "{type_}"' for name, type_ in {"n": "integer", **columns}.items())
        file.write_text(
            f'[tables.{TABLE}]\nsource = "typed"\ndataset = "BIGQUERY_SEED_DATASET"\nallow_empty = true\n'
            f"[tables.{TABLE}.columns]\n{types}\n"
            f'[views.typed_mv]\ntemplate = "typed_mv.sql.jinja"\nreads = ["{TABLE}"]\n'
        )
        return Upload(replace(self.services, catalog=catalog.load(catalog.Place(file, self.folder))), TABLE, SNAPSHOT)

    def publish(self, columns: Mapping[str, str], rows: pa.Table, *, row_group_size: int | None = None) -> None:
        upload = self.upload(columns)
        part = upload.part(rows, row_group_size=row_group_size)
        assert arrive(upload.services, part, upload.manifest(source_rows=rows.num_rows)) == ["staged", "published"]

    def travel(self, columns: Mapping[str, str], source: str) -> None:
        """Make the source's table of a query's rows, which numbers them as `n`, export it and publish what arrives."""
        services = self.upload(columns).services
        table = services.catalog.tables[TABLE]
        self.bigquery.query(f"CREATE OR REPLACE TABLE seed_local.typed AS {source}").result()
        now = datetime.now(UTC)
        snapshot = SnapshotId(now.replace(microsecond=0) + timedelta(seconds=next(_exports)))
        export.export(services, table, snapshot, now, time.monotonic() + 60)
        manifest = SnapshotFolder(services.settings.prefix, TABLE, snapshot).manifest
        found = services.storage.find(services.settings.bucket, manifest)
        assert found is not None
        assert arrive(services, found.version) == ["published"]

    def stored(self, column: str, *, as_text: bool = False) -> list[object]:
        """What PostgreSQL has in a column, by row number."""
        cast = sql.SQL("::text" if as_text else "")
        query = sql.SQL("SELECT {}{} FROM {} ORDER BY n").format(sql.Identifier(column), cast, sql.Identifier(TABLE))
        return [value for (value,) in self.database.execute(query)]


@contextmanager
def place(cloud: Cloud, name: str, folder: Path) -> Iterator[Place]:
    """A project that many tests share, because each needs but one table of it."""
    with cloud.deploy(name, functions={}) as here, pytest.MonkeyPatch.context() as environment:
        for key, value in here.env.items():
            environment.setenv(key, value)
        with psycopg.connect(here.dsn, autocommit=True) as database:
            yield Place(Services.from_environment(here.env), database, folder, here.bigquery_client)


def skip_without_pgvector(place: Place) -> None:
    if place.database.execute("SELECT FROM pg_type WHERE typname = 'halfvec'").fetchone() is None:
        pytest.skip("pgvector 0.7 or later is not installed: no vector was tested. make test POSTGRES=18 has it")


def numbered(**columns: pa.Array | Sequence[object]) -> pa.Table:
    """Columns with their row numbers in front."""
    length = max(len(column) for column in columns.values())
    return pa.table({"n": pa.array(range(length), pa.int64()), **columns})
