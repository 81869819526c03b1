"""What an operator decides about a table: go back, publish what is held, drop it, let events publish again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from shared import log
from shared.catalog import Table
from shared.daily.publish import publish_chosen
from shared.db.postgres import Lock, connect, lock_or_busy, translated
from shared.errors import BadRequestError
from shared.ledger import holds, migrations, publications, snapshots
from shared.ledger.publications import Cause
from shared.names import SnapshotId
from shared.services import Services
from shared.target import tables


@dataclass(frozen=True)
class Published:
    """What readers see now: the snapshot, its publication number, and what they saw before. `seconds` is the swap's."""

    table: str
    snapshot: SnapshotId
    publication: int
    seconds: float
    previous: SnapshotId | None


def rollback(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> Published:
    """Put a snapshot that is still staged back before the readers' eyes, the previous one unless another is named, and
    pin it: events leave it in place until `unpin`.

    Repeated, it does not go further back: without a name it only leaves what is not pinned. Raises BadRequestError when
    there is none, TargetError when it is not staged any more.
    """
    with _table(services, name) as (connection, table):
        current = publications.published(connection, name)
        if current is None:
            raise BadRequestError(f"{name} was never published")
        if snapshot is None and holds.pinned(connection, name) == current.snapshot:
            raise BadRequestError(
                f"{name} is back at {current.snapshot} already",
                remedy=f"To go further, name a snapshot: recosync rollback {name} SNAPSHOT",
            )
        chosen = snapshot or holds.previous(connection, name, current.snapshot)
        if chosen is None:
            raise BadRequestError(f"{name} has no snapshot before {current.snapshot}")
        if snapshots.find(connection, name, chosen) is None:
            raise BadRequestError(f"{name} has no snapshot {chosen}")
        return _publish(services, connection, table, chosen, "rollback", by)


def unpin(services: Services, name: str, by: str) -> bool:
    """Let events publish the table again; False when they may already. What readers see changes with the next one."""
    with _table(services, name) as (connection, _):
        done = holds.unpin(connection, name)
        if done:
            log.info("unpinned", by=by)
        return done


def approve(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> Published:
    """Publish a held snapshot, the newest unless another is named. A pin ends with it.

    Raises BadRequestError when it waits for no decision, or when readers have a newer one.
    """
    with _table(services, name) as (connection, table):
        chosen = _undecided(connection, name, snapshot)
        return _publish(services, connection, table, chosen, "approval", by)


def reject(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> SnapshotId:
    """Drop a held snapshot for good, the newest unless another is named. Readers keep what they have.

    Raises BadRequestError when it waits for no decision, BusyError while something of the table is published.
    """
    with _table(services, name) as (connection, _):
        chosen = _undecided(connection, name, snapshot)
        with connection.transaction():
            # No publish comes in between, nor is one under way.
            lock_or_busy(connection, Lock.publication(name))
            _undecided(connection, name, chosen)
            if not holds.decide(connection, name, chosen, "rejected", by):
                raise BadRequestError(f"somebody has just decided about {name} {chosen}")
            for part in snapshots.named_parts(connection, name, chosen):
                if part.id is not None:
                    tables.drop_child(connection, part.id)
        log.info("snapshot rejected", snapshot=str(chosen), by=by)
        return chosen


@contextmanager
def _table(services: Services, name: str) -> Iterator[tuple[psycopg.Connection, Table]]:
    table = services.catalog.tables.get(name)
    if table is None:
        raise BadRequestError(f"{name} is no table of the catalog: it has {', '.join(services.catalog.tables)}")
    with (
        log.bound(table=name),
        connect(services.settings, "operator") as connection,
        translated(f"deciding about {name}"),
    ):
        migrations.prepare(connection, migrates=services.migrates)
        yield connection, table


def _publish(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, cause: Cause, by: str
) -> Published:
    before = publications.published(connection, table.name)
    started = time.monotonic()
    number = publish_chosen(services, connection, table, snapshot, cause, by)
    log.info("published by an operator", snapshot=str(snapshot), by=by, cause=cause)
    return Published(table.name, snapshot, number, time.monotonic() - started, before.snapshot if before else None)


def _undecided(connection: psycopg.Connection, name: str, snapshot: SnapshotId | None) -> SnapshotId:
    chosen = snapshot or holds.latest_hold(connection, name)
    hold = holds.held(connection, name, chosen) if chosen else None
    if chosen is None or hold is None:
        raise BadRequestError(f"{name}{f' {chosen}' if chosen else ''} is not held")
    if publications.was_published(connection, name, chosen):
        raise BadRequestError(f"{name} {chosen} was published: it waits for no decision")
    if hold.decision is not None:
        raise BadRequestError(f"{name} {chosen} was {hold.decision} already")
    return chosen
