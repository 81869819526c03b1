"""The last runs of a table, put together from its snapshots and from the calls that made none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.ledger.holds import Hold
from shared.ledger.publications import Publication
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import SnapshotId
from shared.operate.status.ledger_rows import RUNS, CallRow, FailedRow, SnapshotRow
from shared.operate.status.report import Outcome, Pin, Published, Run, Stage, StageName

_CALLS = {
    "confirmed unchanged": Outcome.UNCHANGED,
    "held": Outcome.SOURCE_CHANGED,
    "failed": Outcome.FAILED,
    "to be retried": Outcome.RETRIED,
    "exported": Outcome.UNDER_WAY,
}


@dataclass(frozen=True)
class Around:
    """What the outcome of a table's snapshot depends on, besides itself. `complete` is the newest of which all parts
    came.
    """

    failed: Mapping[str, FailedRow]
    published: Published | None
    pin: Pin | None
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
    stands = _standing(row, around)
    match stands.state:
        case _ if stands.was_published or stands.state is SnapshotState.PUBLISHED:
            return Outcome.PUBLISHED
        case SnapshotState.REJECTED:
            return Outcome.REJECTED
        # What failed is told of a snapshot that has been passed over since, or whose table is pinned.
        case _ if stands.failed and stands.undecided is None:
            return Outcome.FAILED
        case SnapshotState.PASSED_OVER:
            return Outcome.PASSED_OVER
        case SnapshotState.HELD:
            return Outcome.HELD
        case _ if row.counted is None:
            return Outcome.UNDER_WAY
        case SnapshotState.PINNED:
            return Outcome.PINNED
        case _:
            # What arrived while the table was pinned is not asked for again once there is a newer one.
            return Outcome.WAITING if row.snapshot == around.complete else Outcome.PASSED_OVER


def _standing(row: SnapshotRow, around: Around) -> SnapshotStanding:
    seen, pin = around.published, around.pin
    return SnapshotStanding(
        row.name,
        SnapshotId.parse(row.snapshot),
        published=Publication(seen.publication, SnapshotId.parse(seen.snapshot)) if seen else None,
        was_published=row.published is not None,
        hold=None if row.held is None else Hold((), row.decision),
        pinned=SnapshotId.parse(pin.snapshot) if pin else None,
        failed=row.snapshot in around.failed,
    )
