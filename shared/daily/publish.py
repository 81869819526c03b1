"""Publish a snapshot: readers see all of it, or all of the one before, and never wait long."""

from __future__ import annotations

import time

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import Table
from shared.db import ledger, target
from shared.db.ledger import NamedPart
from shared.db.postgres import Lock, Patience, await_lock, end_stale_holders, translated
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


def publish(services: Services, connection: psycopg.Connection, table: Table, snapshot: SnapshotId) -> bool:
    """Publish the snapshot if all of it is staged; False when parts or the manifest are still to come.

    True also when this snapshot or a later one is published already. Raises DataError when the counts of manifest and
    PostgreSQL differ, BusyError when builds or readers leave no gap, TargetError when the table can't take children.
    """
    with translated(f"publishing {table.name} {snapshot}"):
        counts = ledger.snapshot_rows(connection, table.name, snapshot)
        if counts is None:
            return False
        parts = ledger.named_parts(connection, table.name, snapshot)
        if any(part.staged_rows is None for part in parts):
            return False
        _compare(table, snapshot, counts, parts)
        target.ensure(connection, services.catalog.schema, table)
        started = time.monotonic()
        rows = sum(part.rows for part in parts)
        ids = [part.id for part in parts if part.id is not None]
        publication = _swap(services, connection, table, snapshot, ids, rows)
        if publication is not None:
            log.info("snapshot published", publication=publication, rows=rows, seconds=_since(started))
            _analyze(connection, _parent(services, table))
        announce(services, connection, table.name)
        return True


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


def _compare(table: Table, snapshot: SnapshotId, counts: tuple[int | None, int], parts: list[NamedPart]) -> None:
    """No receipt, no publish: source, manifest, footers and PostgreSQL agree on every count."""
    where = f"{table.name} {snapshot}"
    source_rows, rows = counts
    for part in parts:
        if part.rows != part.staged_rows:
            raise DataError(
                f"the manifest counts {part.rows} rows, PostgreSQL {part.staged_rows}",
                where=str(part.version),
            )
    if source_rows is not None and source_rows != rows:
        raise DataError(f"the source counts {source_rows} rows, the parts {rows}", where=where)
    if rows == 0 and not table.allow_empty:
        raise DataError("has no rows", where=where, remedy="Fill the source, or set allow_empty in the catalog")


def _swap(
    services: Services,
    connection: psycopg.Connection,
    table: Table,
    snapshot: SnapshotId,
    part_ids: list[int],
    rows: int,
) -> int | None:
    """The one transaction that changes what readers see; None when they see this snapshot or a later one already."""
    parent = _parent(services, table)
    with connection.transaction():
        # View builds read the table for long. Waiting for them here keeps us out of the readers' queue.
        _await_builds(services, connection, table.name)
        if _seen(connection, table.name, snapshot):
            return None
        adopted = _adopt(services, connection, table)
        _lock_out_readers(connection, parent)
        if _seen(connection, table.name, snapshot):
            return None
        for old in target.children(connection, services.catalog.schema, table.name):
            connection.execute(sql.SQL("ALTER TABLE {} NO INHERIT {}").format(old, parent))
        for part_id in part_ids:
            connection.execute(sql.SQL("ALTER TABLE {} INHERIT {}").format(target.child(part_id), parent))
        if adopted:
            connection.execute(sql.SQL("TRUNCATE ONLY {}").format(parent))
        elif _has_own_rows(connection, parent):
            raise BusyError("rows were written to it just now; they are adopted next time", where=table.name)
        return ledger.publish(connection, table.name, snapshot, rows)


def _seen(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> bool:
    """Whether an event has nothing to publish: events never go back to an older snapshot."""
    published = ledger.published(connection, table)
    return published is not None and published.snapshot >= snapshot


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
    parent = _parent(services, table)
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
    ledger.finish_part(connection, part_id, rows, 0.0)
    ledger.record_snapshot(
        connection, table.name, ADOPTED, None, [{"name": c.name, "type": c.type.sql} for c in table.columns],
        [(version, rows)],
    )  # fmt: skip
    log.info("table adopted", rows=rows)
    return True


def _parent(services: Services, table: Table) -> sql.Identifier:
    return target.relation(services.catalog.schema, table.name)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
