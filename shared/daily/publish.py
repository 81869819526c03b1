"""Publish a snapshot: with a receipt, within the limits, and then at once."""

from __future__ import annotations

from enum import StrEnum

import psycopg

from shared import log
from shared.catalog import Table
from shared.daily.hold import held
from shared.daily.receipt import receipt
from shared.daily.swap import swap
from shared.db.postgres import make_durable, translated
from shared.errors import BadRequestError, BusyError, RetryableError, TargetError
from shared.ledger import holds, publications
from shared.ledger.publications import Cause
from shared.ledger.receipts import SnapshotReceipt
from shared.names import SnapshotId
from shared.services import Services
from shared.target import tables


class Outcome(StrEnum):
    """What became of a snapshot that an event asked for."""

    INCOMPLETE = "staged"
    PUBLISHED = "published"
    REPEATED = "repeated"
    HELD = "held"
    REJECTED = "rejected"
    PINNED = "pinned"


def publish(services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId) -> Outcome:
    """Publish the snapshot if all of it is staged and nothing speaks against it.

    Raises DataError when the systems' counts differ, BusyError when builds or readers leave no gap, or readers see
    something else than it was judged against; TargetError when the table can't take children.
    """
    with translated(f"publishing {table.name} {snapshot}"):
        counted = receipt(connection, table, snapshot)
        if counted is None:
            return Outcome.INCOMPLETE
        judged = publications.published(connection, table.name)
        refusal = _refusal(services, connection, table, snapshot, counted)
        if refusal is not None:
            announce(services, connection, table.name)  # what an operator published may be owed
            return refusal
        tables.ensure(connection, services.catalog.schema, table)

        def unless() -> bool:
            if _stopped(connection, table.name, snapshot) is not None:
                return True
            if publications.published(connection, table.name) != judged:
                raise BusyError("something of it was published meanwhile: it is judged anew", where=table.name)
            return False

        publication = swap(services, connection, table, snapshot, "event", unless=unless)
        announce(services, connection, table.name)
        return Outcome.PUBLISHED if publication else _stopped(connection, table.name, snapshot) or Outcome.REPEATED


def publish_chosen(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, cause: Cause, by: str
) -> int:
    """Publish what an operator chose, older than what is published or not, and note the decision with it; the number.

    A rollback pins the snapshot: events leave it alone until it is unpinned. Raises like `publish`, TargetError when
    the snapshot is not staged any more, BadRequestError when the decision was overtaken.
    """
    with translated(f"publishing {table.name} {snapshot}"):
        if receipt(connection, table, snapshot) is None:
            raise TargetError(
                "is not staged here, or not any more",
                where=f"{table.name} {snapshot}",
                remedy="Import it first, if its objects still stand in the bucket",
            )
        tables.ensure(connection, services.catalog.schema, table)

        def note() -> None:
            # What was held since it was judged is for the operator to see first.
            if cause == "import" and _on_hold(connection, table.name, snapshot) is not None:
                raise BusyError("it was held just now", where=f"{table.name} {snapshot}")
            decided = holds.decide(connection, table.name, snapshot, "approved", by)
            if cause == "rollback":
                holds.pin(connection, table.name, snapshot, by)
            if cause == "approval":
                _check_approval(connection, table.name, snapshot, decided=decided)
                holds.unpin(connection, table.name)

        publication = swap(services, connection, table, snapshot, cause, also=note)
        try:
            announce(services, connection, table.name)
        except RetryableError as e:
            # It is done; whoever asked should not ask again.
            log.error("published, but its message is owed: the next event of the table sends it, or hourly_export", e)
        return publication or 0


def _check_approval(connection: psycopg.Connection, table: str, snapshot: SnapshotId, *, decided: bool) -> None:
    """Under the publication's lock, before it counts: nobody else decided, and readers have nothing newer."""
    if not decided:
        raise BadRequestError(f"somebody has just decided about {table} {snapshot}")
    current = publications.published(connection, table)
    if current is not None and current.snapshot > snapshot:
        raise BadRequestError(f"{table} is published as {current.snapshot}, which is newer than {snapshot}")


def announce(services: Services, connection: psycopg.Connection, table: str) -> None:
    """Send the completion messages that are owed. Raises RetryableError until Pub/Sub takes them."""
    owed = publications.unannounced(connection, table)
    if owed:
        make_durable(connection)  # nobody is told of what a crash could undo
    for publication in owed:
        services.publisher.publish(
            services.settings.topic,
            {
                "table": table,
                "snapshot_id": str(publication.snapshot),
                "publication": str(publication.number),
            },
        )
        publications.announced(connection, table, publication.number)
        log.info("publication announced", publication=publication.number)


def _settled(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Outcome | None:
    """Why an event has nothing to publish: it never goes back to an older snapshot, or to one that readers saw."""
    published = publications.published(connection, table)
    if published is not None and published.snapshot >= snapshot:
        return Outcome.REPEATED
    if publications.was_published(connection, table, snapshot):
        return Outcome.REPEATED
    return Outcome.PINNED if holds.pinned(connection, table) is not None else None


def _refusal(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, counted: SnapshotReceipt
) -> Outcome | None:
    """Why the snapshot may not be published; None when it may. What trips a limit is held from now on."""
    if _settled(connection, table.name, snapshot) is Outcome.REPEATED:
        return None  # the swap sees that, and owed messages go out
    held(services, connection, table, snapshot, counted)
    return _stopped(connection, table.name, snapshot)


def _stopped(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Outcome | None:
    """Why an event may not publish the snapshot, by the ledger as it is now."""
    settled = _settled(connection, table, snapshot)
    return settled if settled is Outcome.REPEATED else _on_hold(connection, table, snapshot) or settled


def _on_hold(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Outcome | None:
    hold = holds.held(connection, table, snapshot)
    if hold is None or hold.decision == "approved":
        return None
    return Outcome.REJECTED if hold.decision == "rejected" else Outcome.HELD
