"""A source in BigQuery for every table of the catalog."""

from __future__ import annotations

from local.cloud import DATASETS, Deployment
from shared.services import Services


def fill(here: Deployment, services: Services) -> None:
    """Give each table a source of one row, of the first type that its column can come from."""
    for table in services.catalog.tables.values():
        values = ", ".join(
            f"'POINT (2 48)' AS `{column.name}`"
            if "GEOGRAPHY" in column.type.sources
            else f"CAST({repr('1') if column.type.sources[0] == 'STRING' else 'NULL'} AS {column.type.sources[0]})"
            f" AS `{column.name}`"
            for column in table.columns
        )
        name = f"{DATASETS[table.source.said_by]}.{table.source.table}"
        here.bigquery_client.query(f"CREATE OR REPLACE TABLE {name} AS SELECT {values}").result()
