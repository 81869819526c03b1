"""What the steps of both flows work with: settings, the catalog, and one adapter per service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

from shared import catalog
from shared.catalog import Catalog
from shared.errors import ConfigurationError
from shared.gcp.bigquery import BigQuery
from shared.gcp.parquet import Parquet
from shared.gcp.pubsub import Publisher
from shared.gcp.storage import Storage
from shared.gcp.tokens import FunctionToken, NoToken
from shared.names import TableRef
from shared.settings import CommonSettings, HourlySettings, Settings


@dataclass(frozen=True)
class Services:
    """What the steps of the daily flow work with. Made once per process; clients connect on first use.

    `migrates` says whether steps with these services bring an older ledger up to date. Functions do so, because they
    are deployed; a checkout on somebody's desk does not.
    """

    settings: Settings
    catalog: Catalog
    bigquery: BigQuery
    storage: Storage
    parquet: Parquet
    publisher: Publisher
    migrates: bool = True

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Raises ConfigurationError that names everything wrong with the environment or the catalog."""
        read = catalog.load()
        settings = Settings.from_environment(environ, datasets=read.dataset_variables)
        storage = Storage(settings.project)
        return cls(
            settings=settings,
            catalog=read,
            bigquery=_bigquery(settings),
            storage=storage,
            parquet=_parquet(settings, storage),
            publisher=Publisher(settings.project),
        )


@dataclass(frozen=True)
class HourlyServices:
    """What the steps of the hourly flow work with. Made once per process; clients connect on first use."""

    settings: HourlySettings
    catalog: Catalog
    bigquery: BigQuery
    storage: Storage
    parquet: Parquet
    publisher: Publisher

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Raises ConfigurationError that names everything wrong with the environment or the catalog."""
        settings = HourlySettings.from_environment(environ)
        read = catalog.load()
        _refuse_shared(settings, read)
        storage = Storage(settings.project)
        return cls(
            settings=settings,
            catalog=read,
            bigquery=_bigquery(settings),
            storage=storage,
            parquet=_parquet(settings, storage),
            publisher=Publisher(settings.project),
        )


@cache
def daily() -> Services:
    """This process's services of the daily flow."""
    return Services.from_environment()


@cache
def hourly() -> HourlyServices:
    """This process's services of the hourly flow."""
    return HourlyServices.from_environment()


def _refuse_shared(settings: HourlySettings, read: Catalog) -> None:
    """Raise ConfigurationError for two logs with one BigQuery table, which only this deployment's environment and
    project show to be one: the rows of each would be strangers to the other.
    """
    of: dict[TableRef, str] = {}
    for log in read.hourly.values():
        ref = log.target.ref(settings.project, settings.environment)
        first = of.setdefault(ref, log.name)
        if first != log.name:
            raise ConfigurationError(
                f"is the BigQuery table of the logs {first} and {log.name}: each log needs one of its own",
                where=str(ref),
                remedy="Correct the dataset or the table of one of them in the catalog",
            )


def _bigquery(settings: CommonSettings) -> BigQuery:
    return BigQuery(settings.project, emulated=settings.bigquery_emulator is not None)


def _parquet(settings: CommonSettings, storage: Storage) -> Parquet:
    if settings.storage_emulator:
        return Parquet(settings.storage_emulator, NoToken(), storage)
    return Parquet("https://storage.googleapis.com", FunctionToken(), storage)
