"""Hold: a complete snapshot that trips a limit is noted, alerted, and left to a human."""

from __future__ import annotations

import psycopg

from shared import log
from shared.catalog import Table
from shared.daily.breaker import Facts, reasons
from shared.db import decisions, ledger, receipts, target
from shared.db.decisions import Hold
from shared.db.profile import Profile
from shared.db.receipts import Receipt
from shared.names import SnapshotId
from shared.services import Services


def held(
    services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId, counted: Receipt
) -> Hold | None:
    """The snapshot's hold, decided or not, made now if a limit is tripped; None when nothing speaks against it."""
    found = decisions.held(connection, table.name, snapshot)
    if found is None:
        new = _facts(connection, table.name, snapshot, counted)
        tripped = reasons(table, new, _published(services, connection, table))
        if not tripped:
            return None
        # The alert comes before the commit: it may come twice, and is never lost.
        with connection.transaction():
            if decisions.hold(connection, table.name, snapshot, tripped):
                remedy = f"To publish it: recosync approve {table.name} {snapshot}. To drop it: reject, not approve"
                log.error(f"snapshot held: {'; '.join(tripped)}. {remedy}", reasons=tripped)
        found = decisions.held(connection, table.name, snapshot)
    return found


def _published(services: Services, connection: psycopg.Connection, table: Table) -> Facts | None:
    """What readers see: of a table that was never published, its own rows if it has any."""
    published = ledger.published(connection, table.name)
    if published is None:
        rows = target.own_rows(connection, services.catalog.schema, table.name)
        return Facts(Profile(rows), None, None, None) if rows else None
    counted = receipts.find(connection, table.name, published.snapshot)
    return _facts(connection, table.name, published.snapshot, counted)


def _facts(connection: psycopg.Connection, table: str, snapshot: SnapshotId, counted: Receipt | None) -> Facts:
    stated = ledger.snapshot(connection, table, snapshot) or ledger.Snapshot(None, 0)
    profile = counted.postgresql if counted else Profile(stated.rows)
    return Facts(profile, counted.duplicate_keys if counted else None, stated.source_modified, stated.exported)
