"""Refresh: rebuild the views that read a published table beside the live ones, then swap them all at once.

Readers keep the old views until the swap, which takes a few ms. A view is labelled with the publication it was built
from, read under the lock that keeps a publish away, so it never claims to hold what it does not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import View
from shared.daily.services import Services
from shared.daily.templates import Rendered, render, timestamp
from shared.db import ledger, queries, target
from shared.db.postgres import (
    Lock,
    Patience,
    await_shared_lock,
    connect,
    end_stale_holders,
    lock_or_busy,
    session_locks,
    translated,
    try_lock,
)
from shared.errors import BusyError, PermanentError, RetryableError, SyncError, TargetError
from shared.names import MAX_IDENTIFIER_BYTES

#: Seconds to wait for a publish of the table to end, for a place to build in, and for a gap between a view's readers.
PUBLISH_PATIENCE = 60
SLOT_PATIENCE = 120
READERS_PATIENCE = 60

#: Connections that build the indexes of one view.
INDEX_WORKERS = 2

#: A build's connection. Its memory is bounded, so as not to starve the API's reads; nobody queues behind its locks,
#: so it may wait for an autovacuum of the new view.
BUILD_SETTINGS = {
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_parallel_maintenance_workers": "1",
    "lock_timeout": "60s",
}

_NAME_TOO_LONG = "42622"


@dataclass(frozen=True)
class Build:
    """A view built beside the live one: its name, the publication of each table it read, and how long it took."""

    view: View
    name: str
    publications: dict[str, int]
    seconds: float


def refresh(services: Services, table: str, publication: int) -> str:
    """Bring the views that read the table to that publication or a later one; say in a word what was done.

    Raises BusyError while another worker builds one of them, and PermanentError, already recorded in the ledger, when a
    template, the target or a foreign dependant forbids it: then the old views stand as they were.
    """
    with (
        log.bound(table=table),
        connect(services.settings, "mv_refresh") as connection,
        session_locks(connection),
        translated(f"refreshing the views of {table}"),
    ):
        ledger.migrate(connection)
        published = ledger.published(connection, table)
        snapshot = published.snapshot if published else None
        try:
            with log.bound(snapshot=snapshot), translated(f"refreshing the views of {table}"):
                if published is None or published.number < publication or table not in services.catalog.tables:
                    # The message is sent after the commit, so this is another database, or another catalog.
                    raise TargetError(
                        f"publication {publication} of it is unknown here",
                        where=table,
                        remedy="Check DATABASE_URL and the catalog",
                    )
                return _refresh(services, connection, table)
        except PermanentError as e:
            ledger.record_failure(connection, e, f"publication {publication}", table, snapshot)
            raise


def _refresh(services: Services, connection: psycopg.Connection, table: str) -> str:
    views = services.catalog.views_of(table)
    for view in views:
        lock_or_busy(connection, Lock.view(view.name), services.settings, session=True)
    reads = sorted({name for view in views for name in view.reads})
    for name in reads:
        await_shared_lock(connection, Lock.publication(name), PUBLISH_PATIENCE)
    current = _publications(connection, reads)
    # A view that also reads a table without a publication is refreshed when that comes.
    ready = [view for view in views if current.keys() >= set(view.reads)]
    outdated = [view for view in ready if _outdated(services, connection, view, current)]
    if not outdated:
        return "fresh"
    for view in outdated:
        _clear(services, connection, view)
    builds = _build_all(services, connection, outdated, current)
    try:
        _swap(services, connection, builds)
    except (SyncError, psycopg.Error):
        _drop(services, connection, builds)
        raise
    return "refreshed"


def _publications(connection: psycopg.Connection, tables: Sequence[str]) -> dict[str, int]:
    """What readers see of each table that is published."""
    found = {table: ledger.published(connection, table) for table in tables}
    return {table: publication.number for table, publication in found.items() if publication is not None}


def _outdated(services: Services, connection: psycopg.Connection, view: View, current: dict[str, int]) -> bool:
    if _one(connection, "view_kind", _relation(services, view.name)) is None:
        return True  # whatever the ledger says: somebody dropped it
    held = ledger.view_publications(connection, view.name)
    return any(held.get(table, 0) < current[table] for table in view.reads)


def _clear(services: Services, connection: psycopg.Connection, view: View) -> None:
    """Refuse what the swap could not do, and drop what a killed build left behind."""
    live = _relation(services, view.name)
    kind = _one(connection, "view_kind", live)
    if kind not in (None, "m"):
        raise TargetError("is no materialized view", where=view.name, remedy="Rename it, or the catalog's entry")
    _refuse_dependants(connection, live, view)
    if _one(connection, "old_readers", live):
        # The swap would find no gap, and the build would be for nothing.
        raise BusyError(f"a transaction older than {READERS_PATIENCE} s reads it", where=view.name)
    for leftover in ledger.leftover_builds(connection, view.name):
        with connection.transaction():
            connection.execute(_drop_statement(services, leftover))
            ledger.forget_building(connection, leftover)
        log.warning("dropped what a killed build left", build=leftover)


def _build_all(
    services: Services, connection: psycopg.Connection, views: Sequence[View], current: dict[str, int]
) -> list[Build]:
    """Build the views side by side; when one fails, drop the others and raise its error."""
    with ThreadPoolExecutor(len(views)) as executor:
        futures = [log.submit(executor, _build, services, view, current) for view in views]
    errors = [error for future in futures if (error := future.exception()) is not None]
    builds = [future.result() for future in futures if future.exception() is None]
    if errors:
        _drop(services, connection, builds)
        # A retryable one first: the retry settles which of the others are permanent.
        raise next((error for error in errors if isinstance(error, RetryableError)), errors[0])
    return builds


def _build(services: Services, view: View, current: dict[str, int]) -> Build:
    """Build one view, in one of the places for builds."""
    with (
        log.bound(view=view.name),
        translated(f"building {view.name}"),
        _builder(services, view) as builder,
    ):
        _take_slot(builder.connection, services)
        started = time.monotonic()
        rendered = render(view, timestamp(datetime.now(UTC)))
        try:
            _fill(services, builder, view, rendered, current)
            _index(services, view, rendered.indexes)
            build = _relation(services, rendered.build)
            builder.connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(build))
        except (SyncError, psycopg.Error):
            with connect(services.settings, "mv_refresh") as other:
                _forget(services, other, rendered.build)
            raise
        seconds = time.monotonic() - started
        log.info("view built", seconds=round(seconds, 3))
        return Build(view, rendered.build, {name: current[name] for name in view.reads}, seconds)


def _fill(services: Services, builder: _Builder, view: View, rendered: Rendered, current: dict[str, int]) -> None:
    """Create the view and fill it, in one transaction that says which publication it holds.

    REFRESH freezes its rows, which CREATE … AS does not: transactions older than the swap would read an empty view.
    """
    connection = builder.connection
    with connection.transaction():
        for table in view.reads:
            parent = target.relation(services.catalog.schema, table)
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(parent))
        if _publications(connection, view.reads) != {name: current[name] for name in view.reads}:
            raise BusyError("its tables were published meanwhile", where=view.name)
        ledger.start_building(connection, rendered.build, view.name)
        builder.execute(rendered.create)
        build = _relation(services, rendered.build)
        if _one(connection, "view_kind", build) != "m":
            raise TargetError(
                "does not create {{ view | identifier }}",
                where=f"template {view.template.name}",
                remedy="Correct it",
            )
        connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(build))


def _index(services: Services, view: View, statements: Sequence[LiteralString]) -> None:
    """Make the indexes over a few connections, the slowest first."""

    def make(statement: LiteralString) -> None:
        with translated(f"indexing {view.name}"), _builder(services, view) as builder:
            builder.execute(statement)

    with ThreadPoolExecutor(INDEX_WORKERS) as executor:
        for made in [log.submit(executor, make, statement) for statement in statements]:
            made.result()


def _swap(services: Services, connection: psycopg.Connection, builds: Sequence[Build]) -> None:
    """Replace the live views by the builds, all in one transaction that holds each reader up for a few ms."""
    patience = Patience(READERS_PATIENCE)
    where = ", ".join(build.view.name for build in builds)
    started = time.monotonic()
    while True:
        try:
            with connection.transaction():
                # 1 ms is hardly a queue at all; readers that never leave a gap are met with the longest stall allowed.
                wait = 1 if patience.tries < 50 else 25
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{wait}ms"])
                # Should this worker freeze with the locks in hand, the server ends the transaction after a second.
                connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1s'")
                for build in builds:
                    _replace(services, connection, build)
            break
        except pg.LockNotAvailable as e:
            patience.again(e, where)
            time.sleep(random.uniform(0, 0.005))  # noqa: S311 - to fall out of step with periodic readers
        except pg.DependentObjectsStillExist:
            for build in builds:
                _refuse_dependants(connection, _relation(services, build.view.name), build.view)
            raise
    log.info("views swapped", views=where, tries=patience.tries + 1, seconds=round(time.monotonic() - started, 3))


def _replace(services: Services, connection: psycopg.Connection, build: Build) -> None:
    live, new = _relation(services, build.view.name), _relation(services, build.name)
    if _one(connection, "view_kind", live) is not None:
        owner = str(_one(connection, "owner", live))
        if owner != _one(connection, "owner", new):
            connection.execute(sql.SQL("ALTER MATERIALIZED VIEW {} OWNER TO {}").format(new, sql.Identifier(owner)))
        # Default privileges gave the new one what was taken from the live one.
        for grantee in {grantee for grantee, *_ in _grants(connection, new)}:
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(new, _role(grantee)))
    for grantee, privilege, grantable, column in _grants(connection, live):
        connection.execute(
            sql.SQL("GRANT {}{} ON {} TO {}{}").format(
                sql.SQL(privilege),  # one of the server's own keywords, from its own catalog
                sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL(""),
                new,
                _role(grantee),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )
    connection.execute(sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(live))
    connection.execute(sql.SQL("ALTER MATERIALIZED VIEW {} RENAME TO {}").format(new, sql.Identifier(build.view.name)))
    ledger.forget_building(connection, build.name)
    ledger.record_view_build(connection, build.view.name, build.publications, build.seconds)


def _grants(
    connection: psycopg.Connection, view: sql.Identifier
) -> list[tuple[str | None, LiteralString, bool, str | None]]:
    """Grantee (None is everybody), privilege, whether it may be passed on, and the column if it is for one."""
    return connection.execute(queries.load("target")["grants"], {"view": view.as_string(connection)}).fetchall()


def _role(grantee: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)


def _refuse_dependants(connection: psycopg.Connection, live: sql.Identifier, view: View) -> None:
    rows = connection.execute(
        queries.load("target")["view_dependants"], {"view": live.as_string(connection)}
    ).fetchall()
    if rows:
        raise TargetError(
            f"other objects depend on it: {', '.join(name for (name,) in rows)}",
            where=view.name,
            remedy="Drop them, or make them read the tables instead",
        )


def _drop(services: Services, connection: psycopg.Connection, builds: Sequence[Build]) -> None:
    for build in builds:
        _forget(services, connection, build.name)


def _forget(services: Services, connection: psycopg.Connection, build: str) -> None:
    """Drop a build. What can't be dropped now is in the ledger, and the next build of the view drops it."""
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(_drop_statement(services, build))
            ledger.forget_building(connection, build)
    except psycopg.Error as e:
        log.warning("a failed build is left for the next one to drop", build=build, sqlstate=e.sqlstate)


def _drop_statement(services: Services, build: str) -> sql.Composed:
    return sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(_relation(services, build))


class _Builder:
    """A connection for a build, that refuses a statement in which PostgreSQL would cut a name off.

    The server only notices that (https://www.postgresql.org/docs/current/sql-syntax-lexical.html), and two builds would
    collide on what is left of the name.
    """

    def __init__(self, connection: psycopg.Connection, view: View) -> None:
        self.connection, self._view = connection, view
        self._cut: list[str] = []
        connection.add_notice_handler(self._notice)

    def execute(self, statement: LiteralString) -> None:
        self.connection.execute(statement)
        if self._cut:
            raise TargetError(
                f"has a name over {MAX_IDENTIFIER_BYTES} bytes: {self._cut[0]}",
                where=f"template {self._view.template.name}",
                remedy="Shorten it",
            )

    def _notice(self, diagnostic: pg.Diagnostic) -> None:
        if diagnostic.sqlstate == _NAME_TOO_LONG:
            self._cut.append(diagnostic.message_primary or "")


@contextmanager
def _builder(services: Services, view: View) -> Iterator[_Builder]:
    """A connection with bounded memory and the catalog's schema first."""
    with connect(services.settings, f"mv_refresh {view.name}") as connection:
        connection.execute(
            "SELECT set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), false)",
            [services.catalog.schema],
        )
        for name, value in BUILD_SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        yield _Builder(connection, view)


def _take_slot(connection: psycopg.Connection, services: Services) -> None:
    """Take one of the places for builds, over all instances, until the connection closes."""
    slots = [Lock.build(slot) for slot in range(services.settings.max_builds)]
    deadline = time.monotonic() + SLOT_PATIENCE
    while not any(try_lock(connection, slot, session=True) for slot in slots):
        if time.monotonic() > deadline:
            raise BusyError(f"{len(slots)} other views are being built")
        for slot in slots:
            end_stale_holders(connection, slot, services.settings)
        time.sleep(0.5)


def _relation(services: Services, name: str) -> sql.Identifier:
    return target.relation(services.catalog.schema, name)


def _one(connection: psycopg.Connection, query: str, relation: sql.Identifier) -> object:
    values = {"view": relation.as_string(connection), "age": READERS_PATIENCE}
    row = connection.execute(queries.load("target")[query], values).fetchone()
    return None if row is None else row[0]
