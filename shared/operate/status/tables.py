"""Tables and views, from the ledger's rows: what stands, how fresh it is, what waits for a decision."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import msgspec

from shared.catalog import Catalog, Table, View
from shared.daily.templates import digest_of_all, is_another, outlook
from shared.errors import BusyError, IncompleteError
from shared.operate.status import runs, trouble
from shared.operate.status.causes import Fact, grouped, identity
from shared.operate.status.ledger_rows import (
    CallRow,
    FailingRow,
    FailureRow,
    HoldRow,
    LedgerRows,
    PinRow,
    PublishedRow,
    SnapshotRow,
    ViewRow,
)
from shared.operate.status.report import (
    Drift,
    Failing,
    Failure,
    Failures,
    Held,
    Orphan,
    Outcome,
    Pin,
    Published,
    Receipt,
    TableStatus,
    ViewSource,
    ViewStatus,
)

#: A table is fresh when its source was looked at so lately: a day, and time for the export and its retries.
FRESH = timedelta(hours=26)

#: Failures that are told one by one.
NEWEST = 20

#: What is told while another worker is at the same work, which settles it.
BUSY = (BusyError.__name__, IncompleteError.__name__)

#: How long after a publish its views are expected: a refresh, lost events and retries take less.
LATE = timedelta(hours=1)


def statuses(catalog: Catalog, rows: LedgerRows, now: datetime) -> tuple[TableStatus, ...]:
    """Every table of the catalog, in its order."""
    behind = _behind(catalog, rows, now)
    return tuple(_status(table, rows, now, behind[table.name]) for table in catalog.tables.values())


def troubles(catalog: Catalog, rows: LedgerRows, now: datetime) -> dict[str, tuple[trouble.Trouble, ...]]:
    """What a human should look at in each table, also what was acknowledged."""
    behind = _behind(catalog, rows, now)
    return {name: _troubles(name, _Seen.of(name, rows), now, behind[name]) for name in catalog.tables}


def _behind(catalog: Catalog, rows: LedgerRows, now: datetime) -> dict[str, list[str]]:
    """The views of each table that are to be built of it."""
    views = view_statuses(catalog, rows, now)
    return {
        name: [v.name for v in views if name in (catalog.views[v.name].reads if v.outdated else v.behind)]
        for name in catalog.tables
    }


def view_statuses(catalog: Catalog, rows: LedgerRows, now: datetime) -> tuple[ViewStatus, ...]:
    """Every view of the catalog, in its order."""
    published = {row.name: row for row in rows.published}
    return tuple(
        msgspec.structs.replace(_view_status(view, rows.views, published, now), outdated=_outdated(catalog, rows, view))
        for view in catalog.views.values()
    )


def failures(catalog: Catalog, rows: LedgerRows) -> Failures:
    """The permanent failures, and what they come down to."""
    found = permanent(catalog, rows)
    causes = grouped(map(_fact, found), _names(catalog))
    return Failures(
        total=rows.failures[0].total if rows.failures else 0,
        newest=tuple(found[:NEWEST]),
        causes=tuple(
            cause if cause.over or cause.acknowledged else msgspec.structs.replace(cause, acknowledge=command(cause.id))
            for cause in causes
        ),
    )


def permanent(catalog: Catalog, rows: LedgerRows) -> list[Failure]:
    """The permanent failures, in the order of their rows."""
    found = [_failure(row, over=_is_over(row, catalog, rows)) for row in rows.failures]
    return [msgspec.structs.replace(each, id=identity(_fact(each), _names(catalog))) for each in found]


def command(what: str) -> str:
    """The command that acknowledges it. The reason is for the operator to fill in: it is refused as it stands here."""
    return f'{shlex.join(("recosync", "acknowledge", what))} --reason "..."'


def _names(catalog: Catalog) -> tuple[str, ...]:
    return (*catalog.tables, *catalog.views)


def _is_over(row: FailureRow, catalog: Catalog, rows: LedgerRows) -> bool:
    """Whether what a failure stopped has come about since, or is wanted no more."""
    if row.table_name is None:
        return False
    if row.table_name not in catalog.tables:
        return True
    if row.publication is None:
        return row.passed
    # A view may be rebuilt of what it holds, because its template is another one.
    wanted = {
        view.name: row.publication + (_outdated(catalog, rows, view) is not None)
        for view in catalog.views_of(row.table_name)
    }
    held = {view.name: view.publication for view in rows.views if view.table_name == row.table_name}
    return all(held.get(view, 0) >= publication for view, publication in wanted.items())


def _fact(failure: Failure) -> Fact:
    # The object that failed is often named in the message.
    about = (failure.subject, failure.snapshot or "")
    return Fact(
        failure.at,
        failure.kind,
        failure.table or failure.subject,
        failure.message,
        failure.over,
        about,
        failure.acknowledged,
    )


def failing(rows: LedgerRows, now: datetime) -> tuple[Failing, ...]:
    """What the functions' last answers told as failed."""
    return tuple(_failing(row, now) for row in rows.failing)


def _failing(row: FailingRow, now: datetime) -> Failing:
    named = f"{row.function}:{row.name}" if row.name else row.function
    attention = row.acknowledged is None and (row.error not in BUSY or now - row.first_at > LATE)
    return Failing(
        row.function,
        row.name or None,
        row.message,
        row.retryable,
        row.first_at,
        row.last_at,
        row.times,
        attention=attention,
        id=named,
        acknowledge=command(named) if attention else None,
        acknowledged=row.acknowledged,
    )


def orphans(rows: LedgerRows) -> tuple[Orphan, ...]:
    """What left the catalog, and the commands that drop it."""
    return tuple(Orphan(row.kind, row.name, shlex.join(("recosync", "drop", row.name))) for row in rows.orphans)


def _view_status(
    view: View, rows: Iterable[ViewRow], published: Mapping[str, PublishedRow], now: datetime
) -> ViewStatus:
    reads = tuple(
        ViewSource(
            row.table_name,
            row.snapshot,
            row.built_at,
            row.seconds,
            row.table_name in published and row.publication == published[row.table_name].publication,
        )
        for row in rows
        if row.name == view.name and row.table_name in view.reads and row.stands
    )
    gone = any(row.name == view.name and not row.stands for row in rows)
    missing = tuple(table for table in view.reads if table not in {source.table for source in reads})
    status = ViewStatus(view.name, reads, missing, (), gone=f"recosync materialize {view.name}" if gone else None)
    overdue = tuple(table for table in status.behind if _is_overdue((table, *missing), published, now))
    return msgspec.structs.replace(status, overdue=overdue)


def _outdated(catalog: Catalog, rows: LedgerRows, view: View) -> str | None:
    """What becomes of a view that was built from another template than it has now."""
    if not is_another(view, (row.template for row in rows.views if row.name == view.name)):
        return None
    seen = {(row.name, row.snapshot) for row in rows.published if row.name in view.reads}
    tried = {digest_of_all(catalog.views_of(table)) for table in view.reads}
    refused = any((row.name, row.snapshot) in seen and row.templates in tried for row in rows.failed)
    return outlook(view, refused=refused)


def _is_overdue(awaited: Iterable[str], published: Mapping[str, PublishedRow], now: datetime) -> bool:
    """Whether a refresh should have come: a view is not built before all that it reads is published."""
    publishes = [published[table].published_at if table in published else None for table in awaited]
    return all(at is not None and now - at > LATE for at in publishes)


@dataclass(frozen=True)
class _Seen:
    """What the ledger says of one table. `row` is what is published, `last` its last call that has seen the source's
    types.
    """

    row: PublishedRow | None
    calls: list[CallRow]
    snapshots: list[SnapshotRow]
    around: runs.Around
    last: CallRow | None
    unaccounted: bool = False

    @classmethod
    def of(cls, name: str, rows: LedgerRows) -> Self:
        seen = next((row for row in rows.published if row.name == name), None)
        calls = [row for row in rows.calls if row.name == name]
        snapshots = [row for row in rows.snapshots if row.name == name]
        around = runs.Around(
            failed={row.snapshot: row for row in rows.failed if row.name == name},
            published=_published(seen) if seen else None,
            pin=next((_pin(row) for row in rows.pins if row.name == name), None),
            complete=max((row.snapshot for row in snapshots if row.counted is not None), default=None),
        )
        last = next((call for call in calls if call.outcome != "to be retried"), None)
        return cls(seen, calls, snapshots, around, last, name in rows.unaccounted)


def _status(table: Table, rows: LedgerRows, now: datetime, behind: Sequence[str]) -> TableStatus:
    name, seen = table.name, _Seen.of(table.name, rows)
    last, published = seen.last, seen.around.published
    drifted = last if last and runs.call_outcome(last) is Outcome.SOURCE_CHANGED else None
    waiting = [what for what in _troubles(name, seen, now, behind) if what.waits]
    return TableStatus(
        name=name,
        source=str(table.source),
        fresh=_is_fresh(published, now) and trouble.of_age(last, published) is None,
        published=published,
        held=tuple(_held(row) for row in rows.holds if row.name == name),
        drift=Drift(drifted.finished_at, drifted.message or "") if drifted else None,
        pin=seen.around.pin,
        trouble=tuple(what.text for what in waiting),
        runs=runs.of_table(seen.snapshots, seen.calls, seen.around),
        acknowledge=command(name) if any(what.failure for what in waiting) else None,
    )


def _troubles(name: str, seen: _Seen, now: datetime, behind: Sequence[str]) -> tuple[trouble.Trouble, ...]:
    published, failed = seen.around.published, seen.around.failed
    found = (
        trouble.of_ledger(name) if seen.unaccounted else None,
        trouble.of_parts(seen.row),
        trouble.of_time(published, now),
        trouble.of_age(seen.last, published),
        trouble.of_export(seen.last),
        trouble.of_import(runs.newest_failed(seen.snapshots, seen.calls, seen.around)),
        trouble.of_refresh(failed, published, behind),
    )
    return tuple(what for what in found if what is not None)


def _is_fresh(published: Published | None, now: datetime) -> bool:
    at = published.fresh_at if published else None
    return at is not None and -trouble.CLOCKS <= now - at < FRESH


def _published(row: PublishedRow) -> Published:
    exported_at = row.export_started_at or trouble.instant(row.snapshot)
    receipt = None
    if row.receipt_made_at is not None and row.postgresql_rows is not None:
        receipt = Receipt(
            row.receipt_made_at,
            row.bigquery_rows,
            row.parquet_rows,
            row.postgresql_rows,
            row.columns,
            row.duplicate_keys,
        )
    return Published(
        snapshot=row.snapshot,
        publication=row.publication,
        rows=row.rows,
        published_at=row.published_at,
        cause=row.cause,
        source_modified_at=row.source_modified_at,
        fresh_at=max((at for at in (exported_at, row.confirmed_at) if at), default=None),
        receipt=receipt,
    )


def _held(row: HoldRow) -> Held:
    approve, reject = (shlex.join(("recosync", decision, row.name, row.snapshot)) for decision in ("approve", "reject"))
    return Held(row.snapshot, row.rows, row.held_at, tuple(row.reasons), approve, reject)


def _pin(row: PinRow) -> Pin:
    return Pin(row.snapshot, row.pinned_at, row.pinned_by, shlex.join(("recosync", "rollback", row.name, "--unpin")))


def _failure(row: FailureRow, *, over: bool) -> Failure:
    return Failure(
        row.at,
        row.kind,
        row.table_name,
        row.snapshot,
        row.subject,
        row.message,
        over,
        acknowledged=row.acknowledged,
    )
