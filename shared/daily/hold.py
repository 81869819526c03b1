"""Hold: a complete snapshot that trips a limit is noted, alerted, and left to a human."""

from __future__ import annotations

from dataclasses import replace

import psycopg

from shared import log
from shared.catalog import Table
from shared.daily.breaker import Facts, reasons
from shared.db.postgres import Lock, try_lock
from shared.errors import BusyError
from shared.ledger import holds, publications, receipts, snapshots
from shared.ledger.holds import Hold
from shared.ledger.publications import Publication
from shared.ledger.receipts import SnapshotReceipt
from shared.names import SnapshotId
from shared.rows.profile import Profile
from shared.services import Services
from shared.target import tables


def held(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, counted: SnapshotReceipt
) -> Hold | None:
    """The snapshot's hold, decided or not, made now if a limit is tripped; None when nothing speaks against it.

    Raises BusyError when something of the table is published meanwhile: it is to be judged anew then, or needs no
    judgement any more.
    """
    found = holds.held(connection, table.name, snapshot)
    if found is None:
        published = publications.published(connection, table.name)
        new = _facts(connection, table.name, snapshot, counted)
        back = published is not None and published.snapshot > snapshot
        seen = _published(services, connection, table, published)
        # Who goes back to an older snapshot asks for its older source.
        tripped = reasons(table, new, replace(seen, source_modified=None) if seen and back else seen)
        if not tripped:
            return None
        # The alert comes before the commit: it may come twice, and is never lost.
        with connection.transaction():
            # Who judged and was frozen then may not hold what readers have seen since.
            if not try_lock(connection, Lock.publication(table.name), shared=True):
                raise BusyError("something of it is being published", where=table.name)
            if publications.published(connection, table.name) != published:
                raise BusyError("something of it was published meanwhile", where=table.name)
            if holds.hold(connection, table.name, snapshot, tripped):
                passes = "rollback" if back else "approve"
                remedy = f"To publish it: recosync {passes} {table.name} {snapshot}. To drop it: reject, not {passes}"
                log.error(f"snapshot held: {'; '.join(tripped)}. {remedy}", reasons=tripped)
        found = holds.held(connection, table.name, snapshot)
    return found


def _published(
    services: Services, connection: psycopg.Connection, table: Table, published: Publication | None
) -> Facts | None:
    """What readers see: of a table that was never published, its own rows if it has any."""
    if published is None:
        rows = tables.own_rows(connection, services.catalog.schema, table.name)
        return Facts(Profile(rows), None, None, None) if rows else None
    counted = receipts.find(connection, table.name, published.snapshot)
    return _facts(connection, table.name, published.snapshot, counted)


def _facts(connection: psycopg.Connection, table: str, snapshot: SnapshotId, counted: SnapshotReceipt | None) -> Facts:
    stated = snapshots.find(connection, table, snapshot) or snapshots.Snapshot(None, 0)
    profile = counted.postgresql if counted else Profile(stated.rows)
    return Facts(profile, counted.duplicate_keys if counted else None, stated.source_modified, stated.exported)
