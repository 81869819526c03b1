"""Counts the rows of each table everywhere it is, by asking each system: do they agree?"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
from psycopg import sql
from psycopg.rows import scalar_row

from local.cloud import Deployment
from local.data import INPUT
from shared import catalog
from shared.catalog import SHIPPED, Catalog, Place, Table, View


@dataclass(frozen=True)
class ViewCount:
    """Rows that a view should have and has. What it should have is counted in BigQuery, of the source, where
    `input/views.toml` says how; else in PostgreSQL, by the view's own query over the tables that it reads.
    """

    expected: int
    actual: int
    by_bigquery: bool


@dataclass(frozen=True)
class Counts:
    """Rows of one table, and of the views that read it first."""

    table: str
    bigquery: int
    parquet: int
    postgres: int
    views: Mapping[str, ViewCount]

    @property
    def agree(self) -> bool:
        same = self.bigquery == self.parquet == self.postgres
        return same and all(view.expected == view.actual for view in self.views.values())


def count(here: Deployment) -> Iterator[Counts]:
    """Ask BigQuery, the Parquet footers that the newest manifest names, and PostgreSQL."""
    of = catalog.load(here.place)
    with psycopg.connect(here.dsn) as connection:
        for table in of.tables.values():
            told = _told(of, table, here.place)
            columns = ", ".join(["count(*)", *told.values()])
            query = f"SELECT {columns} FROM {here.source(table).quoted}"
            (answer,) = here.bigquery_client.query(query).result()
            rows, *expected = answer.values()
            yield Counts(
                table=table.name,
                bigquery=rows,
                parquet=_footers(here, table.name),
                postgres=_rows(connection, of, table.name),
                views=dict(_views(connection, of, table, dict(zip(told, expected, strict=True)))),
            )


def _told(of: Catalog, table: Table, place: Place) -> dict[str, str]:
    """How BigQuery counts what views of the table should hold, as far as it is told."""
    own, ours = _expressions(place.file.parent / "input"), _expressions(INPUT)
    return {
        view.name: own.get(view.name, ours.get(view.name, ""))
        for view in of.views_of(table.name)
        if view.reads == (table.name,) and (view.name in own or (view.name in ours and _is_shipped(view)))
    }


def _expressions(folder: Path) -> Mapping[str, str]:
    file = folder / "views.toml"
    return tomllib.loads(file.read_text()) if file.is_file() else {}


def _is_shipped(view: View) -> bool:
    shipped = SHIPPED.views / view.template.name
    return shipped.is_file() and shipped.read_bytes() == view.template.read_bytes()


def _views(
    connection: psycopg.Connection, of: Catalog, table: Table, told: Mapping[str, int]
) -> Iterator[tuple[str, ViewCount]]:
    for view in of.views_of(table.name):
        if view.reads[0] == table.name:
            expected = told[view.name] if view.name in told else _selected(connection, of, view.name)
            yield view.name, ViewCount(expected, _rows(connection, of, view.name), view.name in told)


def _rows(connection: psycopg.Connection, of: Catalog, relation: str) -> int:
    return _scalar(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(of.schema, relation)))


def _selected(connection: psycopg.Connection, of: Catalog, view: str) -> int:
    """The rows that the query of a view gives now."""
    name = sql.Identifier(of.schema, view).as_string(connection)
    with connection.cursor(row_factory=scalar_row) as cursor:
        query = cursor.execute("SELECT rtrim(pg_get_viewdef(%s::regclass), ';')", [name]).fetchone()
    return _scalar(connection, sql.SQL("SELECT count(*) FROM ({}) AS view").format(sql.SQL(str(query))))


def _scalar(connection: psycopg.Connection, statement: sql.Composed) -> int:
    with connection.cursor(row_factory=scalar_row) as cursor:
        return int(cursor.execute(statement).fetchone() or 0)


def _footers(here: Deployment, table: str) -> int:
    bucket = here.storage_client.bucket(here.bucket)
    folder = f"{here.env['EXPORT_PREFIX']}/{table}/"
    manifests = [blob for blob in bucket.list_blobs(prefix=folder) if blob.name.endswith("/manifest.json")]
    newest = json.loads(max(manifests, key=lambda blob: str(blob.name)).download_as_bytes())
    return sum(pq.read_metadata(bucket.blob(part["name"]).open("rb")).num_rows for part in newest["parts"])
