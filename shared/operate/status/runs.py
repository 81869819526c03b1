"""The last runs of a table, put together from its snapshots and from the calls that made none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.operate.status.ledger_rows import RUNS, CallRow, FailedRow, SnapshotRow
from shared.operate.status.report import Outcome, Published, Run, Stage, StageName

_CALLS = {
    "confirmed unchanged": Outcome.UNCHANGED,
    "held": Outcome.SOURCE_CHANGED,
    "failed": Outcome.FAILED,
    "to be retried": Outcome.RETRIED,
    "exported": Outcome.UNDER_WAY,
}


@dataclass(frozen=True)
class Around:
    """What the outcome of a table's snapshot depends on, besides itself. `complete` is the newest that all came of."""

    failed: Mapping[str, FailedRow]
    published: Published | None
    pinned: bool
    complete: str | None


def of_table(snapshots: Iterable[SnapshotRow], calls: Iterable[CallRow], around: Around) -> tuple[Run, ...]:
    """The last runs, newest first: each snapshot once, and the calls that made none."""
    arrived = [_arrived(row, around) for row in snapshots]
    known = {run.snapshot for run in arrived}
    asked = [_call(row, around.failed) for row in calls if row.outcome != "exported" or row.snapshot not in known]
    return tuple(sorted((*arrived, *asked), key=lambda run: run.at, reverse=True)[:RUNS])


def newest_failed(snapshots: Iterable[SnapshotRow], calls: Iterable[CallRow], around: Around) -> FailedRow | None:
    """Why the newest snapshot failed, if it did and waits for nobody's decision."""
    failed, published = around.failed, around.published
    arrived = {row.snapshot: row for row in snapshots}
    exported = {row.snapshot for row in calls if row.snapshot}
    newest = max({*arrived, *exported, *failed, *({published.snapshot} if published else ())}, default=None)
    if newest is None or newest not in failed or (published and published.snapshot == newest):
        return None
    row = arrived.get(newest)
    return failed[newest] if row is None or _outcome(row, around) is Outcome.FAILED else None


def call_outcome(row: CallRow) -> Outcome:
    """What became of an export call."""
    # A call used to be called held when it found the snapshot unchanged that waits for a decision.
    unchanged = row.outcome == "held" and row.snapshot is not None
    return Outcome.UNCHANGED if unchanged else _CALLS[row.outcome]


def _call(row: CallRow, failed: Mapping[str, FailedRow]) -> Run:
    stages: tuple[Stage, ...] = ()
    outcome, message = call_outcome(row), row.message
    if row.outcome == "exported":
        export = Stage(StageName.EXPORT, row.started_at, row.finished_at)
        stages = (export, *(Stage(name, None, None) for name in list(StageName)[1:]))
        failure = failed.get(row.snapshot) if row.snapshot else None
        if failure is not None:
            outcome, message = Outcome.FAILED, failure.message
    return Run(row.started_at, outcome, row.snapshot, message, stages)


def _arrived(row: SnapshotRow, around: Around) -> Run:
    # A decision may take a human a day: the publish began when it was taken.
    waited = row.cause != "event"
    began = row.stage_ended
    if row.published is not None and waited:
        began = None if row.seconds is None else row.published - timedelta(seconds=row.seconds)
    outcome = _outcome(row, around)
    return Run(
        at=row.export_began or row.stage_began or row.recorded,
        outcome=outcome,
        snapshot=row.snapshot,
        message=around.failed[row.snapshot].message if outcome is Outcome.FAILED else None,
        stages=(
            Stage(StageName.EXPORT, row.export_began, row.export_ended),
            Stage(StageName.STAGE, row.stage_began, row.stage_ended),
            Stage(StageName.PUBLISH, began, row.published),
            Stage(StageName.REFRESH, row.published, row.refresh_ended),
        ),
    )


def _outcome(row: SnapshotRow, around: Around) -> Outcome:
    waits = row.held is not None and row.decision is None
    if row.published is not None:
        return Outcome.PUBLISHED
    if row.decision == "rejected":
        return Outcome.REJECTED
    if row.snapshot in around.failed and not waits:
        return Outcome.FAILED
    if around.published is not None and around.published.snapshot >= row.snapshot:
        return Outcome.PASSED_OVER
    if waits:
        return Outcome.HELD
    return Outcome.UNDER_WAY if row.counted is None else _unpublished(row.snapshot, around)


def _unpublished(snapshot: str, around: Around) -> Outcome:
    """What keeps a snapshot from readers that is complete in PostgreSQL, and that no limit holds."""
    if around.pinned:
        return Outcome.PINNED
    # What arrived while the table was pinned is not asked for again once there is a newer one.
    return Outcome.WAITING if snapshot == around.complete else Outcome.PASSED_OVER
