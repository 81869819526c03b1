"""Tables and views, from the ledger's rows: what stands, how fresh it is, what waits for a decision, how runs went."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime, timedelta

from shared.catalog import Catalog
from shared.names import ADOPTED, SnapshotId
from shared.operate.status.ledger import (
    RUNS,
    CallRow,
    FailureRow,
    HoldRow,
    LedgerRows,
    PinRow,
    PublishedRow,
    SnapshotRow,
)
from shared.operate.status.report import (
    Drift,
    Failure,
    Failures,
    Held,
    Outcome,
    Pin,
    Published,
    Receipt,
    Run,
    Stage,
    StageName,
    TableStatus,
    ViewSource,
    ViewStatus,
)

#: A table is fresh when its source was looked at so lately: a day, and time for the export and its retries.
FRESH = timedelta(hours=26)

_CALLS = {
    "confirmed unchanged": Outcome.UNCHANGED,
    "held": Outcome.SOURCE_CHANGED,
    "failed": Outcome.FAILED,
    "to be retried": Outcome.RETRIED,
    "exported": Outcome.UNDER_WAY,
}


def statuses(catalog: Catalog, rows: LedgerRows, now: datetime) -> tuple[TableStatus, ...]:
    """Every table of the catalog, in its order."""
    return tuple(_status(name, rows, now) for name in catalog.tables)


def view_statuses(catalog: Catalog, rows: LedgerRows) -> tuple[ViewStatus, ...]:
    """Every view of the catalog, in its order."""
    current = {row.name: row.publication for row in rows.published}
    statuses = []
    for view in catalog.views.values():
        reads = tuple(
            ViewSource(
                row.table_name, row.snapshot, row.built_at, row.seconds, row.publication == current.get(row.table_name)
            )
            for row in rows.views
            if row.name == view.name and row.table_name in view.reads
        )
        missing = tuple(table for table in view.reads if table not in {source.table for source in reads})
        statuses.append(ViewStatus(view.name, reads, missing))
    return tuple(statuses)


def failures(rows: LedgerRows) -> Failures:
    return Failures(rows.failures[0].total if rows.failures else 0, tuple(map(_failure, rows.failures)))


def _status(name: str, rows: LedgerRows, now: datetime) -> TableStatus:
    published = next((_published(row) for row in rows.published if row.name == name), None)
    calls = [row for row in rows.calls if row.name == name]
    # A call that is to be retried has not seen the source's types.
    last = next((call for call in calls if call.outcome != "to be retried"), None)
    drifted = last if last and last.outcome == "held" else None
    return TableStatus(
        name=name,
        fresh=published is not None and published.fresh_at is not None and now - published.fresh_at < FRESH,
        published=published,
        held=tuple(_held(row) for row in rows.holds if row.name == name),
        drift=Drift(drifted.finished_at, drifted.message or "") if drifted else None,
        pin=next((_pin(row) for row in rows.pins if row.name == name), None),
        runs=_runs([row for row in rows.snapshots if row.name == name], calls, published),
    )


def _published(row: PublishedRow) -> Published:
    exported_at = row.export_started_at or _instant(row.snapshot)
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


def _instant(snapshot: str) -> datetime | None:
    """When a snapshot was asked for; None for the rows that a table held before its first publish."""
    at = SnapshotId.parse(snapshot)
    return None if at == ADOPTED else at.at


def _held(row: HoldRow) -> Held:
    approve, reject = (shlex.join(("recosync", decision, row.name, row.snapshot)) for decision in ("approve", "reject"))
    return Held(row.snapshot, row.rows, row.held_at, tuple(row.reasons), approve, reject)


def _pin(row: PinRow) -> Pin:
    return Pin(row.snapshot, row.pinned_at, row.pinned_by, shlex.join(("recosync", "rollback", row.name, "--unpin")))


def _runs(snapshots: Iterable[SnapshotRow], calls: Iterable[CallRow], published: Published | None) -> tuple[Run, ...]:
    """The last runs, newest first: each snapshot once, and the calls that made none."""
    arrived = [_arrived(row, published) for row in snapshots]
    known = {run.snapshot for run in arrived}
    asked = [_call(row) for row in calls if row.outcome != "exported" or row.snapshot not in known]
    return tuple(sorted((*arrived, *asked), key=lambda run: run.at, reverse=True)[:RUNS])


def _call(row: CallRow) -> Run:
    stages: tuple[Stage, ...] = ()
    if row.outcome == "exported":
        export = Stage(StageName.EXPORT, row.started_at, row.finished_at)
        stages = (export, *(Stage(name, None, None) for name in list(StageName)[1:]))
    return Run(row.started_at, _CALLS[row.outcome], row.snapshot, row.message, stages)


def _arrived(row: SnapshotRow, published: Published | None) -> Run:
    # A decision may take a human a day: the publish began when it was taken.
    waited = row.cause != "event"
    began = row.stage_ended
    if row.published is not None and waited:
        began = None if row.seconds is None else row.published - timedelta(seconds=row.seconds)
    return Run(
        at=row.export_began or row.stage_began or row.recorded,
        outcome=_outcome(row, published),
        snapshot=row.snapshot,
        stages=(
            Stage(StageName.EXPORT, row.export_began, row.export_ended),
            Stage(StageName.STAGE, row.stage_began, row.stage_ended),
            Stage(StageName.PUBLISH, began, row.published),
            Stage(StageName.REFRESH, row.published, row.refresh_ended),
        ),
    )


def _outcome(row: SnapshotRow, published: Published | None) -> Outcome:
    if row.published is not None:
        return Outcome.PUBLISHED
    if row.decision == "rejected":
        return Outcome.REJECTED
    if published is not None and published.snapshot >= row.snapshot:
        return Outcome.PASSED_OVER
    return Outcome.HELD if row.held is not None and row.decision is None else Outcome.UNDER_WAY


def _failure(row: FailureRow) -> Failure:
    return Failure(row.at, row.kind, row.table_name, row.snapshot, row.subject, row.message)
