"""Swap: the one transaction that changes which snapshot of a table readers see.

Readers see all of the one before or all of the new one, and never wait for longer than STALL_MS at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import Table
from shared.daily.receipt import of_adopted
from shared.db import ledger, receipts, target
from shared.db.ledger import Cause
from shared.db.postgres import Lock, Patience, await_lock, end_stale_holders
from shared.errors import BusyError, DataError
from shared.names import ADOPTED, ObjectVersion, SnapshotId
from shared.services import Services

#: Seconds that a publish waits for view builds of the table to end, and then for a gap between its readers.
BUILDS_PATIENCE = 120
READERS_PATIENCE = 40

#: The wait for the table's lock, in ms: as long as readers may stall behind it.
STALL_MS = 25

#: Tries that do not queue at all, before those that make readers queue for STALL_MS.
TRIES_WITHOUT_QUEUE = 100


def swap(
    services: Services,
    connection: psycopg.Connection,
    table: Table,
    snapshot: SnapshotId,
    cause: Cause,
    *,
    unless: Callable[[], bool] = lambda: False,
    also: Callable[[], object] = lambda: None,
) -> int | None:
    """Put the staged snapshot before the readers' eyes; its publication number, None when `unless` says no.

    `unless` is asked under the lock that keeps other publishes away; `also` runs in the same transaction. Raises
    BusyError when builds or readers leave no gap, TargetError when the table can't take children.
    """
    parent = target.relation(services.catalog.schema, table.name)
    parts = [(part.id, part.rows) for part in ledger.named_parts(connection, table.name, snapshot)]
    started = time.monotonic()
    with connection.transaction():
        # View builds read the table for long. Waiting for them here keeps us out of the readers' queue.
        _await_builds(services, connection, table.name)
        if unless():
            return None
        adopted = _adopt(services, connection, table)
        _lock_out_readers(connection, parent)
        if unless():
            return None
        _change_children(services, connection, table, [target.child(id_) for id_, _ in parts if id_ is not None])
        if adopted:
            connection.execute(sql.SQL("TRUNCATE ONLY {}").format(parent))
        elif _has_own_rows(connection, parent):
            raise BusyError("rows were written to it just now; they are adopted next time", where=table.name)
        also()
        rows, seconds = sum(rows for _, rows in parts), time.monotonic() - started
        publication = ledger.publish(connection, table.name, snapshot, rows, cause, seconds)
    log.info("snapshot published", publication=publication, rows=rows, cause=cause, seconds=round(seconds, 3))
    _analyze(connection, parent)
    return publication


def _change_children(
    services: Services, connection: psycopg.Connection, table: Table, children: Sequence[sql.Identifier]
) -> None:
    """Take the table's present children from it and give it these. No child is dropped here: that would take long."""
    parent = target.relation(services.catalog.schema, table.name)
    for old in target.children(connection, services.catalog.schema, table.name):
        connection.execute(sql.SQL("ALTER TABLE {} NO INHERIT {}").format(old, parent))
    for new in children:
        connection.execute(sql.SQL("ALTER TABLE {} INHERIT {}").format(new, parent))


def _await_builds(services: Services, connection: psycopg.Connection, table: str) -> None:
    lock = Lock.publication(table)
    try:
        await_lock(connection, lock, BUILDS_PATIENCE)
    except BusyError:
        end_stale_holders(connection, lock, services.settings)
        raise


def _lock_out_readers(connection: psycopg.Connection, parent: sql.Identifier) -> None:
    """Take the table from its readers, in tries so short that none of them stalls for long.

    Should this worker freeze while it holds the lock, the server ends the transaction after a second.
    """
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1s'")
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{STALL_MS}ms"])
    patience = Patience(READERS_PATIENCE)
    while True:
        nowait = sql.SQL("NOWAIT" if patience.tries < TRIES_WITHOUT_QUEUE else "")
        try:
            with connection.transaction():
                connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE {}").format(parent, nowait))
            return
        except pg.LockNotAvailable as e:
            patience.again(e, parent.as_string(connection))


def _analyze(connection: psycopg.Connection, parent: sql.Identifier) -> None:
    """Renew the statistics of the parent's whole tree: they are its own, and autovacuum never makes them.

    Whatever becomes of them, the snapshot is published, and the message that says so is owed.
    """
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(sql.SQL("ANALYZE {}").format(parent))
    except psycopg.Error as e:
        log.warning("statistics not renewed", sqlstate=e.sqlstate)


def _has_own_rows(connection: psycopg.Connection, parent: sql.Identifier) -> bool:
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(parent)).fetchone()
    return bool(row and row[0])


def _adopt(services: Services, connection: psycopg.Connection, table: Table) -> bool:
    """On the first publish over a filled table, keep its own rows as snapshot 0, so that there is a way back.

    Whether there were any. Writers are locked out until the publish commits; readers go on.
    """
    parent = target.relation(services.catalog.schema, table.name)
    if not _has_own_rows(connection, parent):
        return False
    connection.execute("SET LOCAL lock_timeout = '30s'")
    connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(parent))
    version = ObjectVersion("", f"{services.catalog.schema}.{table.name}", 0)
    part_id = ledger.claim_part(connection, table.name, ADOPTED, version)
    if part_id is None:
        raise DataError(
            "holds rows of its own again, though its first rows were adopted already",
            where=version.name,
            remedy="Find out who writes to it, and TRUNCATE ONLY it",
        )
    target.create_child(connection, services.catalog.schema, table, part_id)
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    rows = connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM ONLY {}").format(target.child(part_id), columns, columns, parent)
    ).rowcount
    receipt = of_adopted(connection, table, target.child(part_id))
    ledger.finish_part(connection, part_id, 0.0, None, receipt.postgresql)
    columns_now = [{"name": c.name, "type": c.type.sql, "postgresql": c.type.sql} for c in table.columns]
    stated = ledger.Snapshot(None, rows)
    ledger.record_snapshot(connection, table.name, ADOPTED, stated, columns_now, [(version, rows)])
    receipts.keep(connection, table.name, ADOPTED, receipt)
    log.info("table adopted", rows=rows)
    return True
