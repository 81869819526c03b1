"""Import a snapshot by hand: the steps that its events ask for, taken in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

from shared.catalog import Table
from shared.daily import arrival, manifest
from shared.daily.context import TableRun
from shared.daily.hold import judged
from shared.daily.names import SnapshotFolder, snapshots_of
from shared.daily.publish import publish_chosen
from shared.daily.receipt import receipt
from shared.db.postgres import connect, translated
from shared.errors import (
    BadRequestError,
    BusyError,
    CatalogError,
    DataError,
    IncompleteError,
    TargetError,
)
from shared.ledger import holds, migrations, snapshots, standing
from shared.names import ObjectVersion, SnapshotId, format_day
from shared.operate import outcome
from shared.operate.outcome import SnapshotOutcome
from shared.operate.patience import Patience, Tell, pause
from shared.services import Services


@dataclass(frozen=True)
class Found:
    """A complete snapshot in Cloud Storage."""

    table: Table
    snapshot: SnapshotId
    manifest: ObjectVersion
    parts: int


def find(services: Services, table: Table, day: date | None, snapshot: SnapshotId | None) -> Found:
    """The named snapshot, or the day's latest, or the latest of all.

    Raises BadRequestError when there is none: a snapshot without a manifest is not complete. Raises DataError or
    CatalogError when its manifest does not fit the catalog.
    """
    settings = services.settings
    for name in [snapshot] if snapshot else _snapshots(services, table, day):
        folder = SnapshotFolder(settings.prefix, table.name, name)
        stored = services.storage.find(settings.bucket, folder.manifest)
        # An empty object is nothing to an event either.
        content = services.storage.read(stored.version) if stored and stored.bytes else None
        if stored is not None and content is not None:
            return Found(table, name, stored.version, _parts(services, table, folder, content))
    asked = str(snapshot or "") or (format_day(day) if day else "")
    of = f" of {asked}" if asked else ""
    anew = f"recosync export {table.name} --force"
    if _is_pinned(services, table):
        anew += f", and for readers to get it: recosync rollback {table.name} --unpin"
    raise BadRequestError(
        f"no complete snapshot{of} stands in gs://{settings.bucket}/{settings.prefix}/{table.name}/",
        where=table.name,
        remedy=f"To make a snapshot of what the source holds now: {anew}",
    )


def run(services: Services, found: Found, by: str, tell: Tell, *, chosen: bool) -> SnapshotOutcome:
    """Take the snapshot to its publication, beside other workers; `by` is the operator who wants it.

    If the operator chose the snapshot, by its name or its day, it is published even if readers have a newer one. A
    snapshot that readers have never seen is published only within its limits. `tell` hears whom the command waits for.
    Raises BusyError or IncompleteError when others hold or drop parts of the snapshot, and make no progress.
    """
    before = outcome.look(services, found.table, found.snapshot)
    _patiently(services, found, tell, lambda: arrival.handle(services, found.manifest, 1))
    after = outcome.look(services, found.table, found.snapshot)
    # What was published once, and gone back from, is nothing for an event; an operator may want it again.
    if after.what == "under way" or (after.what == "older" and chosen):
        _patiently(services, found, tell, lambda: _publish(services, found, by))
        after = outcome.look(services, found.table, found.snapshot)
    return replace(after, new=after.publication != before.publication)


def _publish(services: Services, found: Found, by: str) -> None:
    """Stage what is not, and publish, unless it is held now. Raises IncompleteError when parts were dropped again."""
    table, snapshot = found.table, found.snapshot
    arrival.stage_all(services, table, found.manifest)
    with connect(services.settings, "import") as connection:
        run = TableRun(services, connection, table)
        with translated(f"publishing {table.name} {snapshot}"):
            counted = receipt(run, snapshot)
            if counted is None:
                raise _dropped(found)
            stands = standing.of(connection, table.name, snapshot)
            # What readers have seen has passed the limits, or somebody has let it pass.
            hold = None if stands.was_published else judged(run, stands, counted)
            if hold is not None and hold.decision != "approved":
                return
        try:
            publish_chosen(run, snapshot, "import", by)
        except TargetError as e:
            if _is_staged(services, table, snapshot):
                raise
            raise _dropped(found) from e


def _dropped(found: Found) -> IncompleteError:
    return IncompleteError("parts of it were dropped just now", where=f"{found.table.name} {found.snapshot}")


def _patiently(services: Services, found: Found, tell: Tell, step: Callable[[], object]) -> None:
    """Take a step again while others are at parts of the snapshot and get on."""
    patience = Patience(tell)
    while True:
        try:
            step()
            return
        except (BusyError, IncompleteError) as e:
            doing = f" ({e.doing})" if isinstance(e, BusyError) and e.doing else ""
            if not patience.lasts(_staged(services, found.table, found.snapshot), f"waiting: {e}", doing):
                raise
            pause()


def _snapshots(services: Services, table: Table, day: date | None) -> list[SnapshotId]:
    """Those that stand in Cloud Storage, the latest first."""
    prefix = f"{services.settings.prefix}/{table.name}/" + (f"{format_day(day)}T" if day else "")
    return snapshots_of(services.storage.folders(services.settings.bucket, prefix))[::-1]


def _parts(services: Services, table: Table, folder: SnapshotFolder, content: bytes) -> int:
    """How many parts a manifest names. Raises DataError with the way that there still is to such a snapshot."""
    try:
        return len(manifest.parse(content, folder, [column.name for column in table.columns]).parts)
    except (DataError, CatalogError) as e:
        remedy = f"Export it anew: recosync export {table.name} --force"
        if _is_staged(services, table, folder.snapshot):
            # With its own columns, whatever the catalog has.
            remedy = f"It is staged: recosync rollback {table.name} {folder.snapshot} publishes it as it was"
        raise type(e)(e.what, where=e.where, remedy=remedy) from e


def _is_pinned(services: Services, table: Table) -> bool:
    with connect(services.settings, "import") as connection, translated(f"looking at {table.name}"):
        return migrations.exists(connection) and holds.pinned(connection, table.name) is not None


def _is_staged(services: Services, table: Table, snapshot: SnapshotId) -> bool:
    with connect(services.settings, "import") as connection, translated(f"looking at {table.name}"):
        parts = snapshots.named_parts(connection, table.name, snapshot) if migrations.exists(connection) else []
    return bool(parts) and all(part.staged_rows is not None for part in parts)


def _staged(services: Services, table: Table, snapshot: SnapshotId) -> int:
    with connect(services.settings, "import") as connection, translated(f"looking at {table.name}"):
        return sum(part.staged_rows is not None for part in snapshots.named_parts(connection, table.name, snapshot))
