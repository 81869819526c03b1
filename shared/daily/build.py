"""Build a view beside the live one: fill it, index it, and say which publications it holds.

Builds of several views run side by side, at most so many over all instances, each on connections of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log, trace
from shared.catalog import View
from shared.daily.context import DailyRun
from shared.daily.templates import Rendered, render, timestamp
from shared.daily.unreadable import located
from shared.db.locks import Lock, busy, end_stale_holders, tell, try_lock
from shared.db.postgres import connect, translated
from shared.db.session import find_names
from shared.errors import BusyError, RetryableError, SyncError, TargetError
from shared.ledger import publications, refreshed, view_builds
from shared.ledger.names import SCHEMA
from shared.ledger.refreshed import RefreshedView
from shared.ledger.view_builds import ViewBuild
from shared.names import MAX_IDENTIFIER_BYTES
from shared.services import Services
from shared.target import belongings, tables, views
from shared.target.belongings import Belonging, Heir

#: Seconds to wait for a place to build in, between two looks for one, and between two looks for frozen builds in them.
SLOT_PATIENCE = 120
SLOT_PAUSE = 0.05
STALE_PAUSE = 5

#: Connections that build the indexes of one view, the one that filled it among them.
INDEX_WORKERS = 2

#: A build's connection. Its memory is bounded, so as not to starve the API's reads, and small on purpose: sorts in runs
#: that fit the processor's cache, merged, take a sixth less time than sorts of everything at once. What is grouped is
#: sorted too, not hashed: the rows then lie in the order of the view's key, whose index has nothing left to sort.
#: Nobody queues behind a build's locks, so it may wait for an autovacuum of the new view.
SETTINGS = {
    "work_mem": "16MB",
    "enable_hashagg": "off",
    "maintenance_work_mem": "16MB",
    "max_parallel_maintenance_workers": "1",
    "lock_timeout": "60s",
}

#: While indexes are made: a GiST index that outgrows `effective_cache_size` is built through buffers
#: (https://www.postgresql.org/docs/current/gist.html#GIST-BUFFERING-BUILD), which takes a fifth less CPU even of one
#: that fits into memory. Queries are not to be planned by that.
INDEX_SETTINGS = {"effective_cache_size": "16MB"}

_NAME_TOO_LONG = "42622"


@dataclass(frozen=True)
class StandIn:
    """A query that views are built from in place of a table: it gives what the table is about to hold."""

    table: str
    query: sql.Composed


@dataclass(frozen=True)
class Build:
    """A view built beside the live one: its name, the publication of each table that it read, how long the build took,
    its rows, what its template states that others could have hung on the view, and the template's digest.
    """

    view: View
    name: str
    publications: Mapping[str, int]
    seconds: float
    rows: int
    stated: frozenset[str]
    template: str

    @property
    def stamp(self) -> str:
        """What the names of its indexes begin with."""
        return self.name.removesuffix(f"_{self.view.name}")


def build_all(
    run: DailyRun, wanted: Sequence[View], current: Mapping[str, int], stand_in: StandIn | None = None
) -> list[Build]:
    """Build the views from the `current` publications. When one fails, drop the others and raise its error.

    With a stand-in, the builds do not depend on the stand-in's table. Whoever publishes that table notes which
    publication of it they hold.
    """
    # No more than there are places: one of them would wait for another, and give up while that still builds.
    with ThreadPoolExecutor(min(len(wanted), run.settings.max_builds)) as executor:
        futures = [log.submit(executor, _build, run.services, view, current, stand_in) for view in wanted]
    errors = [error for future in futures if (error := future.exception()) is not None]
    builds = [future.result() for future in futures if future.exception() is None]
    if errors:
        drop(run, [build.name for build in builds])
        # A retryable one first: the retry settles which of the others are permanent.
        raise next((error for error in errors if isinstance(error, RetryableError)), errors[0])
    return builds


def record(run: DailyRun, builds: Sequence[Build]) -> None:
    """Note which publications readers of the views have from now on, and that somebody is to be told of that."""
    for build in builds:
        held = {table: ViewBuild(number, build.template) for table, number in build.publications.items()}
        view_builds.record(run.connection, build.view.name, held, build.seconds)
    if builds and run.settings.refreshed_topic is not None:
        standing = [RefreshedView(each.view.name, each.publications, each.rows, each.seconds) for each in builds]
        refreshed.owe(run.connection, standing, trace.current())


def drop(run: DailyRun, builds: Sequence[str], patience: str = "10s") -> None:
    """Drop builds that will never go live. A build that can't be dropped now is in the ledger, and the next build drops
    it.
    """
    for build in builds:
        try:
            with run.connection.transaction():
                run.connection.execute("SELECT set_config('lock_timeout', %s, true)", [patience])
                # Its view may have left the catalog since, or have another schema there.
                for relation in views.homes(run.connection, build):
                    views.drop(run.connection, relation)
                drop_stand_in(run.connection, build)
                view_builds.forget(run.connection, build)
        except psycopg.Error as e:
            log.warning("a build is left for the next one to drop", build=build, sqlstate=e.sqlstate)


def drop_stand_in(connection: psycopg.Connection, name: str) -> None:
    """Drop the view that a build read instead of a table; it has the name that the build had."""
    connection.execute(dropped_stand_in(name))


def dropped_stand_in(name: str) -> sql.Composed:
    """The statement for `drop_stand_in`."""
    return sql.SQL("DROP VIEW IF EXISTS {}").format(tables.relation(SCHEMA, name))


def _build(services: Services, view: View, current: Mapping[str, int], stand_in: StandIn | None) -> Build:
    """Build one view, in one of the places for builds."""
    with (
        log.bound(view=view.name),
        translated(f"building {view.name}"),
        _builder(services, view) as builder,
    ):
        run, connection = builder.run, builder.run.connection
        _take_slot(run)
        started = time.monotonic()
        stamp = timestamp(datetime.now(UTC))
        rendered = render(view, stamp)
        name = run.relation(view, rendered.build)
        live, heir = run.relation(view), Heir(name, stamp)
        held = {table: current[table] for table in view.reads if stand_in is None or table != stand_in.table}
        try:
            _create(builder, rendered, stand_in)
            # Before the rows, because it says how they are stored.
            wanted = belongings.of(connection, live, heir)
            stated = belongings.stated(connection, heir)
            storage = [each for each in wanted if each.kind == "storage"]
            belongings.settle(connection, heir, storage, stated, view.name)
            rows = _fill(run, name, held)
            filled = time.monotonic()
            theirs = [each for each in wanted if each.kind == "index" and each.rename]
            _index(builder, [*rendered.indexes, *theirs])
            stated |= belongings.stated(connection, heir, wanted)
            wanted = belongings.of(connection, live, heir)
            belongings.settle(connection, heir, wanted, stated, view.name)
            indexed = time.monotonic()
            # Of rows that were just written none is dead: the indexes have nothing to clean.
            connection.execute(sql.SQL("VACUUM (ANALYZE, INDEX_CLEANUP OFF) {}").format(name))
            for statement in rendered.counts:
                builder.tell(statement)
        except (SyncError, psycopg.Error) as e:
            with connect(services.settings, "mv_refresh") as other:
                drop(DailyRun(services, other), [rendered.build])
                # Over a stand-in, the table still has its rows of before.
                place = None if stand_in else located(other, services.catalog, view, e)
            raise place or e from e
        done = time.monotonic()
        log.info(
            "view built",
            rows=rows,
            seconds=round(done - started, 3),
            fill=round(filled - started, 3),
            index=round(indexed - filled, 3),
            vacuum=round(done - indexed, 3),
        )
        return Build(view, rendered.build, held, done - started, rows, stated, rendered.template)


def _create(builder: _Builder, rendered: Rendered, stand_in: StandIn | None) -> None:
    """Create the view without rows."""
    run = builder.run
    with run.connection.transaction():
        view_builds.start(run.connection, rendered.build, builder.view.name)
        if stand_in is None:
            builder.execute(rendered.create)
        else:
            _create_over(builder, rendered, stand_in)
        made = run.relation(builder.view, rendered.build)
        if not views.exists(run.connection, made):
            raise TargetError(
                "does not create {{ view | identifier }}",
                where=f"template {builder.view.template.name}",
                remedy="Correct it",
            )
        _refuse_mistaken(builder, made)


def _refuse_mistaken(builder: _Builder, made: sql.Identifier) -> None:
    """Raise TargetError when the view reads what has the name of a table in another schema of its path, and not the
    table.
    """
    catalog, view = builder.run.catalog, builder.view
    found = views.sources(builder.run.connection, made)
    for table in (catalog.tables[name] for name in view.reads):
        others = [schema for schema in catalog.path_of(view) if (schema, table.name) in found]
        if others and (table.schema, table.name) not in found:
            raise TargetError(
                f"finds {others[0]}.{table.name} before {table.schema}.{table.name}, which the catalog says it reads",
                where=f"template {view.template.name}",
                remedy=f"Rename {others[0]}.{table.name}, or give the view the schema {table.schema} in the catalog",
            )


def _create_over(builder: _Builder, rendered: Rendered, stand_in: StandIn) -> None:
    """Create the view over the stand-in, which has the table's name in a schema before the table's, until the view
    knows it. Raises TargetError when the view reads anything else of that schema, or the table itself.
    """
    connection, run, view = builder.run.connection, builder.run, builder.view
    name = tables.relation(SCHEMA, stand_in.table)
    connection.execute(sql.SQL("CREATE VIEW {} AS {}").format(name, stand_in.query))
    connection.execute(
        "SELECT set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), true)",
        [SCHEMA],
    )
    builder.execute(rendered.create)
    made = tables.relation(SCHEMA, rendered.build)
    connection.execute(
        sql.SQL("ALTER MATERIALIZED VIEW IF EXISTS {} SET SCHEMA {}").format(made, sql.Identifier(view.schema))
    )
    found = views.sources(connection, run.relation(view, rendered.build))
    beside = {name for schema, name in found if schema == SCHEMA} - {stand_in.table}
    if beside or (run.catalog.tables[stand_in.table].schema, stand_in.table) in found:
        raise TargetError(
            f"{', '.join(sorted(beside)) or stand_in.table} can't be told from a table of the schema {SCHEMA}",
            where=f"what builds {rendered.build}",
            remedy=f"Name the catalog's tables without a schema, and no table of {SCHEMA}",
        )
    connection.execute(sql.SQL("ALTER VIEW {} RENAME TO {}").format(name, sql.Identifier(rendered.build)))


def _fill(run: DailyRun, build: sql.Identifier, held: Mapping[str, int]) -> int:
    """Fill the view, in one transaction that makes sure which publications it holds; its rows.

    REFRESH freezes its rows, which CREATE … AS does not: transactions older than the swap would read an empty view.
    """
    with run.connection.transaction():
        for table in held:
            parent = run.relation(run.catalog.tables[table])
            run.connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(parent))
        if publications.numbers(run.connection, list(held)) != held:
            raise BusyError("its tables were published meanwhile", where=build.as_string(run.connection))
        run.connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(build))
        return _rows(run, build)


def _rows(run: DailyRun, build: sql.Identifier) -> int:
    """How many rows the transaction filled the view with: its own statistics have the exact number. They say 0 where
    `track_counts` is off; then the rows are counted, which costs an empty view nothing.
    """
    statement = sql.SQL(
        "SELECT coalesce(nullif(pg_stat_get_xact_tuples_inserted({}::regclass), 0), (SELECT count(*) FROM {}))"
    ).format(sql.Literal(build.as_string(run.connection)), build)
    (rows,) = run.connection.execute(statement).fetchone() or (0,)
    return int(rows)


def _index(builder: _Builder, wanted: Iterable[LiteralString | Belonging]) -> None:
    """Make the indexes over a few connections: the template's, the slowest first, and then those that others made."""
    every = list(wanted)
    waiting = iter(every)

    def work(builder: _Builder) -> None:
        connection = builder.run.connection
        _set(connection, INDEX_SETTINGS)
        for index in waiting:
            if isinstance(index, Belonging):
                belongings.give(connection, index, builder.view.name)
            else:
                builder.execute(index)
        connection.execute("RESET effective_cache_size")

    def help_out() -> None:
        view = builder.view
        with translated(f"indexing {view.name}"), _builder(builder.run.services, view) as helper:
            work(helper)

    helpers = min(INDEX_WORKERS, len(every)) - 1
    with ThreadPoolExecutor(INDEX_WORKERS) as executor:
        helping = [log.submit(executor, help_out) for _ in range(helpers)]
        work(builder)
    for helped in helping:
        helped.result()


class _Builder:
    """A run with a connection for a build, that refuses a statement in which PostgreSQL would cut a name off.

    The server only notices that (https://www.postgresql.org/docs/current/sql-syntax-lexical.html), and two builds would
    collide on what is left of the name.
    """

    def __init__(self, run: DailyRun, view: View) -> None:
        self.run, self.view = run, view
        self._cut: list[str] = []
        run.connection.add_notice_handler(self._notice)

    def execute(self, statement: LiteralString) -> None:
        self.run.connection.execute(statement)
        if self._cut:
            raise TargetError(
                f"has a name over {MAX_IDENTIFIER_BYTES} bytes: {self._cut[0]}",
                where=f"template {self.view.template.name}",
                remedy="Shorten it",
            )

    def tell(self, statement: LiteralString) -> None:
        """Run a query of numbers, and warn of each that is not 0, by its name."""
        cursor = self.run.connection.execute(statement)
        for column, (number, *_) in zip(cursor.description or (), zip(*cursor, strict=True), strict=False):
            if not isinstance(number, int):
                raise TargetError(
                    f"its query for {column.name} does not count",
                    where=f"template {self.view.template.name}",
                    remedy="Have it give one row of whole numbers",
                )
            if number:
                log.warning("the view leaves something out", what=column.name, rows=number)

    def _notice(self, diagnostic: pg.Diagnostic) -> None:
        if diagnostic.sqlstate == _NAME_TOO_LONG:
            self._cut.append(diagnostic.message_primary or "")


@contextmanager
def _builder(services: Services, view: View) -> Iterator[_Builder]:
    """A connection with bounded memory, that finds what templates name without a schema: what the catalog has first."""
    with connect(services.settings, f"mv_refresh {view.name}") as connection:
        find_names(connection, services.catalog.path_of(view), local=False)
        _set(connection, SETTINGS)
        yield _Builder(DailyRun(services, connection), view)


def _set(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    query = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)"
    connection.execute(query, [list(settings), list(settings.values())])


def _take_slot(run: DailyRun) -> None:
    """Take one of the places for builds, over all instances, until the connection closes."""
    slots = [Lock.build(slot) for slot in range(run.settings.max_builds)]
    deadline, stale, told = time.monotonic() + SLOT_PATIENCE, time.monotonic(), False
    while not any(try_lock(run.connection, slot, session=True) for slot in slots):
        if not told or time.monotonic() > deadline:
            waited = busy(run.connection, f"{len(slots)} other views are being built", "", locks=slots)
            if time.monotonic() > deadline:
                raise waited
            tell(waited)
            told = True
        if time.monotonic() >= stale:
            for slot in slots:
                end_stale_holders(run.connection, slot)
            stale = time.monotonic() + STALE_PAUSE
        time.sleep(SLOT_PAUSE)
