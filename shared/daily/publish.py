"""Publish a snapshot: with a receipt, within the limits, and then at once."""

from __future__ import annotations

from enum import StrEnum

import psycopg

from shared import log
from shared.catalog import Table
from shared.daily import breaker
from shared.daily.breaker import Facts
from shared.daily.receipt import receipt
from shared.daily.swap import swap
from shared.db import decisions, ledger, receipts, target
from shared.db.ledger import Cause
from shared.db.postgres import translated
from shared.db.profile import Profile
from shared.db.receipts import Receipt
from shared.errors import TargetError
from shared.names import SnapshotId
from shared.services import Services


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

    Raises DataError when the systems' counts differ, BusyError when builds or readers leave no gap, TargetError when
    the table can't take children.
    """
    with translated(f"publishing {table.name} {snapshot}"):
        counted = receipt(connection, table, snapshot)
        if counted is None:
            return Outcome.INCOMPLETE
        refusal = _refusal(connection, table, snapshot, counted)
        if refusal is not None:
            return refusal
        target.ensure(connection, services.catalog.schema, table)

        def unless() -> bool:
            return _settled(connection, table.name, snapshot) is not None

        publication = swap(services, connection, table, snapshot, "event", unless=unless)
        announce(services, connection, table.name)
        return Outcome.PUBLISHED if publication else _settled(connection, table.name, snapshot) or Outcome.REPEATED


def publish_chosen(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, cause: Cause, by: str
) -> int:
    """Publish what an operator chose, older than what is published or not, and note the decision with it; the number.

    A rollback pins the snapshot: events leave it alone until it is unpinned. Raises like `publish`, and TargetError
    when the snapshot is not staged any more.
    """
    with translated(f"publishing {table.name} {snapshot}"):
        if receipt(connection, table, snapshot) is None:
            raise TargetError(
                "is not staged here, or not any more",
                where=f"{table.name} {snapshot}",
                remedy="Import it first, if its objects still stand in the bucket",
            )
        target.ensure(connection, services.catalog.schema, table)

        def note() -> None:
            if cause == "rollback":
                decisions.pin(connection, table.name, snapshot, by)
            else:
                decisions.decide(connection, table.name, snapshot, "approved", by)
                decisions.unpin(connection, table.name)

        publication = swap(services, connection, table, snapshot, cause, also=note)
        announce(services, connection, table.name)
        return publication or 0


def announce(services: Services, connection: psycopg.Connection, table: str) -> None:
    """Send the completion messages that are owed. Raises RetryableError until Pub/Sub takes them."""
    for publication in ledger.unannounced(connection, table):
        services.publisher.publish(
            services.settings.topic,
            {
                "table": table,
                "snapshot_id": str(publication.snapshot),
                "publication": str(publication.number),
            },
        )
        ledger.announced(connection, table, publication.number)
        log.info("publication announced", publication=publication.number)


def _settled(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Outcome | None:
    """Why an event has nothing to publish: it never goes back to an older snapshot, or to one that readers saw."""
    published = ledger.published(connection, table)
    if published is not None and published.snapshot >= snapshot:
        return Outcome.REPEATED
    if ledger.was_published(connection, table, snapshot):
        return Outcome.REPEATED
    return Outcome.PINNED if decisions.pinned(connection, table) is not None else None


def _refusal(connection: psycopg.Connection, table: Table, snapshot: SnapshotId, counted: Receipt) -> Outcome | None:
    """Why the snapshot may not be published; None when it may. What trips a limit is held from now on."""
    settled = _settled(connection, table.name, snapshot)
    if settled is Outcome.REPEATED:
        return None  # the swap sees that, and owed messages go out
    held = decisions.held(connection, table.name, snapshot)
    if held is None:
        reasons = breaker.reasons(
            table, _facts(connection, table.name, snapshot, counted), _published(connection, table)
        )
        if reasons and decisions.hold(connection, table.name, snapshot, reasons):
            remedy = f"To publish it: recosync approve {table.name} {snapshot}. To drop it: reject instead of approve"
            log.error(f"snapshot held: {'; '.join(reasons)}. {remedy}", reasons=reasons)
        held = decisions.held(connection, table.name, snapshot)
    if held is not None and held.decision != "approved":
        return Outcome.REJECTED if held.decision == "rejected" else Outcome.HELD
    return settled


def _published(connection: psycopg.Connection, table: Table) -> Facts | None:
    published = ledger.published(connection, table.name)
    if published is None:
        return None
    return _facts(connection, table.name, published.snapshot, receipts.find(connection, table.name, published.snapshot))


def _facts(connection: psycopg.Connection, table: str, snapshot: SnapshotId, counted: Receipt | None) -> Facts:
    stated = ledger.snapshot(connection, table, snapshot) or ledger.Snapshot(None, 0)
    profile = counted.postgresql if counted else Profile(stated.rows)
    return Facts(profile, counted.duplicate_keys if counted else None, stated.source_modified, stated.exported)
