"""Hold: a complete snapshot that trips a limit is noted, told as an ERROR, and left to a human."""

from __future__ import annotations

from dataclasses import replace

from shared import log
from shared.daily.breaker import Facts, reasons
from shared.daily.context import TableRun
from shared.db.locks import Lock, busy, try_lock
from shared.errors import BusyError
from shared.ledger import holds, publications, receipts, snapshots
from shared.ledger.holds import Hold
from shared.ledger.publications import Publication
from shared.ledger.receipts import SnapshotReceipt
from shared.ledger.standing import SnapshotStanding
from shared.names import SnapshotId
from shared.rows.profile import Profile
from shared.target import tables


def judged(run: TableRun, stands: SnapshotStanding, counted: SnapshotReceipt) -> Hold | None:
    """The snapshot's hold, decided or not, made now if a limit is tripped; None when nothing speaks against the
    snapshot.

    Raises BusyError when another snapshot of the table was published since it was asked where this one stands: then
    this one is to be judged anew, or needs no judgement any more.
    """
    if stands.hold is not None:
        return stands.hold
    snapshot, published = stands.snapshot, stands.published
    new = _facts(run, snapshot, counted)
    back = published is not None and published.snapshot > snapshot
    seen = _published(run, published)
    # Who goes back to an older snapshot asks for its older source.
    tripped = reasons(run.table, new, replace(seen, source_modified=None) if seen and back else seen)
    if not tripped:
        return None
    _hold(run, stands, tripped, passes="rollback" if back else "approve")
    return holds.held(run.connection, run.table.name, snapshot)


def _hold(run: TableRun, stands: SnapshotStanding, tripped: list[str], passes: str) -> None:
    """Note the hold, unless somebody has; `passes` is the command that publishes it."""
    name = run.table.name
    # The alert comes before the commit: it may come twice, and is never lost.
    with run.connection.transaction():
        # Who judged and was frozen then may not hold what readers have seen since.
        if not try_lock(run.connection, Lock.publication(name), shared=True):
            raise busy(
                run.connection, "another snapshot of it is being published", name, locks=[Lock.publication(name)]
            )
        if publications.published(run.connection, name) != stands.published:
            raise BusyError("another snapshot of it was published meanwhile", where=name)
        if holds.hold(run.connection, name, stands.snapshot, tripped):
            decide = f"To publish it: recosync {passes} {name} {stands.snapshot}. To drop it: reject, not {passes}"
            log.error(f"snapshot held: {'; '.join(tripped)}. {decide}", reasons=tripped)


def _published(run: TableRun, published: Publication | None) -> Facts | None:
    """What readers see: of a table that was never published, its own rows if it has any."""
    if published is None:
        rows = tables.own_rows(run.connection, run.schema, run.table.name)
        return Facts(Profile(rows), None, None, None) if rows else None
    return _facts(run, published.snapshot, receipts.find(run.connection, run.table.name, published.snapshot))


def _facts(run: TableRun, snapshot: SnapshotId, counted: SnapshotReceipt | None) -> Facts:
    if counted is not None:
        return Facts(counted.postgresql, counted.duplicate_keys, counted.source_modified, counted.exported)
    stated = snapshots.find(run.connection, run.table.name, snapshot) or snapshots.Snapshot(None, 0)
    return Facts(Profile(stated.rows), None, stated.source_modified, stated.exported)
