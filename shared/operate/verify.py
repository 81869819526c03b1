"""Verify: count again what BigQuery and PostgreSQL hold, and compare it with what the ledger and the manifests say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import psycopg

from shared.catalog import HourlyTable, Table
from shared.daily import source as sources
from shared.db import ledger, profile, receipts, target
from shared.db import view as live_views
from shared.db.ledger import Publication
from shared.db.postgres import connect, translated
from shared.errors import PermanentError, SyncError
from shared.gcp.bigquery import BigQuery
from shared.hourly.context import day_in_bigquery
from shared.hourly.manifest import NOTHING
from shared.hourly.names import LogFolder
from shared.hourly.store import Store
from shared.names import Hour, TableRef
from shared.services import HourlyServices, Services


@dataclass(frozen=True)
class TableVerdict:
    """One table. `receipt_rows` are those that every system counted at the export, `source_rows` those that BigQuery
    counts now; `notes` are no faults.
    """

    table: str
    snapshot: str | None
    receipt_rows: int | None
    postgresql_rows: int | None
    source_rows: int | None
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DayVerdict:
    """One day of a log: rows that are verified by the manifest, and rows that BigQuery holds now."""

    log: str
    day: date
    manifest_rows: int
    bigquery_rows: int
    differences: list[str] = field(default_factory=list)


def table(services: Services, of: Table) -> TableVerdict:
    """Recount one table and its views."""
    with connect(services.settings, "verify") as connection, translated(f"counting {of.name}"):
        ledger.migrate(connection)
        published = ledger.published(connection, of.name)
        if published is None:
            return TableVerdict(of.name, None, None, None, None, notes=["never published"])
        # One snapshot of PostgreSQL, so that a publish in between is no difference.
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            published = ledger.published(connection, of.name) or published
            receipt = receipts.find(connection, of.name, published.snapshot)
            counted = profile.of_table(connection, target.relation(services.catalog.schema, of.name), of.columns)
            differences = list(_views(services, connection, of, published))
            stated = ledger.snapshot(connection, of.name, published.snapshot)
    notes: list[str] = []
    exported = None
    if receipt is None:
        notes.append("published before there were receipts: nothing to compare with")
    else:
        # BigQuery's account agrees with it where both know, and knows fewer sums.
        exported = receipt.postgresql
        differences += [f"the receipt and PostgreSQL: {difference}" for difference in exported.differences(counted)]
    source_rows, changed = None, None
    try:
        source_rows, changed = _source(services, of, stated.source_modified if stated else None)
    except PermanentError as e:
        differences.append(str(e))
    if source_rows is not None and exported is not None and source_rows != exported.rows:
        told = f"BigQuery holds {source_rows} rows now, {exported.rows} when it was exported"
        (differences if changed is False else notes).append(told)
    elif changed:
        notes.append("the source was changed since")
    return TableVerdict(
        of.name,
        str(published.snapshot),
        exported.rows if exported else None,
        counted.rows,
        source_rows,
        differences,
        notes,
    )


def days(
    services: HourlyServices, log: HourlyTable, first: date, last: date, done: Callable[[], None]
) -> Iterator[DayVerdict]:
    """Recount the days of a log that have a manifest; `done` is called once per day of the range."""
    settings = services.settings
    store = Store(services.storage, settings.bucket, LogFolder(settings.prefix, log.name))
    ref = TableRef(settings.project, settings.dataset, log.name)
    info = services.bigquery.table(ref)
    stored = store.listing()
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        if day in stored:
            location = info.location if info else None
            yield _day(services.bigquery, store, ref, location, log, day)
        done()


def _day(
    bigquery: BigQuery, store: Store, ref: TableRef, location: str | None, log: HourlyTable, day: date
) -> DayVerdict:
    try:
        manifest = store.read(day)
    except SyncError as e:
        if e.retryable:
            raise
        return DayVerdict(log.name, day, 0, 0, [str(e)])
    held = day_in_bigquery(bigquery, ref, location, log, day) if location else {}
    differences, expected_rows = [], 0
    for number in range(24):
        hour = Hour.of_day(day, number)
        record = manifest.record(hour) if manifest else None
        expected, found = record.content if record else NOTHING, held.get(hour, NOTHING)
        expected_rows += expected.rows
        if record is not None and record.work is not None and found != expected:
            continue  # a batch is on its way
        if found.rows != expected.rows:
            differences.append(f"{hour}: {expected.rows} rows are verified, BigQuery holds {found.rows}")
        elif found != expected:
            differences.append(f"{hour}: BigQuery holds as many rows, but of other keys")
    return DayVerdict(log.name, day, expected_rows, sum(content.rows for content in held.values()), differences)


def _views(services: Services, connection: psycopg.Connection, of: Table, published: Publication) -> Iterator[str]:
    """What is wrong with the views of the table."""
    for view in services.catalog.views_of(of.name):
        held = ledger.view_publications(connection, view.name).get(of.name)
        if not live_views.exists(connection, target.relation(services.catalog.schema, view.name)):
            yield f"view {view.name} does not exist"
        elif held is None or held < published.number:
            yield f"view {view.name} is behind: it holds publication {held or 'none'}, readers see {published.number}"


def _source(services: Services, of: Table, modified: object) -> tuple[int | None, bool | None]:
    """How many rows BigQuery has now, and whether the source was changed since the export; None is unknown."""
    source = sources.check(services, of)
    rows = source.rows
    if rows is None:
        ((count,),) = services.bigquery.rows(source.location, f"SELECT COUNT(*) FROM {source.ref.quoted}")
        rows = int(str(count))
    if source.modified is None or modified is None:
        return rows, None
    return rows, source.modified != modified
