"""Migrate: bring the ledger's schema and the tables' columns up to date, ahead of the publish that would do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
from psycopg import sql

from shared import log
from shared.daily import evolve, refresh
from shared.daily.context import DailyRun, TableRun
from shared.daily.live import RECYCLE
from shared.daily.swap_table import add_columns
from shared.db.postgres import connect, translated
from shared.db.session import refuse_absent
from shared.errors import BadRequestError
from shared.ledger import entries, migrations
from shared.ledger.names import SCHEMA
from shared.operate import removal
from shared.services import Services
from shared.target import columns, places, tables


def migrate(
    services: Services, *, reader: str | None = None, tell: Callable[[str], object] = lambda change: None
) -> list[str]:
    """Apply what can be applied now, and say of each change what became of it; nothing when all is up to date. `tell`
    is told of each as it is made: those before a failure stay.

    The ledger gets its newest schema, and tables the columns that the catalog has more, with the parts that are kept
    for the way back. A column that the catalog drops or gives another type changes with the next publish, because the
    rows do. A view that was built from another template is told of, and not rebuilt. What left the catalog is told of,
    and not dropped. `reader` is a role that may read the ledger from now on.

    Raises BadRequestError when there is no such role, TargetError when a table can't be one of the catalog's, and
    ConfigurationError when the database lacks the extension of a type.
    """
    changes = []
    for change in _changes(services, reader):
        changes.append(change)
        tell(change)
    return changes


def _changes(services: Services, reader: str | None) -> Iterator[str]:
    with connect(services.settings, "migrate") as connection, translated("migrating"):
        run = DailyRun(services, connection)
        yield from _ledger(connection)
        entries.keep(connection, services.catalog)
        for table in services.catalog.tables.values():
            with log.bound(table=table.name), translated(f"migrating {table.name}"):
                yield from _table(run.of(table))
        for view in services.catalog.views.values():
            if (statement := places.move(connection, view)) is not None:
                yield f"{view.name}: it is not in the schema {view.schema}, where the catalog has it: {statement}"
            if told := refresh.template_changed(run, view):
                yield told
        yield from map(str, removal.orphans(connection, services.catalog))
        if reader is not None:
            yield from _reader(connection, reader)


def _ledger(connection: psycopg.Connection) -> list[str]:
    if migrations.is_current(connection):
        return []
    migrations.migrate(connection)
    return ["ledger: brought up to date"]


def _table(run: TableRun) -> Iterator[str]:
    connection, table = run.connection, run.table
    if (statement := places.move(connection, table)) is not None:
        yield f"{table.name}: it is not in the schema {run.schema}, where the catalog has it: {statement}"
        return
    refuse_absent(connection, table.columns, run.where)
    if not columns.of_relation(connection, run.schema, table.name):
        return  # its first publish makes it
    tables.ensure(connection, run.schema, table)
    added = add_columns(run)
    yield from (f"{table.name}: {name} {type_} added" for name, type_ in added.items())
    if added:
        yield f"{table.name}: {RECYCLE}"
    yield from (f"{table.name}: {name} {what}" for name, what in pending(run))


def pending(run: TableRun) -> Iterator[tuple[str, str]]:
    """The columns that the catalog drops or gives another type, with what becomes of each."""
    present = columns.of_relation(run.connection, run.schema, run.table.name)
    changes = evolve.compare(run, [], keep=False).changes
    new = evolve.is_new(run)
    found = evolve.blocking(run, changes)
    for name in changes.breaking:
        what = f"is {present[name]}, the catalog says {changes.columns.get(name, 'nothing')}"
        users = evolve.foreign(run, [one for one in found if one.column == name])
        if new:
            fate = "alter the table, or the catalog: no publish made it, so none will change it"
        elif users:
            fate = f"the next publish will refuse that while other objects use it: {', '.join(users)}"
        else:
            fate = f"it changes with the next publish; then {RECYCLE}"
        yield name, f"{what}; {fate}"


def _refuse_unless_role(connection: psycopg.Connection, name: str) -> None:
    """Raise BadRequestError unless the name is one role's. `public` is none, but GRANT takes it for everybody, even in
    quotes (https://www.postgresql.org/docs/current/sql-grant.html); a predefined role is whoever's it was granted to.
    """
    if name.startswith("pg_"):
        raise BadRequestError("is one of the server's own roles", where=name, remedy="Name a role that you made")
    query = "SELECT 1 FROM pg_roles WHERE rolname::text = %s"
    if not name.isprintable() or connection.execute(query, [name]).fetchone() is None:
        raise BadRequestError("there is no such role", where=name, remedy="CREATE ROLE it first")


def _reader(connection: psycopg.Connection, role: str) -> list[str]:
    """Let a role use the ledger's schema. Its tables may be read by whoever can, those of the parts by nobody."""
    _refuse_unless_role(connection, role)
    may = connection.execute("SELECT has_schema_privilege(%s, %s, 'USAGE')", [role, SCHEMA]).fetchone()
    if may and may[0]:
        return []
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(SCHEMA), sql.Identifier(role)))
    return [f"{role}: may read the ledger"]
