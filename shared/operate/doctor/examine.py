"""Examine: the checks that an account can make of what its environment describes, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Literal, TypedDict

from shared import services as made
from shared.catalog import HourlyTable
from shared.db.postgres import connect
from shared.errors import SyncError
from shared.gcp.rest import GoogleRest, Rest
from shared.operate.doctor import alerts, buckets, database, datasets, deployed, hearers, planned, rehearsal
from shared.operate.doctor.buckets import Bucket
from shared.operate.doctor.check import Check, Verdict, tried
from shared.operate.doctor.database import Readers
from shared.operate.doctor.deployed import Deployment
from shared.rows.log_table import LogTable
from shared.services import HourlyServices, Services
from shared.settings import CommonSettings

#: Who asks: a function inside the deployment, by its own account, or an operator.
type Account = Literal["bq_export", "hourly_export", "operator"]


@dataclass(frozen=True)
class Asked:
    """Who asks, and what the caller knows of the deployment besides its environment. To `rehearse` writes, and takes
    away what was written.
    """

    account: Account
    readers: Readers = field(default_factory=Readers)
    deployment: Deployment | None = None
    rehearse: bool = False


class CheckDocument(TypedDict):
    """A check, as JSON."""

    about: str
    verdict: str
    told: str
    remedy: str


class Examined(TypedDict):
    """The JSON of an answer. `well` says that nothing is wrong, and that all could be asked."""

    well: bool
    checks: list[CheckDocument]


def examine(asked: Asked, rest: Rest | None = None) -> Iterator[Check]:
    """The checks, each as soon as it is made. What can't be looked at keeps no other one from being made. How buckets
    and data sets are set up is for an operator to look at: the functions' accounts need no right to, and have none.
    What a function's account may not look at in its own work is wrong.
    """
    for check in _examined(asked, rest):
        if check.forbidden and asked.account != "operator":
            yield replace(check, verdict=Verdict.WRONG, remedy=f"terraform apply grants it to {asked.account}")
        else:
            yield check


def _examined(asked: Asked, rest: Rest | None) -> Iterator[Check]:
    daily, hourly = _Made[Services](), _Made[HourlyServices]()
    if asked.account != "hourly_export":
        yield tried("environment of the daily flow", partial(daily.make, made.Services.from_environment))
    if asked.account != "bq_export":
        yield tried("environment of the hourly flow", partial(hourly.make, made.HourlyServices.from_environment))
    known = daily.services or hourly.services
    if known is None:
        return
    rest = rest or GoogleRest(_emulators(known.settings))
    yield from database.checks(known.settings, known.catalog, asked.readers)
    if hourly.services is not None:
        yield from _logs(rest, hourly.services, asked)
    if daily.services is not None:
        yield from _tables(rest, daily.services, asked)
    if asked.rehearse and daily.services is not None and daily.services.catalog.tables:
        since = datetime.now(UTC)
        rehearsed = list(rehearsal.checks(daily.services))
        yield from rehearsed
        written = rehearsed[0].verdict is Verdict.OK
        if asked.deployment is not None and not rest.emulated and written:
            yield deployed.called(rest, asked.deployment, since)
    if asked.deployment is not None and daily.services is not None:
        yield from _deployed(rest, asked.deployment, daily.services, hourly.services)


def before(plan: bytes, where: str, rest: Rest | None = None) -> Iterator[Check]:
    """The checks of what a first apply needs, by its plan. Raises BadRequestError for what is none."""
    return planned.checks(rest or GoogleRest({}), planned.read(plan, where))


def fields(checks: list[Check]) -> Examined:
    """The checks as an answer."""
    return {
        "well": all(check.verdict is Verdict.OK for check in checks),
        "checks": [{"about": c.about, "verdict": c.verdict.value, "told": c.told, "remedy": c.remedy} for c in checks],
    }


@dataclass
class _Made[S]:
    """The services of a flow, once they are made."""

    services: S | None = None

    def make(self, from_environment: Callable[[], S]) -> str:
        self.services = from_environment()
        return "is complete, and the catalog can be read"


def _emulators(settings: CommonSettings) -> Mapping[str, str]:
    """The services that something stands in for. Where one is emulated, no other is Google's."""
    given = {
        "storage.googleapis.com": settings.storage_emulator,
        "bigquery.googleapis.com": settings.bigquery_emulator,
    }
    return {host: address for host, address in given.items() if address}


def _export(services: Services) -> Bucket:
    return Bucket("export", services.settings.bucket, services.settings.prefix)


def _hours(services: HourlyServices) -> Bucket:
    return Bucket("hourly", services.settings.bucket, services.settings.prefix, tuple(services.catalog.hourly))


def _deployed(rest: Rest, deployment: Deployment, daily: Services, hourly: HourlyServices | None) -> Iterator[Check]:
    export = _export(daily)
    yield from deployed.checks(rest, deployment, export)
    if not rest.emulated:
        yield from hearers.checks(rest, deployment, [export, *([_hours(hourly)] if hourly is not None else [])])
        yield from alerts.checks(rest, deployment, daily.catalog)


def _tables(rest: Rest, services: Services, asked: Asked) -> Iterator[Check]:
    bucket, whole = _export(services), asked.account == "operator"
    yield from buckets.checks(rest, bucket, buckets.PERMISSIONS[asked.account]["export"], whole=whole)
    yield from datasets.of_tables(rest, services, cache(partial(buckets.place, rest, bucket)) if whole else None)


def _logs(rest: Rest, services: HourlyServices, asked: Asked) -> Iterator[Check]:
    bucket, whole = _hours(services), asked.account == "operator"
    # Why there is no connection was told before.
    with suppress(SyncError), connect(services.settings, "doctor") as connection:

        def open_log(log: HourlyTable) -> LogTable:
            return LogTable(connection, services.catalog.schema, log)

        yield from datasets.log_tables(services, open_log)
    yield from buckets.checks(rest, bucket, buckets.PERMISSIONS[asked.account]["hourly"], whole=whole)
    yield from datasets.of_logs(rest, services, cache(partial(buckets.place, rest, bucket)) if whole else None)
