"""Swap: the one transaction that changes which snapshot of a table readers see.

Readers see all of the old snapshot or all of the new one, and never wait for longer than 25 ms at a time. If the new
snapshot has other columns, the same transaction changes the table's columns, and the views that use them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from shared import log
from shared.daily import evolve, live
from shared.daily.build import record
from shared.daily.context import TableRun
from shared.daily.evolve import Evolution
from shared.daily.live import RECYCLE, Replacement
from shared.daily.receipt import of_adopted
from shared.db.locks import Lock, LockPatience, await_lock, end_stale_holders
from shared.db.postgres import COMMIT_LATER, at_once
from shared.db.session import LOCK_TIMEOUT_MS
from shared.errors import BusyError, DataError, IncompleteError, TargetError
from shared.ledger import publications, receipts, snapshots
from shared.ledger.publications import Cause
from shared.names import ADOPTED, ObjectVersion, SnapshotId
from shared.target import columns, tables

#: Seconds that a publish waits for view builds of the table to end, and then for a gap between its readers.
BUILDS_PATIENCE = 120
READERS_PATIENCE = 40

#: Should a worker freeze while it holds the lock, the server ends its transaction after a second.
FREEZE = sql.SQL("SET LOCAL idle_in_transaction_session_timeout = '1s'")

#: Tries that do not queue at all, before those that make readers queue for LOCK_TIMEOUT_MS.
TRIES_WITHOUT_QUEUE = 100


class Swap:
    """The swap of one staged snapshot, while no other publish of its table and no build of its views is under way."""

    def __init__(self, run: TableRun, snapshot: SnapshotId, evolution: Evolution) -> None:
        self._run, self._snapshot, self._evolution = run, snapshot, evolution
        self._replacements: Sequence[Replacement] = ()
        self.publication: int | None = None
        self._rows, self._cause = 0, ""

    def publish(self, cause: Cause) -> None:
        """Show readers the snapshot; its `publication` has a number then.

        Raises BusyError when readers leave no gap, or the columns were changed meanwhile; IncompleteError when parts of
        the snapshot were dropped, TargetError when the table can't take children.
        """
        run, evolution = self._run, self._evolution
        connection, name = run.connection, run.table.name
        parts = snapshots.named_parts(connection, name, self._snapshot)
        # Nobody drops a part of a table whose publication is locked.
        if [part.id for part in parts] != list(evolution.parts):
            raise IncompleteError(
                "parts of it were dropped just now: import it again", where=f"{name} {self._snapshot}"
            )
        tables.refuse_unkept(connection, run.schema, name)
        if not evolution.is_like(evolve.compare(run, list(evolution.parts), keep=evolution.keep)):
            raise BusyError("its columns were changed meanwhile", where=name)
        self._rows, self._cause = sum(part.rows for part in parts), cause
        note = publications.published_as(connection, name, self._snapshot, self._rows, cause)
        self._replacements, self.publication = _change(run, evolution, note)
        held = {name: self.publication}
        record(run, [replace(build, publications={**build.publications, **held}) for build in evolution.builds])

    def tell(self, seconds: float) -> None:
        """Log what an operator has to know of the swap, once it is committed."""
        done = {"publication": self.publication, "rows": self._rows, "cause": self._cause, "seconds": seconds}
        log.info("snapshot published", **done)
        live.tell(self._replacements)
        if self._evolution.changes:
            _tell(self._evolution)
            extend_parts(self._run)


@contextmanager
def exclusive(run: TableRun, snapshot: SnapshotId, *, keep: bool = False) -> Iterator[Swap]:
    """A transaction in which the staged snapshot may be swapped in. What readers see, and who is held, is asked for
    inside: it stays so until the commit.

    All slow work is done before it. With `keep`, columns that the snapshot does not have stay. Raises BusyError when
    builds of the views don't end, TargetError when the table can't take the snapshot's columns.
    """
    parts = snapshots.named_parts(run.connection, run.table.name, snapshot)
    with evolve.prepared(run, [part.id for part in parts if part.id is not None], keep=keep) as evolution:
        swap, started = Swap(run, snapshot, evolution), time.monotonic()
        with run.connection.transaction():
            # View builds read the table for long. Waiting for them here keeps us out of the readers' queue.
            _await_builds(run)
            yield swap
    if swap.publication is not None:
        seconds = round(time.monotonic() - started, 3)
        swap.tell(seconds)


def analyze(run: TableRun) -> None:
    """Renew the statistics of the table's whole tree: the table has statistics of its own, and autovacuum never makes
    them.

    Even if that fails, the snapshot is published.
    """
    try:
        # One message is one transaction.
        at_once(run.connection, [sql.SQL("SET LOCAL lock_timeout = '10s'"), sql.SQL("ANALYZE {}").format(run.parent)])
    except psycopg.Error as e:
        log.warning("statistics not renewed", sqlstate=e.sqlstate)


def add_columns(run: TableRun) -> dict[str, str]:
    """Add to the table, and to its present children, the catalog's columns that the table lacks, empty;
    those columns.
    """
    parent = run.parent
    wanted = columns.of_catalog(run.table)
    with run.connection.transaction():
        _await_builds(run)
        present = columns.of_relation(run.connection, run.schema, run.table.name)
        added = {name: type_ for name, type_ in wanted.items() if name not in present}
        if added:
            _lock_out_readers(run, columns.extended(parent, present, wanted))
    extend_parts(run)
    return added


def extend_parts(run: TableRun) -> None:
    """Add to the parts that are staged, or kept for a rollback, the columns of the catalog that they lack.

    A part that is in use keeps its columns for now: the publish that attaches it adds them.
    """
    wanted = columns.of_catalog(run.table)
    staged = tables.unattached(run.connection, run.schema, run.table.name)
    for id_, present in columns.of_parts(run.connection, staged).items():
        try:
            columns.add(run.connection, tables.child(id_), present, wanted)
        except psycopg.Error as e:
            log.warning("a part keeps its columns for now", id=id_, sqlstate=e.sqlstate)


def _change(run: TableRun, evolution: Evolution, note: sql.Composable) -> tuple[Sequence[Replacement], int]:
    """Give the table its new children, columns and views, and `note` that; the views that were replaced, and the number
    that it was noted by.
    """
    parent = run.parent
    adopted = _adopt(run)
    replacements = [live.prepare(run, build) for build in evolution.builds]
    children = tables.children(run.connection, run.schema, run.table.name)
    *found, rest, noted = _lock_out_readers(
        run,
        [
            *live.replaced(run, replacements),
            *live.dropped(run, replacements),
            *_changed_children(parent, children, evolution),
            *([sql.SQL("TRUNCATE ONLY {}").format(parent)] if adopted else []),
            _own_rows(parent),
            note,
            COMMIT_LATER,
        ],
    )
    live.check(replacements, found)
    live.forget_old(run.connection, replacements)
    if rest == [(True,)]:
        raise BusyError(
            "rows were written to it just now; if nothing was published before, the next try adopts them",
            where=run.table.name,
        )
    return replacements, noted[0][0]


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


def _await_builds(run: TableRun) -> None:
    lock = Lock.publication(run.table.name)
    try:
        await_lock(run.connection, lock, BUILDS_PATIENCE)
    except BusyError:
        end_stale_holders(run.connection, lock)
        raise


def _lock_out_readers(run: TableRun, statements: Sequence[sql.Composable]) -> list[list[TupleRow]]:
    """Take the table from its readers and execute the statements, in tries so short that no reader stalls for long; the
    rows of each that gives any. Until the commit readers wait, and a round trip is long, so it is all one message.
    """
    patience = LockPatience(READERS_PATIENCE, run.connection, [run.parent])
    while True:
        queues = patience.tries >= TRIES_WITHOUT_QUEUE
        try:
            with run.connection.transaction():
                # 1 ms is hardly a queue at all.
                wait = sql.SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_TIMEOUT_MS if queues else 1}ms")
                nowait = sql.SQL("" if queues else "NOWAIT")
                lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE {}").format(run.parent, nowait)
                then = sql.SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_TIMEOUT_MS}ms")
                return at_once(run.connection, [wait, lock, then, FREEZE, *statements])
        except (pg.LockNotAvailable, pg.InternalError_) as e:
            # PostgreSQL has no state of its own for a tuple of its catalog that a GRANT is just changing.
            if isinstance(e, pg.InternalError_) and e.sqlstate != "XX000":
                raise
            run.connection.execute(FREEZE)  # the try took it back, and others wait for us in the pauses too
            patience.again(e, run.where)


def _own_rows(parent: sql.Identifier) -> sql.Composed:
    """The query whether the table itself holds rows."""
    return sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(parent)


def _adopt(run: TableRun) -> bool:
    """On the first publish over a filled table, keep its own rows as snapshot 0, so that there is a way back.

    Whether there were any. Writers are locked out until the publish commits; readers go on. Raises DataError when
    readers have seen a snapshot: what came after is somebody's to answer for, and would be taken from the readers.
    """
    parent = run.parent
    if run.connection.execute(_own_rows(parent)).fetchone() != (True,):
        return False
    version = ObjectVersion("", run.where, 0)
    first = publications.published(run.connection, run.table.name) is None
    part_id = snapshots.claim_part(run.connection, run.table.name, ADOPTED, version) if first else None
    if part_id is None:
        raise DataError(
            "holds rows of its own again: they were written to it after its first publish",
            where=version.name,
            remedy=f"Find out who writes to it, and TRUNCATE ONLY it; then: recosync import {run.table.name}",
        )
    run.connection.execute("SET LOCAL lock_timeout = '30s'")
    run.connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(parent))
    _, filled = tables.create_child(run.connection, run.schema, run.table, part_id)
    present = columns.of_relation(run.connection, run.schema, run.table.name)
    held = columns.of_parts(run.connection, [part_id])[part_id]
    names = sql.SQL(", ").join(sql.Identifier(name) for name in held if name in present)
    copied = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM ONLY {}")
    try:
        rows = run.connection.execute(copied.format(tables.child(part_id), names, names, parent)).rowcount
    except (pg.CheckViolation, pg.NotNullViolation) as e:
        broken = e.diag.constraint_name or f"NOT NULL of {e.diag.column_name}"
        raise TargetError(
            f"rows that stand in it break its own constraint {broken}, which never was valid",
            where=version.name,
            remedy="Mend or delete them, or drop the constraint",
        ) from e
    tables.drop_defaults(run.connection, part_id, filled)
    receipt = of_adopted(run, tables.child(part_id))
    run.connection.execute(snapshots.finished(run.connection, part_id, 0.0, None, receipt.postgresql))
    columns_now = [{"name": c.name, "type": c.type.sql, "postgresql": c.type.sql} for c in run.table.columns]
    stated = snapshots.Snapshot(None, rows, columns=columns_now)
    snapshots.record(run.connection, run.table.name, ADOPTED, stated, [(version, rows)])
    receipts.keep(run.connection, run.table.name, ADOPTED, receipt)
    log.info("table adopted", rows=rows)
    return True
