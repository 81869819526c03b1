"""Counts the rows of each table everywhere it is, by asking each system: do they agree?"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
import pyarrow.parquet as pq
from psycopg import sql
from psycopg.rows import scalar_row

from local.cloud import Deployment


@dataclass(frozen=True)
class Expectation:
    """A table's source, and what each of its views should hold, asked of BigQuery: written apart from the product."""

    source: str
    views: Mapping[str, str]


EXPECTATIONS: Mapping[str, Expectation] = {
    "enriched_user": Expectation("ml_reco_local.user_statistics", {"enriched_user_mv": "count(*)"}),
    "recommendable_offers_raw": Expectation(
        "ml_reco_local.recommendable_offer",
        {
            "item_ids_mv": "count(DISTINCT offer_id)",
            "recommendable_offers_raw_mv": "countif(is_geolocated AND NOT is_sensitive)",
        },
    ),
    "non_recommendable_items_data": Expectation(
        "ml_reco_local.user_booked_item",
        {"non_recommendable_items_mv": "count(DISTINCT concat(user_id, ' ', item_id))"},
    ),
    "iris_france": Expectation("seed_local.iris_france", {"iris_france_mv": "count(*)"}),
}


@dataclass(frozen=True)
class Counts:
    """Rows of one table; `views` maps a view to the rows it should have and has."""

    table: str
    bigquery: int
    parquet: int
    postgres: int
    views: Mapping[str, tuple[int, int]]

    @property
    def agree(self) -> bool:
        same = self.bigquery == self.parquet == self.postgres
        return same and all(expected == actual for expected, actual in self.views.values())


def count(here: Deployment) -> Iterator[Counts]:
    """Ask BigQuery, the Parquet footers that the newest manifest names, and PostgreSQL."""
    with psycopg.connect(here.dsn) as connection:
        for table, expectation in EXPECTATIONS.items():
            columns = ", ".join(["count(*)", *expectation.views.values()])
            query = f"SELECT {columns} FROM `{here.project}.{expectation.source}`"
            (answer,) = here.bigquery_client.query(query).result()
            rows, *expected = answer.values()
            actual = [_rows(connection, view) for view in expectation.views]
            yield Counts(
                table=table,
                bigquery=rows,
                parquet=_footers(here, table),
                postgres=_rows(connection, table),
                views=dict(zip(expectation.views, zip(expected, actual, strict=True), strict=True)),
            )


def _rows(connection: psycopg.Connection, relation: str) -> int:
    with connection.cursor(row_factory=scalar_row) as cursor:
        statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(relation))
        return int(cursor.execute(statement).fetchone() or 0)


def _footers(here: Deployment, table: str) -> int:
    bucket = here.storage_client.bucket(here.bucket)
    folder = f"{here.env['EXPORT_PREFIX']}/{table}/"
    manifests = [blob for blob in bucket.list_blobs(prefix=folder) if blob.name.endswith("/manifest.json")]
    newest = json.loads(max(manifests, key=lambda blob: str(blob.name)).download_as_bytes())
    return sum(pq.read_metadata(bucket.blob(part["name"]).open("rb")).num_rows for part in newest["parts"])
