"""Publish a snapshot: with a receipt, within the limits, and then at once."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from msgspec import UNSET

from shared import log, messages, trace
from shared.daily import lineage, swap_table
from shared.daily.context import TableRun
from shared.daily.hold import judged
from shared.daily.receipt import receipt
from shared.db.postgres import make_durable, translated
from shared.errors import BadRequestError, BusyError, RetryableError, TargetError
from shared.ledger import holds, publications, standing
from shared.ledger.publications import Cause, Unannounced
from shared.ledger.receipts import SnapshotReceipt
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import SnapshotId
from shared.target import tables


class EventOutcome(StrEnum):
    """What became of a snapshot that an event asked for."""

    INCOMPLETE = "staged"
    PUBLISHED = "published"
    REPEATED = "repeated"
    HELD = "held"
    REJECTED = "rejected"
    PINNED = "pinned"


def publish(run: TableRun, snapshot: SnapshotId) -> EventOutcome:
    """Publish the snapshot if all of it is staged and nothing speaks against it.

    Raises DataError when the systems' counts differ; BusyError when builds or readers leave no gap, or when readers see
    another snapshot than the one that this was compared with; TargetError when the table can't take children.
    """
    with translated(f"publishing {run.table.name} {snapshot}"):
        counted = receipt(run, snapshot)
        if counted is None:
            return EventOutcome.INCOMPLETE
        run.note_catalog()
        # Whoever stages the last part publishes: the event of a part knows no trace of the snapshot.
        stands = standing.of(run.connection, run.table.name, snapshot)
        with trace.bound(stands.traceparent, run.settings.project):
            return _publish(run, stands, counted)


def _publish(run: TableRun, stands: SnapshotStanding, counted: SnapshotReceipt) -> EventOutcome:
    snapshot = stands.snapshot
    if refused(stands) in (None, EventOutcome.PINNED):
        hold = judged(run, stands, counted)
        stands = replace(stands, hold=hold)
    outcome = refused(stands)
    if outcome is not None:
        announce(run)  # what an operator published may be owed
        return outcome
    with swap_table.exclusive(run, snapshot) as change:
        now = standing.of(run.connection, run.table.name, snapshot)
        outcome = refused(now)
        if outcome is None:
            if now.published != stands.published:
                raise BusyError(
                    "another snapshot of it was published meanwhile: this one is judged anew", where=run.table.name
                )
            change.publish("event")
    if outcome is not None:
        announce(run)
        return outcome
    lineage.load(run, snapshot).of(counted.postgresql.rows).complete()
    _tell(run, stands)
    return EventOutcome.PUBLISHED


def publish_chosen(run: TableRun, snapshot: SnapshotId, cause: Cause, by: str) -> int:
    """Publish what an operator chose, older than the published snapshot or not, and note the decision with it; the
    publication number.

    A rollback pins the table to the snapshot: events leave it in place until it is unpinned. Raises like `publish`,
    TargetError when the snapshot is not staged any more, BadRequestError when another decision came first.
    """
    name = run.table.name
    with translated(f"publishing {name} {snapshot}"):
        counted = receipt(run, snapshot)
        if counted is None:
            raise TargetError(
                "is not staged here, or not any more",
                where=f"{name} {snapshot}",
                remedy=f"If its objects still stand in the bucket: recosync import {name} --snapshot {snapshot}",
            )
        tables.ensure(run.connection, run.schema, run.table)
        with swap_table.exclusive(run, snapshot, keep=cause == "rollback") as change:
            stands = standing.of(run.connection, name, snapshot)
            _decide(run, stands, cause, by)
            change.publish(cause)
        told = lineage.load(run, snapshot, again=change.publication if cause == "rollback" else None)
        if cause == "rollback":
            told.start()
        told.of(counted.postgresql.rows).complete()
        try:
            _tell(run, stands)
        except RetryableError as e:
            # It is done; whoever asked should not ask again.
            log.error("published, but its message is owed: the next event of the table sends it, or hourly_export", e)
        return change.publication or 0


def _tell(run: TableRun, before: SnapshotStanding) -> None:
    """Announce what was published, and renew the statistics of the table. A refresh does not wait for them: it plans by
    those that the snapshot of before left. At the first publish there are none, so they are made first.
    """
    if before.published is None:
        swap_table.analyze(run)
        announce(run)
        return
    try:
        announce(run)
    finally:
        swap_table.analyze(run)


def announce(run: TableRun) -> None:
    """Send the completion messages that are owed. Raises RetryableError until Pub/Sub takes them."""
    table = run.table.name
    owed = publications.unannounced(run.connection, table)
    if owed:
        make_durable(run.connection)  # nobody is told of what a crash could undo
    for publication in owed:
        with trace.bound(publication.traceparent, run.settings.project):
            run.services.publisher.publish(run.settings.topic, messages.attributes(_message(run, publication)))
            publications.announced(run.connection, table, publication.number)
            log.info("publication announced", publication=publication.number)


def _message(run: TableRun, publication: Unannounced) -> messages.PublishedAttributes:
    return messages.PublishedAttributes(
        id_=f"{run.table.name}/{publication.number}",
        source=messages.source(run.settings.project, run.settings.environment),
        subject=run.table.name,
        time=publication.published_at,
        traceparent=publication.traceparent or UNSET,
        table=run.table.name,
        snapshot_id=str(publication.snapshot),
        publication=str(publication.number),
    )


def refused(stands: SnapshotStanding) -> EventOutcome | None:
    """Why an event may not publish the snapshot; None when it may. An event never goes back to an older snapshot, or to
    one that readers saw.
    """
    match stands.state:
        case SnapshotState.PUBLISHED | SnapshotState.PASSED_OVER | SnapshotState.LEFT:
            return EventOutcome.REPEATED
        case SnapshotState.REJECTED:
            return EventOutcome.REJECTED
        case SnapshotState.HELD:
            return EventOutcome.HELD
        case SnapshotState.PINNED:
            return EventOutcome.PINNED
        case SnapshotState.FAILED | SnapshotState.OPEN:
            return None


def _decide(run: TableRun, stands: SnapshotStanding, cause: Cause, by: str) -> None:
    """Note the decision, under the lock that keeps other publishes away."""
    name, snapshot = run.table.name, stands.snapshot
    # What was held since it was judged is for the operator to see first.
    if cause == "import" and stands.hold is not None and stands.hold.decision != "approved":
        raise BusyError("it was held just now", where=f"{name} {snapshot}")
    decided = holds.decide(run.connection, name, snapshot, "approved", by)
    if cause == "rollback":
        holds.pin(run.connection, name, snapshot, by)
    if cause == "approval":
        if not decided:
            raise BadRequestError(f"somebody has just decided about {name} {snapshot}")
        if stands.state is SnapshotState.PASSED_OVER and stands.published is not None:
            newer = stands.published.snapshot
            raise BadRequestError(f"{name} is published as {newer}, which is newer than {snapshot}")
        holds.unpin(run.connection, name)
