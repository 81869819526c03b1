"""Swap: the one transaction that changes which snapshot of a table readers see.

Readers see all of the one before or all of the new one, and never wait for longer than STALL_MS at a time. Where the
new one has other columns, the table's change in the same transaction, and the views that use them with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from shared import log
from shared.catalog import Table
from shared.daily import evolve, live
from shared.daily.build import record
from shared.daily.evolve import Evolution
from shared.daily.live import RECYCLE, Replacement
from shared.daily.receipt import of_adopted
from shared.db.postgres import Lock, LockPatience, at_once, await_lock, commit_later, end_stale_holders
from shared.errors import BusyError, DataError, IncompleteError
from shared.ledger import publications, receipts, snapshots
from shared.ledger.publications import Cause
from shared.names import ADOPTED, ObjectVersion, SnapshotId
from shared.services import Services
from shared.target import columns, tables

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
    BusyError when builds or readers leave no gap, TargetError when the table can't take children, or can't take the
    snapshot's columns.
    """
    parts = [(part.id, part.rows) for part in snapshots.named_parts(connection, table.name, snapshot)]
    ids = [id_ for id_, _ in parts if id_ is not None]
    rows = sum(rows for _, rows in parts)
    keep = cause == "rollback"
    if unless():
        return None
    with evolve.prepared(services, connection, table, ids, keep=keep) as evolution:
        started = time.monotonic()
        with connection.transaction():
            commit_later(connection)
            # View builds read the table for long. Waiting for them here keeps us out of the readers' queue.
            _await_builds(services, connection, table.name)
            if unless():
                return None
            _check_staged(connection, table.name, snapshot, ids)
            tables.refuse_unkept(connection, services.catalog.schema, table.name)
            if not evolution.is_like(evolve.compare(services, connection, table, ids, keep=keep)):
                raise BusyError("its columns were changed meanwhile", where=table.name)
            also()
            note = publications.published_as(connection, table.name, snapshot, rows, cause)
            replacements, publication = _change(services, connection, table, evolution, note)
            for build in evolution.builds:
                record(connection, build, {**build.publications, table.name: publication})
    seconds = round(time.monotonic() - started, 3)
    log.info("snapshot published", publication=publication, rows=rows, cause=cause, seconds=seconds)
    live.tell(replacements)
    if evolution.changes:
        _tell(evolution)
        extend_parts(services, connection, table)
    _analyze(connection, tables.relation(services.catalog.schema, table.name))
    return publication


def add_columns(services: Services, connection: psycopg.Connection, table: Table) -> dict[str, str]:
    """Give the table the catalog's columns that it lacks, empty, and its present children with it; those columns."""
    parent = tables.relation(services.catalog.schema, table.name)
    wanted = columns.of_catalog(table)
    with connection.transaction():
        _await_builds(services, connection, table.name)
        present = columns.of_relation(connection, services.catalog.schema, table.name)
        added = {name: type_ for name, type_ in wanted.items() if name not in present}
        if added:
            _lock_out_readers(connection, parent, columns.extended(parent, present, wanted))
    extend_parts(services, connection, table)
    return added


def extend_parts(services: Services, connection: psycopg.Connection, table: Table) -> None:
    """Give the parts that are staged, or kept for the way back, the columns of the catalog that they lack.

    One that is in use keeps its columns for now: what publishes it adds them.
    """
    wanted = columns.of_catalog(table)
    staged = tables.unattached(connection, services.catalog.schema, table.name)
    for id_, present in columns.of_parts(connection, staged).items():
        try:
            columns.add(connection, tables.child(id_), present, wanted)
        except psycopg.Error as e:
            log.warning("a part keeps its columns for now", id=id_, sqlstate=e.sqlstate)


def _change(
    services: Services, connection: psycopg.Connection, table: Table, evolution: Evolution, note: sql.Composable
) -> tuple[Sequence[Replacement], int]:
    """Give the table its new children, columns and views, and `note` that; the views that were replaced, and the number
    that it was noted by.
    """
    parent = tables.relation(services.catalog.schema, table.name)
    adopted = _adopt(services, connection, table)
    replacements = [live.prepare(services, connection, build) for build in evolution.builds]
    children = tables.children(connection, services.catalog.schema, table.name)
    *found, rest, noted = _lock_out_readers(
        connection,
        parent,
        [
            *live.replaced(services, connection, replacements),
            *live.dropped(services, replacements),
            *_changed_children(parent, children, evolution),
            *([sql.SQL("TRUNCATE ONLY {}").format(parent)] if adopted else []),
            _own_rows(parent),
            note,
        ],
    )
    live.check(replacements, found)
    live.forget_old(connection, replacements)
    if rest == [(True,)]:
        raise BusyError(
            "rows were written to it just now; before a first publish, they are adopted next time", where=table.name
        )
    return replacements, noted[0][0]


def _check_staged(connection: psycopg.Connection, table: str, snapshot: SnapshotId, ids: Sequence[int]) -> None:
    """Raise IncompleteError when parts were dropped before the lock was ours, under which nobody drops any."""
    if [part.id for part in snapshots.named_parts(connection, table, snapshot)] != list(ids):
        raise IncompleteError("parts of it were dropped just now: import it again", where=f"{table} {snapshot}")


def _changed_children(
    parent: sql.Identifier, children: Sequence[sql.Identifier], evolution: Evolution
) -> list[sql.Composed]:
    """The statements that take the table's present children from it and give it the new ones. No child is dropped here:
    that would take long.

    In between, the columns change: of a table that has no children, and no rows unless it only gets more columns.
    """
    wanted = evolution.changes.columns
    lacking = [columns.extended(child, present, wanted) for child, present in evolution.lacking()]
    return [
        *(sql.SQL("ALTER TABLE {} NO INHERIT {}").format(old, parent) for old in children),
        *columns.altered(parent, evolution.changes),
        *chain.from_iterable(lacking),
        *(sql.SQL("ALTER TABLE {} INHERIT {}").format(tables.child(id_), parent) for id_ in evolution.parts),
    ]


def _tell(evolution: Evolution) -> None:
    changes = evolution.changes
    log.warning(
        f"columns changed: {RECYCLE}",
        added=list(changes.added),
        dropped=changes.dropped,
        retyped=dict(changes.retyped),
    )


def _await_builds(services: Services, connection: psycopg.Connection, table: str) -> None:
    lock = Lock.publication(table)
    try:
        await_lock(connection, lock, BUILDS_PATIENCE)
    except BusyError:
        end_stale_holders(connection, lock)
        raise


def _lock_out_readers(
    connection: psycopg.Connection, parent: sql.Identifier, statements: Sequence[sql.Composable]
) -> list[list[TupleRow]]:
    """Take the table from its readers and execute the statements, in tries so short that no reader stalls for long; the
    rows of each that gives any. Until the commit readers wait, and a round trip is long, so it is all one message.

    Should this worker freeze while it holds the lock, the server ends the transaction after a second.
    """
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1s'")
    patience = LockPatience(READERS_PATIENCE)
    while True:
        queues = patience.tries >= TRIES_WITHOUT_QUEUE
        try:
            with connection.transaction():
                # 1 ms is hardly a queue at all.
                wait = sql.SQL("SET LOCAL lock_timeout = {}").format(f"{STALL_MS if queues else 1}ms")
                nowait = sql.SQL("" if queues else "NOWAIT")
                lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE {}").format(parent, nowait)
                then = sql.SQL("SET LOCAL lock_timeout = {}").format(f"{STALL_MS}ms")
                return at_once(connection, [wait, lock, then, *statements])
        except (pg.LockNotAvailable, pg.InternalError_) as e:
            # PostgreSQL has no state of its own for a tuple of its catalog that a GRANT is just changing.
            if isinstance(e, pg.InternalError_) and e.sqlstate != "XX000":
                raise
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


def _own_rows(parent: sql.Identifier) -> sql.Composed:
    """The query whether the table itself holds rows."""
    return sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(parent)


def _adopt(services: Services, connection: psycopg.Connection, table: Table) -> bool:
    """On the first publish over a filled table, keep its own rows as snapshot 0, so that there is a way back.

    Whether there were any. Writers are locked out until the publish commits; readers go on. Raises DataError when
    readers have seen a snapshot: what came after is somebody's to answer for, and would be taken from the readers.
    """
    parent = tables.relation(services.catalog.schema, table.name)
    if connection.execute(_own_rows(parent)).fetchone() != (True,):
        return False
    version = ObjectVersion("", f"{services.catalog.schema}.{table.name}", 0)
    first = publications.published(connection, table.name) is None
    part_id = snapshots.claim_part(connection, table.name, ADOPTED, version) if first else None
    if part_id is None:
        raise DataError(
            "holds rows of its own again: they were written to it after its first publish",
            where=version.name,
            remedy=f"Find out who writes to it, and TRUNCATE ONLY it; then: recosync import {table.name}",
        )
    connection.execute("SET LOCAL lock_timeout = '30s'")
    connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(parent))
    tables.create_child(connection, services.catalog.schema, table, part_id)
    present = columns.of_relation(connection, services.catalog.schema, table.name)
    held = columns.of_parts(connection, [part_id])[part_id]
    names = sql.SQL(", ").join(sql.Identifier(name) for name in held if name in present)
    rows = connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM ONLY {}").format(tables.child(part_id), names, names, parent)
    ).rowcount
    tables.drop_defaults(connection, part_id)
    receipt = of_adopted(connection, table, tables.child(part_id))
    snapshots.finish_part(connection, part_id, 0.0, None, receipt.postgresql)
    columns_now = [{"name": c.name, "type": c.type.sql, "postgresql": c.type.sql} for c in table.columns]
    stated = snapshots.Snapshot(None, rows)
    snapshots.record(connection, table.name, ADOPTED, stated, columns_now, [(version, rows)])
    receipts.keep(connection, table.name, ADOPTED, receipt)
    log.info("table adopted", rows=rows)
    return True
