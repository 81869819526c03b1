"""Housekeeping: drop what nobody needs any more, a set time after it came.

These stay: what readers see, what a rollback would go back to, and what waits for a human. Each part is dropped in a
transaction of its own, which looks a second time whether the part is due, and hardly waits. A part that can't be
dropped now is left to the next run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import psycopg

from shared import log
from shared.daily import build
from shared.daily.context import DailyRun
from shared.daily.names import SnapshotTable
from shared.db import queries
from shared.db.locks import Lock, end_stale_holders, session_locks, try_lock
from shared.db.postgres import connect, translated
from shared.errors import SyncError
from shared.hourly.names import BatchTable
from shared.ledger import migrations, standing, view_builds
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import ADOPTED, ObjectVersion, SnapshotId, TableRef
from shared.services import Services
from shared.target import tables

#: Snapshots besides the published one that stay staged: as far as a rollback can go back.
KEEP = 2

#: How long the ledger tells of export calls, of failures, and of snapshots that can't come back.
HISTORY = timedelta(days=90)

#: The wait for a table that is to be dropped. Nobody queues behind it: what is dropped has no readers to come.
LOCK_WAIT_MS = 500

#: What is dropped; docs/reference.md#bq_export says what each kind is.
type Kind = Literal["builds", "stand_ins", "parts", "temporary_tables", "ledger_rows"]


@dataclass(frozen=True)
class StagedPart:
    """A part that stands in PostgreSQL. `attached`: readers see it. `publication` is the last of its snapshot, which
    `stands` where that says.
    """

    id: int
    table: str
    snapshot: SnapshotId
    version: ObjectVersion
    staged_at: datetime
    attached: bool
    publication: int | None
    stands: SnapshotStanding

    @property
    def needed(self) -> bool:
        """Whether it stays whatever its age: readers see it, or an operator went back to it."""
        return self.attached or self.stands.pinned == self.snapshot


def run(services: Services, now: datetime) -> Mapping[Kind, int | None] | None:
    """Drop what is due at `now`. The number of things dropped, by kind; None of a kind that failed. None while another
    run is at it.
    """
    with (
        connect(services.settings, "housekeeping") as connection,
        session_locks(connection),
        translated("beginning to drop what is old"),
    ):
        run = DailyRun(services, connection)
        migrations.prepare(connection, migrates=services.migrates)
        if not try_lock(connection, Lock.housekeeping(), session=True):
            end_stale_holders(connection, Lock.housekeeping())
            log.info("another call drops what is old")
            return None
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_WAIT_MS}ms"])
        before = now - services.settings.retention
        steps: Mapping[Kind, Callable[[], int]] = {
            "builds": lambda: _drop_builds(run),
            "stand_ins": lambda: _drop_stand_ins(connection),
            "parts": lambda: _drop_parts(run, before),
            "temporary_tables": lambda: _drop_temporary_tables(services, before),
            "ledger_rows": lambda: _forget(connection, now - HISTORY),
        }
        dropped = {kind: _logged(kind, step) for kind, step in steps.items()}
        if any(dropped.values()):
            log.info("dropped what was old", **dropped)
        return dropped


def due(parts: Iterable[StagedPart], before: datetime, *, known: bool) -> set[SnapshotId]:
    """The snapshots of one table that nobody needs: rejected ones, and those older than `before` that are of no use any
    more.

    A table that is not `known` to the catalog keeps no snapshot to go back to.
    """
    by_snapshot: defaultdict[SnapshotId, list[StagedPart]] = defaultdict(list)
    for part in parts:
        by_snapshot[part.snapshot].append(part)
    seen = _seen(by_snapshot)
    needed = _needed(seen, KEEP if known else 0)
    found = set()
    for snapshot, its in by_snapshot.items():
        if snapshot in needed or any(part.needed for part in its):
            continue
        state = its[0].stands.state
        waits = state is SnapshotState.HELD and known
        old = max(part.staged_at for part in its) < before
        if state is SnapshotState.REJECTED or (old and not waits):
            found.add(snapshot)
    return found


def _seen(by_snapshot: Mapping[SnapshotId, Sequence[StagedPart]]) -> list[SnapshotId]:
    """The snapshots that readers have seen, the last one first. The adopted one was there before any publish."""
    last = {snapshot: its[0].publication or 0 for snapshot, its in by_snapshot.items()}
    return sorted((s for s in last if last[s] or s == ADOPTED), key=lambda s: last[s], reverse=True)


def _needed(seen: Sequence[SnapshotId], keep: int) -> set[SnapshotId]:
    """What readers see, what they saw before it, and, after a rollback, what the next rollback would go to."""
    older = sorted((snapshot for snapshot in seen if snapshot < seen[0]), reverse=True)
    return {*seen[: 1 + keep], *older[:keep]}


def _drop_parts(run: DailyRun, before: datetime) -> int:
    _tell_keepers(run)
    tables: defaultdict[str, list[StagedPart]] = defaultdict(list)
    for part in _parts(run.connection, None):
        tables[part.table].append(part)
    dropped = 0
    for table, parts in tables.items():
        with log.bound(table=table):
            snapshots = due(parts, before, known=table in run.catalog.tables)
            wanted = [part for part in parts if part.snapshot in snapshots]
            gone = [part for part in wanted if _drop_part(run, part, before)]
            if len(gone) < len(wanted):
                log.warning("parts are left to the next run", parts=[p.id for p in wanted if p not in gone])
            dropped += len(gone)
    return dropped


def _tell_keepers(run: DailyRun) -> None:
    """Tell of views that read parts and that no refresh builds anew any more: the server keeps the parts for them."""
    own = run.catalog.views
    for schema, view in run.connection.execute(queries.load("housekeeping")["readers_of_stand_ins"]).fetchall():
        if view not in own:
            what, command = "a view that left the catalog", f"recosync drop {view}"
        elif own[view].schema != schema:
            what, command = f"a view that the catalog has in the schema {own[view].schema}", "recosync migrate"
        else:
            continue
        log.warning(f"{what} keeps old parts from being dropped: {command}", view=view)


def _drop_part(run: DailyRun, part: StagedPart, before: datetime) -> bool:
    """Drop one part, if it is still due where no publish can come in between; False when it has to stay for now."""
    connection = run.connection

    def drop() -> bool:
        # A publish holds this lock alone; the builds of views share it, and read nothing that has no parent.
        free = try_lock(connection, Lock.publication(part.table), shared=True)
        if not free or not try_lock(connection, Lock.part(part.version)):
            return False
        parts = _parts(connection, part.table)
        if part.snapshot not in due(parts, before, known=part.table in run.catalog.tables):
            return False
        tables.drop_child(connection, part.id)
        return True

    return _in_transaction(connection, drop)


def _parts(connection: psycopg.Connection, table: str | None) -> list[StagedPart]:
    rows = connection.execute(queries.load("housekeeping")["parts"], {"table": table}).fetchall()
    wanted = {(of, SnapshotId.parse(snapshot)) for _, of, snapshot, *_ in rows}
    stands = {(each.table, each.snapshot): each for each in standing.of_all(connection, wanted)}
    found = []
    for id_, of, text, bucket, name, generation, staged_at, attached, publication in rows:
        version, snapshot = ObjectVersion(bucket, name, generation), SnapshotId.parse(text)
        found.append(StagedPart(id_, of, snapshot, version, staged_at, attached, publication, stands[of, snapshot]))
    return found


def _drop_stand_ins(connection: psycopg.Connection) -> int:
    """Drop what builds read instead of a table, once nothing depends on it: it keeps parts from being dropped."""

    def drop(name: str) -> bool:
        build.drop_stand_in(connection, name)
        return True

    names = [name for (name,) in connection.execute(queries.load("housekeeping")["stand_ins"]).fetchall()]
    return sum(_in_transaction(connection, partial(drop, name)) for name in names)


def _drop_builds(run: DailyRun) -> int:
    """Drop what killed builds left of views that left the catalog: no refresh comes by that would."""
    dropped = 0
    for name, view in run.connection.execute(queries.load("housekeeping")["builds"]).fetchall():
        if view in run.catalog.views:
            continue
        with run.connection.transaction():
            if try_lock(run.connection, Lock.view(view)):
                build.drop(run, [name])
        dropped += name not in view_builds.leftovers(run.connection, view)
    return dropped


def _drop_temporary_tables(services: Services, before: datetime) -> int:
    """Drop what outlived its expiration, such as after the data set's defaults were changed by hand."""
    tables = services.bigquery.tables(services.settings.temporary_dataset)
    old = [ref for ref, created in tables if created < before and _is_ours(ref)]
    for ref in old:
        services.bigquery.drop(ref)
    return len(old)


def _is_ours(ref: TableRef) -> bool:
    return (SnapshotTable.parse(ref.table) or BatchTable.parse(ref.table)) is not None


def _forget(connection: psycopg.Connection, before: datetime) -> int:
    statements = queries.load("housekeeping")
    forgotten = sum(
        connection.execute(statements[name], {"before": before}).rowcount
        for name in ("forget_export_runs", "forget_attempts", "forget_failing", "forget_failures")
    )
    tables = [table for (table,) in connection.execute(statements["tables"]).fetchall()]
    return forgotten + sum(_forget_snapshots(connection, table, before) for table in tables)


def _forget_snapshots(connection: psycopg.Connection, table: str, before: datetime) -> int:
    """Forget the snapshots of a table that were long ago and can't come back, unless it is published just now."""
    statements, values = queries.load("housekeeping"), {"table": table, "before": before}
    with connection.transaction():
        if not try_lock(connection, Lock.publication(table), shared=True):
            return 0
        return sum(
            connection.execute(statements[name], values).rowcount for name in ("forget_snapshots", "forget_parts")
        )


def _in_transaction(connection: psycopg.Connection, step: Callable[[], bool]) -> bool:
    """Whether the step said yes and was committed; what the server refuses now, it may not refuse the next run."""
    try:
        with connection.transaction():
            return step()
    except psycopg.Error as e:
        if connection.broken:
            raise
        log.warning("left to the next run", sqlstate=e.sqlstate)
        return False


def _logged(kind: str, step: Callable[[], int]) -> int | None:
    """One kind's count; its failure leaves the other kinds alone."""
    try:
        with translated(f"dropping old {kind}"):
            return step()
    except SyncError as e:
        log.failure("housekeeping failed", e)
        return None
