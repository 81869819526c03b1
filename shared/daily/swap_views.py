"""Swap views: the builds take the live views' places, all in one transaction that holds readers up for a few ms."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg import errors as pg

from shared import log
from shared.daily import live
from shared.daily.build import Build, record
from shared.daily.context import DailyRun
from shared.daily.live import Replacement
from shared.db.locks import LockPatience
from shared.db.postgres import COMMIT_LATER, at_once, make_durable
from shared.db.session import LOCK_TIMEOUT_MS
from shared.errors import BusyError

#: Seconds to wait for a gap between a view's readers.
READERS_PATIENCE = 60

#: Tries in which readers hardly queue, before those that make them queue for LOCK_TIMEOUT_MS.
SHORT_TRIES = 50


def swap(run: DailyRun, builds: Sequence[Build]) -> None:
    """Replace the live views by the builds, all in one transaction that holds each reader up for a few ms."""
    patience = LockPatience(READERS_PATIENCE, run.connection, [run.relation(build.view) for build in builds])
    where = ", ".join(build.view.name for build in builds)
    started = time.monotonic()
    with run.connection.transaction():
        # Nobody queues behind a look, so whoever changes a live view just now is waited for.
        run.connection.execute("SET LOCAL lock_timeout = '10s'")
        for build in builds:
            live.pass_on(run, build)  # an index that came meanwhile takes long to make
    while True:
        try:
            with run.connection.transaction():
                # 1 ms is hardly a queue at all; readers that never leave a gap are met with the longest wait allowed.
                wait = 1 if patience.tries < SHORT_TRIES else LOCK_TIMEOUT_MS
                run.connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{wait}ms"])
                # Should this worker freeze with the locks in hand, the server ends the transaction after a second.
                run.connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1s'")
                record(run, builds)
                replacements = [live.prepare(run, build) for build in builds]
                live.check(replacements, at_once(run.connection, [*live.replaced(run, replacements), COMMIT_LATER]))
            break
        except (pg.LockNotAvailable, pg.InternalError_, BusyError) as e:
            # PostgreSQL has no state of its own for a tuple of its catalog that a GRANT is just changing.
            if isinstance(e, pg.InternalError_) and e.sqlstate != "XX000":
                raise
            patience.again(e, where)
    live.tell(replacements)
    log.info("views swapped", views=where, tries=patience.tries + 1, seconds=round(time.monotonic() - started, 3))
    make_durable(run.connection)
    _drop_old(run, replacements)


def _drop_old(run: DailyRun, replacements: Sequence[Replacement]) -> None:
    """Drop the old views in a transaction of its own: one that drops files waits for the disk before it lets its locks
    go, and nobody waits for these.
    """
    try:
        with run.connection.transaction():
            run.connection.execute("SET LOCAL lock_timeout = '10s'")
            for statement in live.dropped(run, replacements):
                run.connection.execute(statement)
            live.forget_old(run.connection, replacements)
    except psycopg.Error as e:
        log.warning("replaced views are left for the next refresh to drop", sqlstate=e.sqlstate)
