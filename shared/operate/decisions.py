"""What an operator decides about a table: go back, publish what is held, drop it, let events publish again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared import log
from shared.daily.context import TableRun
from shared.daily.publish import EventOutcome, publish, publish_chosen
from shared.db.locks import Lock, lock_or_busy
from shared.db.postgres import connect, translated
from shared.errors import BadRequestError
from shared.ledger import holds, migrations, publications, snapshots, standing
from shared.ledger.publications import Cause
from shared.names import SnapshotId
from shared.services import Services
from shared.target import tables


@dataclass(frozen=True)
class Published:
    """What readers see now: the snapshot, its publication number, and what they saw before. It took `seconds`."""

    table: str
    snapshot: SnapshotId
    publication: int
    seconds: float
    previous: SnapshotId | None


def rollback(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> Published:
    """Show readers an earlier snapshot again whose parts are still staged, the previous one unless another is named,
    and pin the table to it: events leave it in place until `unpin`.

    Without a name, the call goes back only from a snapshot that is not pinned: repeated, it goes no further. Raises
    BadRequestError when there is no such snapshot, TargetError when its parts are not staged any more.
    """
    with _opened(services, name) as run:
        current = publications.published(run.connection, name)
        if current is None:
            raise BadRequestError(f"{name} was never published")
        if snapshot is None and holds.pinned(run.connection, name) == current.snapshot:
            raise BadRequestError(
                f"{name} is back at {current.snapshot} already",
                remedy=f"To go further, name a snapshot: recosync rollback {name} SNAPSHOT",
            )
        chosen = snapshot or holds.previous(run.connection, name, current.snapshot)
        if chosen is None:
            raise BadRequestError(f"{name} has no snapshot before {current.snapshot}")
        if snapshots.find(run.connection, name, chosen) is None:
            raise BadRequestError(f"{name} has no snapshot {chosen}")
        return _publish(run, chosen, "rollback", by)


def unpin(services: Services, name: str, by: str) -> bool:
    """Let events publish the table again; False when they may already. What they kept back is for `bring`."""
    with _opened(services, name) as run:
        done = holds.unpin(run.connection, name)
        if done:
            log.info("unpinned", by=by)
        return done


def kept_back(services: Services, name: str) -> SnapshotId | None:
    """The newest complete snapshot that arrived while the table was pinned, unless readers have seen it or a newer one,
    or somebody rejected it.
    """
    with _opened(services, name) as run:
        return holds.kept_back(run.connection, name)


def bring(services: Services, name: str, snapshot: SnapshotId, by: str) -> Published | None:
    """Publish a snapshot that the pin kept back, within its limits, as its event would have; what readers see then.
    None when it is held, or not all staged any more. Raises like `publish`.
    """
    with _opened(services, name) as run:
        tables.ensure(run.connection, run.schema, run.table)
        before, started = publications.published(run.connection, name), time.monotonic()
        if publish(run, snapshot) not in (EventOutcome.PUBLISHED, EventOutcome.REPEATED):
            return None
        seconds, after = time.monotonic() - started, publications.published(run.connection, name)
        if after is None:
            return None
        log.info("published by an operator", snapshot=str(after.snapshot), by=by, cause="unpin")
        return Published(name, after.snapshot, after.number, seconds, before.snapshot if before else None)


def approve(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> Published:
    """Publish a held snapshot, the newest unless another is named. The publish ends a pin.

    Raises BadRequestError when the snapshot waits for no decision, or when readers have a newer one.
    """
    with _opened(services, name) as run:
        chosen = _undecided(run, snapshot)
        return _publish(run, chosen, "approval", by)


def reject(services: Services, name: str, snapshot: SnapshotId | None, by: str) -> SnapshotId:
    """Drop a held snapshot for good, the newest unless another is named. Readers keep what they have.

    Raises BadRequestError when the snapshot waits for no decision, BusyError while another one of the table is
    published.
    """
    with _opened(services, name) as run:
        chosen = _undecided(run, snapshot)
        with run.connection.transaction():
            # No publish comes in between, nor is one under way.
            lock_or_busy(run.connection, Lock.publication(name))
            _undecided(run, chosen)
            if not holds.decide(run.connection, name, chosen, "rejected", by):
                raise BadRequestError(f"somebody has just decided about {name} {chosen}")
            for part in snapshots.named_parts(run.connection, name, chosen):
                if part.id is not None:
                    tables.drop_child(run.connection, part.id)
        log.info("snapshot rejected", snapshot=str(chosen), by=by)
        return chosen


@contextmanager
def _opened(services: Services, name: str) -> Iterator[TableRun]:
    table = services.catalog.tables.get(name)
    if table is None:
        raise BadRequestError(f"{name} is no table of the catalog: it has {', '.join(services.catalog.tables)}")
    with (
        log.bound(table=name),
        connect(services.settings, "operator") as connection,
        translated(f"deciding about {name}"),
    ):
        migrations.prepare(connection, migrates=services.migrates)
        yield TableRun(services, connection, table)


def _publish(run: TableRun, snapshot: SnapshotId, cause: Cause, by: str) -> Published:
    name = run.table.name
    before = publications.published(run.connection, name)
    started = time.monotonic()
    number = publish_chosen(run, snapshot, cause, by)
    log.info("published by an operator", snapshot=str(snapshot), by=by, cause=cause)
    return Published(name, snapshot, number, time.monotonic() - started, before.snapshot if before else None)


def _undecided(run: TableRun, snapshot: SnapshotId | None) -> SnapshotId:
    name = run.table.name
    chosen = snapshot or holds.latest_hold(run.connection, name)
    stands = standing.of(run.connection, name, chosen) if chosen else None
    if stands is None or stands.hold is None:
        raise BadRequestError(f"{name}{f' {chosen}' if chosen else ''} is not held")
    if stands.was_published:
        raise BadRequestError(f"{name} {stands.snapshot} was published: it waits for no decision")
    if stands.hold.decision is not None:
        raise BadRequestError(f"{name} {stands.snapshot} was {stands.hold.decision} already")
    return stands.snapshot
