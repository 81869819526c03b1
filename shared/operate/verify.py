"""Verify: count again what BigQuery and PostgreSQL hold, and compare it with what the ledger and the manifests say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import cast

from psycopg import sql

from shared.catalog import Column, HourlyTable, Table, View
from shared.daily import newest, refresh
from shared.daily import source as sources
from shared.daily.context import TableRun
from shared.daily.templates import digest_of_all
from shared.db.postgres import connect, translated
from shared.errors import ConfigurationError, PermanentError, SyncError
from shared.hourly import orphans, recover
from shared.hourly.manifest import NOTHING, Content, DayManifest, State
from shared.hourly.names import LogFolder
from shared.hourly.objects import BatchObjects, Listed
from shared.hourly.raw_table import RawTable, reference
from shared.hourly.remedies import Remedies
from shared.hourly.store import Store
from shared.ledger import failures, migrations, publications, receipts, snapshots, standing, view_builds
from shared.ledger.publications import Publication
from shared.ledger.standing import SnapshotState
from shared.names import Hour, format_day
from shared.rows import profile
from shared.rows.log_table import LogTable
from shared.services import HourlyServices, Services
from shared.settings import HourlySettings
from shared.target import columns, views
from shared.words import quantity

#: How long after its end an hour may be on its way: the call that exports it comes after it, and may be repeated.
GRACE = timedelta(hours=2)

_NO_LEDGER = (
    "there is no schema recosync, so nothing is known of it. The first import makes the schema; if it was dropped:"
    " recosync migrate, then recosync export --force"
)

#: Seconds that one count of the source may take.
PATIENCE = 30


@dataclass(frozen=True)
class TableVerdict:
    """One table. `receipt_rows` are the rows that every system counted at the export, `source_rows` those that BigQuery
    counts now in the `source`, as the catalog has it; `notes` are no faults.
    """

    table: str
    snapshot: str | None
    receipt_rows: int | None
    postgresql_rows: int | None
    source_rows: int | None
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ""


@dataclass(frozen=True)
class DayVerdict:
    """One day of a log: the rows that are verified by the manifest, and the rows that BigQuery holds now of the same
    hours. `notes` are no faults.
    """

    log: str
    day: date
    manifest_rows: int
    bigquery_rows: int
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table(services: Services, of: Table) -> TableVerdict:
    """Recount one table and its views. A failure that keeps the table from being counted is a difference."""
    try:
        found = _table(services, of)
    except PermanentError as e:
        found = TableVerdict(of.name, None, None, None, None, [str(e)])
    return replace(found, source=str(of.source))


def days(
    services: HourlyServices, log: HourlyTable, first: date, last: date, done: Callable[[], None]
) -> Iterator[DayVerdict]:
    """Recount the days of a log that have a manifest, or should have; `done` is called once per day of the range."""
    settings = services.settings
    folder, ref = LogFolder(settings.prefix, log.name), reference(settings, log)
    store = Store(services.storage, settings.bucket, folder)
    info = services.bigquery.table(ref)
    raw_table = RawTable(services.bigquery, ref, info.location, log) if info else None
    recount = _Recount(services, store, BatchObjects(services, folder), raw_table, log)
    stored, start = store.listing(), _first_owned(store, settings, log)
    # Of what ended later, nobody can say yet that it is missing.
    due = Hour(datetime.now(UTC) - GRACE)
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        owned = start is not None and start < due and start.day <= day <= due.plus(-1).day
        if day in stored or owned:
            yield recount.day(day)
        done()


def _table(services: Services, of: Table) -> TableVerdict:
    with connect(services.settings, "verify") as connection, translated(f"counting {of.name}"):
        run = TableRun(services, connection, of)
        if not migrations.exists(connection):
            return TableVerdict(of.name, None, None, None, None, [_NO_LEDGER])
        seen = publications.published(connection, of.name)
        if seen is None and standing.unaccounted(connection, {of.name: run.schema}):
            told = f"{run.where} {standing.UNACCOUNTED}: recosync export {of.name} --force"
            return TableVerdict(of.name, None, None, None, None, [told])
        if seen is None:
            return TableVerdict(of.name, None, None, None, None, notes=["never published"])
        if not columns.of_relation(connection, run.schema, of.name):
            gone = f"{run.where} was dropped by hand. To bring it back: {standing.bring(of.name, seen.snapshot)}"
            return TableVerdict(of.name, str(seen.snapshot), None, None, None, [gone])
        # One state of everything, so that a publish in between is no difference: it waits for this lock.
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(run.parent))
            published = cast(Publication, publications.published(connection, of.name))
            receipt = receipts.find(connection, of.name, published.snapshot)
            same, notes = _same(run)
            counted = profile.of_table(connection, run.parent, same)
            differences, waiting = _views(run, published)
            if standing.of(connection, of.name, published.snapshot).damaged:
                bring = standing.bring(of.name, published.snapshot)
                told = f"parts of {published.snapshot} were dropped or detached by hand. To bring them back: {bring}"
                differences.append(told)
            stated = snapshots.find(connection, of.name, published.snapshot)
        late, coming = _coming(run)
        differences += late
        waiting += coming
    notes += waiting
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
        told = f"BigQuery holds {quantity(source_rows, 'row')} now, {exported.rows:,} when it was exported"
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


def _coming(run: TableRun) -> tuple[list[str], list[str]]:
    """What is wrong with a newer snapshot that stands complete in the bucket and nothing keeps from readers, and what
    is only to be waited for.
    """
    try:
        found = newest.unpublished(run)
    except ConfigurationError as e:
        return [str(e)], []
    if found is None or found[0].state is not SnapshotState.OPEN or found[0].damaged:
        return [], []
    stands, manifest = found
    told = f"{stands.snapshot} stands complete in the bucket, and readers have not seen it"
    if datetime.now(UTC) - manifest.created < run.settings.reconcile_after:
        return [], [f"{told}: its import may be under way"]
    return [f"{told}. To bring it: recosync import {run.table.name}"], []


def _same(run: TableRun) -> tuple[list[Column], list[str]]:
    """The columns that the table has as the catalog says, and a note on the others: the catalog may be newer than what
    is published.
    """
    present = columns.of_relation(run.connection, run.schema, run.table.name)
    others = [
        f"{column.name} is {present.get(column.name, 'missing')}, the catalog says {column.type.sql}"
        for column in run.table.columns
        if present.get(column.name) != column.type.sql
    ]
    same = [column for column in run.table.columns if present.get(column.name) == column.type.sql]
    return same, [f"not counted: {'; '.join(others)}"] if others else []


def _views(run: TableRun, published: Publication) -> tuple[list[str], list[str]]:
    """What is wrong with the views of the table, and what is only to be waited for."""
    differences, notes = [], []
    templates = digest_of_all(run.views)
    age = publications.published_for(run.connection, run.table.name) or timedelta()
    for view in run.views:
        lag = _lag(run, view, published)
        missing = sorted(name for name in view.reads if publications.published(run.connection, name) is None)
        if lag and missing:
            notes.append(f"{lag}: it also reads {', '.join(missing)}, never published")
        elif lag and (failed := failures.refused(run.connection, run.table.name, templates)):
            differences.append(f"{lag}, because its refresh failed: {failed}")
        elif lag and age < run.settings.reconcile_after:
            notes.append(f"{lag}: its refresh may be under way")
        elif lag:
            differences.append(lag)
        elif told := refresh.template_changed(run, view):
            differences.append(told)
    return differences, notes


def _lag(run: TableRun, view: View, published: Publication) -> str | None:
    if not views.exists(run.connection, run.relation(view)):
        return f"view {view.name} does not exist"
    held = view_builds.of_view(run.connection, view.name).get(run.table.name)
    if held is None or held.publication < published.number:
        of_now = held.publication if held else "none"
        return f"view {view.name} is behind: it holds publication {of_now}, readers see {published.number}"
    return None


def _first_owned(store: Store, settings: HourlySettings, log: HourlyTable) -> Hour | None:
    """The first hour that the flow owns; None while nothing says which."""
    try:
        return recover.first_owned(store, settings, log)
    except ConfigurationError:
        if settings.start is not None or log.start is not None:
            raise
        return None


@dataclass(frozen=True)
class _Recount:
    """The recount of one log. Without a `raw_table`, BigQuery has no table of it."""

    services: HourlyServices
    store: Store
    objects: BatchObjects
    raw_table: RawTable | None
    log: HourlyTable

    def day(self, day: date) -> DayVerdict:
        log = self.log
        try:
            manifest = self.store.read(day)
            held = self.raw_table.of_day(day) if self.raw_table else {}
            files = list(self.objects.of_day(day))
            further, uncounted = _unexported(self.services, log, day, manifest) if manifest else ([], [])
        except SyncError as e:
            if e.retryable:
                raise
            return DayVerdict(log.name, day, 0, 0, [str(e)])
        if manifest is None:
            rows = sum(content.rows for content in held.values())
            remedy = f"recosync hourly --table-name {log.name} --date {format_day(day)}"
            held_rows = quantity(rows, "row")
            told = f"{format_day(day)}: there is no manifest, BigQuery holds {held_rows}. To export it: {remedy}"
            return DayVerdict(log.name, day, 0, rows, [told])
        verdict = _compare(log, day, manifest, held)
        further += _orphans(day, manifest, files)
        further += _gaps(log, day, manifest)
        lost, notes = _lost(self.objects.bucket, day, manifest, files)
        differences = sorted([*verdict.differences, *further, *lost])
        return replace(verdict, differences=differences, notes=[*notes, *uncounted])


def _gaps(log: HourlyTable, day: date, manifest: DayManifest) -> Iterator[str]:
    """The hours that are due and that nobody has begun."""
    start, due = Hour.parse(manifest.start), Hour(datetime.now(UTC) - GRACE)
    hours = (Hour.of_day(day, number) for number in range(24))
    gaps = [hour for hour in hours if start <= hour < due and manifest.record(hour) is None]
    if gaps:
        remedy = f"recosync backfill {log.name} --from {gaps[0]} --until {gaps[-1].plus(1)}"
        were = "1 hour was" if len(gaps) == 1 else f"{len(gaps)} hours were"
        yield f"{gaps[0]}: {were} never exported from here on. To export {'it' if len(gaps) == 1 else 'them'}: {remedy}"


def _lost(bucket: str, day: date, manifest: DayManifest, files: Sequence[Listed]) -> tuple[list[str], list[str]]:
    """The hours some of whose objects are gone, or are others; and those without any, as at the end of their
    retention.
    """
    standing = {stored.version.name: (stored.bytes, stored.crc32c) for _, stored in files}
    some, all_ = [], []
    for hour in (Hour.of_day(day, number) for number in range(24)):
        record = manifest.record(hour)
        named = [file for part in record.parts for file in (part.data, part.keys)] if record else []
        gone = [file.name for file in named if standing.get(file.name) != (file.bytes, file.crc32c)]
        if gone and len(gone) < len(named):
            some.append(f"{hour}: gs://{bucket}/{gone[0]} is gone, or is not what was written")
        elif gone:
            all_.append(str(hour))
    hours = ", ".join(all_)
    return some, [f"only BigQuery has the rows: the objects are gone of {hours}"] if all_ else []


def _orphans(day: date, manifest: DayManifest, files: Sequence[Listed]) -> Iterator[str]:
    """The hours in whose folders parts lie that no batch accounts for."""
    for hour in (Hour.of_day(day, number) for number in range(24)):
        of_hour = ((file, stored) for file, stored in files if file.batch.hour == hour)
        found = orphans.parts(of_hour, manifest.record(hour))
        if found:
            yield f"{hour}: its folder has {quantity(len(found), 'object')} that no batch accounts for: {found[0]}"


def _unexported(
    services: HourlyServices, log: HourlyTable, day: date, manifest: DayManifest
) -> tuple[list[str], list[str]]:
    """The hours of which the source holds more rows than were exported, and for which no run looks any more; and those
    of which that could not be counted. Of a deleted hour, rows may be back, which were exported then.
    """
    differences, notes = [], []
    settings = services.settings
    late = Hour(datetime.now(UTC) - GRACE).plus(-settings.late_hours)
    recorded = {Hour.of_day(day, int(number)): of for number, of in manifest.hours.items()}
    through = {hour: of for hour, of in recorded.items() if hour < late and of.state in (State.EMPTY, State.DONE)}
    if not through:
        return [], []
    with connect(settings, "verify") as connection:
        source = LogTable(connection, services.catalog.schema, log)
        for hour, of in through.items():
            rows, expected = source.rows_of(hour, PATIENCE), (of.source_content or NOTHING).rows
            is_empty = of.state == State.EMPTY
            known = "is recorded as empty" if is_empty else f"{expected:,} were expected there"
            held = "too many rows to count" if rows is None else quantity(rows, "row")
            if rows is None and not is_empty:
                notes.append(f"{hour}: the source could not be counted within {PATIENCE} s")
            elif rows is None or rows > expected:
                export = Remedies(log.name, hour).ask
                differences.append(f"{hour}: {known}, the source holds {held}. To export them: {export}")
    return differences, notes


def _compare(log: HourlyTable, day: date, manifest: DayManifest, held: Mapping[Hour, Content]) -> DayVerdict:
    start, differences = Hour.parse(manifest.start), []
    expected_rows, found_rows = 0, 0
    for hour in (Hour.of_day(day, number) for number in range(24)):
        record = manifest.record(hour)
        if record is None and hour < start:
            continue  # others' rows, if there are any
        expected, found = record.content if record else NOTHING, held.get(hour, NOTHING)
        expected_rows, found_rows = expected_rows + expected.rows, found_rows + found.rows
        if record is not None and record.failure is not None:
            differences.append(f"{hour}: failed: {record.failure.error}")
            continue
        if record is not None and record.work is not None and found != expected:
            continue  # a batch is on its way
        if found.rows != expected.rows:
            differences.append(f"{hour}: BigQuery holds {quantity(found.rows, 'row')}, {expected.rows:,} were verified")
        elif found != expected:
            differences.append(f"{hour}: BigQuery holds as many rows, but of other keys")
    return DayVerdict(log.name, day, expected_rows, found_rows, differences)


def _source(services: Services, of: Table, modified: object) -> tuple[int | None, bool | None]:
    """How many rows BigQuery has now, and whether the source was changed since the export; None is unknown."""
    source = sources.check(services, of)
    rows = source.rows
    if rows is None:
        query = f"SELECT COUNT(*) FROM {source.ref.quoted}"
        ((count,),) = services.bigquery.rows(source.location, query, services.settings.maximum_bytes_billed)
        rows = int(str(count))
    if source.modified is None or modified is None:
        return rows, None
    return rows, source.modified != modified
