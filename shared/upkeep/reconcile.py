"""Reconcile: find a snapshot or view that stands still because an event was lost, and send the event again.

A manifest that was never imported is written onto itself: its new event goes the way of the first. A publication is
announced again if a view does not hold it, or holds it by another template, or if its message is owed. Imports and
refreshes recognise what they have done already, so that an event too many changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypedDict

from shared import log
from shared.daily import newest
from shared.daily.announce_views import announce_views
from shared.daily.context import DailyRun, TableRun
from shared.daily.publish import announce
from shared.daily.refresh import unlike
from shared.daily.templates import digest, digest_of_all
from shared.db import queries
from shared.db.postgres import connect, translated
from shared.errors import SyncError
from shared.gcp.storage import StoredObject
from shared.ledger import holds, migrations, publications, refreshed
from shared.ledger.standing import SnapshotState
from shared.services import Services
from shared.target.views import exists

#: In a manifest's metadata: how many times it was written again. The pause doubles each time.
TRIES = "recosync-tries"
MOST_DOUBLINGS = 6

#: Tries without success after which a human should look.
PATIENCE = 3


class SentManifest(TypedDict):
    """A manifest that was written again; docs/reference.md#hourly_export says what each field means."""

    table: str
    sent: Literal["manifest"]
    snapshot_id: str
    tries: int


class SentOwed(TypedDict):
    """The completion messages that were owed."""

    table: str
    sent: Literal["owed message"]


class SentMessage(TypedDict):
    """A completion message that was sent again."""

    table: str
    sent: Literal["message"]
    publication: int
    views: list[str]


class SentViews(TypedDict):
    """The messages that views stand, which were owed."""

    views: list[str]
    sent: Literal["owed messages of views"]


type Finished = SentManifest | SentOwed | SentMessage | SentViews


def run(services: Services, now: datetime) -> list[Finished]:
    """Send again the events that have been due for RECONCILE_AFTER_MINUTES at `now`; what was sent, for the call's
    answer.
    """
    with connect(services.settings, "reconcile") as connection, translated("looking for lost events"):
        # Making it is for the role that owns it.
        if not migrations.is_current(connection):
            log.info("the ledger is not there yet, or of before this code: nothing to reconcile")
            return []
        run = DailyRun(services, connection)
        finished = [
            _logged(step, run.of(table), now)
            for table in services.catalog.tables.values()
            for step in (_import, _refresh)
        ]
        return [done for done in (*finished, _announce_views(run, now)) if done is not None]


def _import(run: TableRun, now: datetime) -> Finished | None:
    """Write a snapshot's manifest again, if it is of age and nothing stops it: that of the one which readers lack rows
    of, or of the newest complete one that they have not seen.
    """
    storage, found = run.services.storage, newest.damaged(run)
    if found is None and holds.pinned(run.connection, run.table.name) is None:
        found = newest.unpublished(run)
    if found is None:
        return None
    stands, manifest = found
    tries = _tries(manifest)
    pause = run.settings.reconcile_after * 2 ** min(tries, MOST_DOUBLINGS)
    # Where it is not open, a human has to do something first, or has said no.
    if now - manifest.created < pause or stands.state is not SnapshotState.OPEN:
        return None
    content = storage.read(manifest.version)
    if content is None:
        return None
    metadata = {**manifest.metadata, TRIES: str(tries + 1)}
    if storage.replace(manifest.version, content, "application/json", metadata) is None:
        return None  # another call was faster
    with log.bound(snapshot=stands.snapshot):
        why = "readers lack rows of it" if stands.damaged else "lost event: exported but not published"
        _tell(f"{why}, so its manifest is written again", tries + 1 >= PATIENCE)
    return {"table": run.table.name, "snapshot_id": str(stands.snapshot), "sent": "manifest", "tries": tries + 1}


def _tries(manifest: StoredObject) -> int:
    text = manifest.metadata.get(TRIES, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _refresh(run: TableRun, now: datetime) -> Finished | None:
    """Announce the table's publications whose message is owed, or whose views never came."""
    connection, table = run.connection, run.table
    statements, before = queries.load("reconcile"), now - run.settings.reconcile_after
    values = {"table": table.name, "before": before}
    (owed,) = connection.execute(statements["owed"], values).fetchone() or (0,)
    # A view that also reads a table that was never published is built when that comes.
    of_table = run.views
    views = [
        view for view in of_table if all(publications.published(connection, name) is not None for name in view.reads)
    ]
    wanted = {
        "views": [view.name for view in views],
        "stands": [exists(connection, run.relation(view)) for view in views],
        # A template that came with other columns waits for them, and for the refresh of the publish that brings them.
        "digests": [None if unlike(run, [view]) else digest(view) for view in views],
        "templates": digest_of_all(of_table),
    }
    behind = connection.execute(statements["behind"], {**values, **wanted, "now": now}).fetchone()
    if behind is None:
        if not owed:
            return None
        announce(run)
        _tell("lost event: the message of a publication was owed, so it is sent", again=False)
        return {"table": table.name, "sent": "owed message"}
    publication, names, rebuilt, waited, asked_for = behind
    # Owed until it is sent: should we die in between, the next run sends it.
    connection.execute(statements["owe"], {"table": table.name, "publication": publication})
    announce(run)
    if names:
        _tell(
            f"lost event: {', '.join(names)} does not hold what is published, so the message is sent again",
            again=waited > run.settings.reconcile_after * 2**PATIENCE,
        )
    if rebuilt:
        _tell(
            f"{', '.join(rebuilt)} was built from another template than there is now, so the message is sent again",
            again=asked_for,
        )
    return {"table": table.name, "publication": publication, "sent": "message", "views": sorted([*names, *rebuilt])}


def _announce_views(run: DailyRun, now: datetime) -> Finished | None:
    """Send the messages that views stand, once one of them is of age. A failure leaves all as it was."""
    try:
        with translated("looking for messages of views that are owed"):
            due = [
                each
                for each in refreshed.owed(run.connection)
                if each.refreshed_at < now - run.settings.reconcile_after
            ]
            views = announce_views(run) if due else []
    except SyncError as e:
        log.failure("reconciliation failed", e)
        return None
    if not views:
        return None
    _tell(f"messages that {', '.join(views)} stand were owed, so they are sent", again=False)
    return {"views": views, "sent": "owed messages of views"}


def _tell(message: str, again: bool) -> None:
    """A WARNING, or an ERROR once sending it again has not helped."""
    (log.error if again else log.warning)(message)


def _logged(step: Callable[[TableRun, datetime], Finished | None], run: TableRun, now: datetime) -> Finished | None:
    """A step's outcome; its failure leaves the other tables alone."""
    name = run.table.name
    try:
        with log.bound(table=name), translated(f"looking for lost events of {name}"):
            return step(run, now)
    except SyncError as e:
        log.failure("reconciliation failed", e)
        return None
