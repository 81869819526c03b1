"""What the steps of the daily flow work with: settings, the catalog, and one adapter per service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shared import catalog
from shared.catalog import Catalog
from shared.gcp.bigquery import BigQuery
from shared.gcp.parquet import FunctionToken, NoToken, Parquet
from shared.gcp.pubsub import Publisher
from shared.gcp.storage import Storage
from shared.settings import Settings


@dataclass(frozen=True)
class Services:
    """Made once per process; clients connect on first use."""

    settings: Settings
    catalog: Catalog
    bigquery: BigQuery
    storage: Storage
    parquet: Parquet
    publisher: Publisher

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, database: bool) -> Self:
        """Raises ConfigurationError that names everything wrong with the environment or the catalog."""
        settings = Settings.from_environment(environ, database=database)
        return cls(
            settings=settings,
            catalog=catalog.load(),
            bigquery=BigQuery(settings.project, emulated=settings.bigquery_emulator is not None),
            storage=Storage(settings.project),
            parquet=Parquet(settings.storage_emulator, NoToken())
            if settings.storage_emulator
            else Parquet("https://storage.googleapis.com", FunctionToken()),
            publisher=Publisher(settings.project),
        )
