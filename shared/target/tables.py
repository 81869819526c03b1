"""The tables that readers know, and the child tables that hold their rows.

A table keeps its name, its grants and its dependants forever. Each staged part is a child table of its own. A publish
changes which children the table has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from shared import log
from shared.catalog import Table
from shared.db import queries
from shared.db.locks import Lock, await_lock, lock_or_busy
from shared.db.postgres import is_transient, is_wrong_deployment, translated
from shared.db.session import SEARCH_PATH, TypeName, check_sees_all, find_names, refuse_absent
from shared.errors import TargetError
from shared.ledger import migrations, snapshots
from shared.ledger.names import SCHEMA, part_table
from shared.target import belongings, demands, places
from shared.target.belongings import Belonging, Heir
from shared.target.columns import of_others


def relation(schema: str, name: str) -> sql.Identifier:
    return sql.Identifier(schema, name)


def child(part_id: int) -> sql.Identifier:
    """The child table of a staged part."""
    return sql.Identifier(SCHEMA, part_table(part_id))


def heir(part_id: int) -> Heir:
    """The part as one that gets what others hung on its table."""
    return Heir(child(part_id), part_table(part_id))


def ensure(connection: psycopg.Connection, schema: str, table: Table) -> None:
    """Create the table on first use. Raises TargetError when it is there but can't take children, ConfigurationError
    when its schema is not there, or when it is in another one, or when the database lacks a type of it. Its columns may
    differ from the catalog's: a publish changes them.
    """
    refuse_absent(connection, table.columns, f"{schema}.{table.name}")
    with translated(f"looking at {schema}.{table.name}"):
        places.refuse_unusable(connection, schema, f"{schema}.{table.name}")
        places.refuse_elsewhere(connection, table)
        found = _find(connection, schema, table.name)
        if found is None:
            with connection.transaction():
                await_lock(connection, Lock.ledger(), 30)
                columns = sql.SQL(", ").join(_definition(column.name, column.type.sql) for column in table.columns)
                connection.execute(
                    sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(relation(schema, table.name), columns)
                )
            found = _find(connection, schema, table.name)
        if found is None:
            raise TargetError("was dropped just now", where=f"{schema}.{table.name}", remedy="Export it again")
        _check(connection, schema, table, found)


def check(connection: psycopg.Connection, schema: str, table: Table) -> bool:
    """Whether the table is there. Raises what `ensure` raises, and makes nothing."""
    with translated(f"looking at {schema}.{table.name}"):
        places.refuse_unusable(connection, schema, f"{schema}.{table.name}")
        if migrations.exists(connection):
            places.refuse_elsewhere(connection, table)
        found = _find(connection, schema, table.name)
        if found is not None:
            _check(connection, schema, table, found)
            children(connection, schema, table.name)
        return found is not None


def refuse_unkept(connection: psycopg.Connection, schema: str, table: str) -> None:
    """Raise TargetError that names what others hung on the table and its parts can't keep true."""
    belongings.refuse_unkept(connection, relation(schema, table), f"{schema}.{table}")


def create_child(
    connection: psycopg.Connection, schema: str, table: Table, part_id: int
) -> tuple[list[Belonging], list[str]]:
    """Create the table for one part, with the constraints and the storage of its parent, and without autovacuum. Gives
    the indexes and statistics that the part is to get once its rows are in it: readers go to each part by itself. And
    the columns that a default fills until then.

    Besides the catalog's columns, the part has the NOT NULL columns that others added to the parent, with the default
    that fills them. Columns are spelled out, because LIKE would lock the parent until the copy ends. Autovacuum would
    hold a lock for longer than a publish waits.
    """
    with connection.pipeline():
        columns = _asked(connection, schema, table.name)
        demanded = demands.asked(connection, relation(schema, table.name))
    found = columns()
    required = {column.name for column in found.columns if column.required} if found else set()
    names = [column.name for column in table.columns]
    parts = [_definition(column.name, column.type.sql, not_null=column.name in required) for column in table.columns]
    filled = _required_of_others(connection, table, found)
    for column in filled:
        default = sql.SQL(" DEFAULT ") + _verbatim(column.default or "NULL")
        parts.append(_definition(column.name, column.type, not_null=True) + default)
    for name, check in demanded((), names).checks.items():
        parts.append(sql.SQL("CONSTRAINT {} {}").format(sql.Identifier(name), _verbatim(check)))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)").format(
            child(part_id), sql.SQL(", ").join(parts)
        )
    )
    wanted = [each for each in belongings.of(connection, relation(schema, table.name), heir(part_id)) if each.fits]
    storage = [each for each in wanted if each.kind == "storage"]
    ours = belongings.stated(connection, heir(part_id)) if storage else frozenset()
    for each in storage:
        if each.undo not in ours:
            belongings.give(connection, each, f"{schema}.{table.name}")
    return [each for each in wanted if each.kind in ("index", "statistics")], [column.name for column in filled]


def add_indexes(connection: psycopg.Connection, schema: str, table: str, part_ids: Iterable[int]) -> None:
    """Give parts the indexes that the table got after they were staged. Raises TargetError when one can't have them,
    BusyError while another worker gives them.
    """
    parent = relation(schema, table)
    if connection.execute(_query("has_indexes"), {"table": _regclass(schema, table)}).fetchone() != (True,):
        return
    for id_ in part_ids:
        with connection.transaction():
            lock_or_busy(connection, Lock.indexes(id_))
            present = {each.undo for each in belongings.own(connection, heir(id_))}
            for each in belongings.of(connection, parent, heir(id_)):
                if each.kind == "index" and each.fits and each.undo not in present:
                    belongings.give(connection, each, f"{schema}.{table}")


def declare(connection: psycopg.Connection, schema: str, table: Table, part_id: int, *, kept: bool = False) -> None:
    """Give a part the indexes that the catalog declares for its table, as far as it lacks them. A part that is `kept`
    may be of an earlier catalog: an index that does not fit it is left out.

    Raises TargetError for an index that can't be made.
    """
    values = {"part": _regclass(SCHEMA, part_table(part_id))}
    present = {name for (name,) in connection.execute(_query("indexes_of_part"), values)} if table.indexes else set()
    for index in table.indexes:
        name = f"{part_table(part_id)}_{index.digest}"
        if name in present:
            continue
        try:
            with connection.transaction():
                find_names(connection, [schema], local=True)
                statement = sql.SQL("CREATE INDEX {} ON {} {}")
                definition = _verbatim(index.definition)
                connection.execute(statement.format(sql.Identifier(name), child(part_id), definition))
                connection.execute("SELECT set_config('search_path', %s, true)", [SEARCH_PATH])
        except psycopg.Error as e:
            if kept and not is_transient(e):
                log.warning("a kept part is left without an index", index=index.definition, sqlstate=e.sqlstate)
                continue
            if is_transient(e) or is_wrong_deployment(e):
                raise
            # An expression may be computed of rows: what is said then may quote a value.
            said = e.diag.message_primary if (e.sqlstate or "")[:2] in ("42", "54", "0A") else type(e).__name__
            raise TargetError(
                f"its index {index.definition} can't be made: {said} ({e.sqlstate})",
                where=f"{schema}.{table.name}",
                remedy="Correct `indexes` in the catalog, or take the index out of it",
            ) from e


def drop_defaults(connection: psycopg.Connection, part_id: int, names: Iterable[str]) -> None:
    """Drop the defaults that filled these columns of others, once the part's rows are in it: a default would keep its
    owner from dropping what it uses.
    """
    actions = sql.SQL(", ").join(sql.SQL("ALTER {} DROP DEFAULT").format(sql.Identifier(name)) for name in names)
    if actions.as_string(connection):
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(child(part_id), actions))


def own_rows(connection: psycopg.Connection, schema: str, table: str) -> int:
    """How many rows stand in the table itself and in no child; 0 when there is no such table."""
    if _find(connection, schema, table) is None:
        return 0
    row = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(relation(schema, table))).fetchone()
    return int(row[0]) if row else 0


def drop_child(connection: psycopg.Connection, part_id: int) -> None:
    """Drop the table of a staged part, and note that it is gone. The caller knows that no reader sees it."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(child(part_id)))
    snapshots.drop_part(connection, part_id)


def children(connection: psycopg.Connection, schema: str, table: str) -> list[sql.Identifier]:
    """The table's present children. Raises TargetError when one is not ours."""
    rows = connection.execute(_query("children"), {"table": _regclass(schema, table)}).fetchall()
    foreign = [f"{namespace}.{name}" for namespace, name in rows if namespace != SCHEMA]
    if foreign:
        raise TargetError(
            f"has children that no publish made: {', '.join(foreign)}",
            where=f"{schema}.{table}",
            remedy="Detach them with ALTER TABLE … NO INHERIT",
        )
    return [sql.Identifier(namespace, name) for namespace, name in rows]


def unattached(connection: psycopg.Connection, schema: str, table: str) -> list[int]:
    """The staged parts of the table that are not among its children."""
    values = {"name": table, "table": _regclass(schema, table)}
    return [id_ for (id_,) in connection.execute(_query("unattached"), values)]


@dataclass(frozen=True)
class _Column:
    """A column as the server has it; the default is an expression, and `generated` is a letter if it is so."""

    name: str
    type: str
    required: bool
    generated: str
    default: str | None


@dataclass(frozen=True)
class _Found:
    """What the server has under a name: the kind of relation, and its columns."""

    kind: str
    columns: tuple[_Column, ...]


def _find(connection: psycopg.Connection, schema: str, table: str) -> _Found | None:
    return _asked(connection, schema, table)()


def _asked(connection: psycopg.Connection, schema: str, table: str) -> Callable[[], _Found | None]:
    """The same, asked for now and taken later, as in a pipeline."""
    cursor = connection.execute(_query("columns"), {"schema": schema, "table": table})

    def taken() -> _Found | None:
        rows = cursor.fetchall()
        columns = (
            _Column(name, type_, required, generated, default)
            for name, type_, required, _, generated, default in rows
            if name is not None
        )
        return _Found(rows[0][3], tuple(columns)) if rows else None

    return taken


def _required_of_others(connection: psycopg.Connection, table: Table, found: _Found | None) -> list[_Column]:
    """The NOT NULL columns that others added."""
    required = [column for column in found.columns if column.required] if found else []
    names = of_others(connection, table, [column.name for column in required])
    return [column for column in required if column.name in names]


def _check(connection: psycopg.Connection, schema: str, table: Table, found: _Found) -> None:
    where = f"{schema}.{table.name}"
    if found.kind != "r":
        raise TargetError("is no ordinary table", where=where, remedy="Rename it, or the catalog's entry")
    check_sees_all(connection, _regclass(schema, table.name), where)
    refuse_unkept(connection, schema, table.name)
    for column in found.columns:
        if column.generated:
            # One that is not stored can't become another, and it is what PostgreSQL 18 and later make unless told.
            becomes = (
                f"ALTER TABLE … ALTER {column.name} DROP EXPRESSION, or drop it" if column.generated == "s" else ""
            )
            raise TargetError(
                f"its column {column.name} is generated, which no part has",
                where=where,
                remedy=f"{becomes or f'ALTER TABLE … DROP {column.name}'}: a view can compute it",
            )
    for column in _required_of_others(connection, table, found):
        if column.default is None:
            raise TargetError(
                f"its column {column.name}, which the catalog does not have, is NOT NULL and has no default",
                where=where,
                remedy=f"ALTER TABLE … ALTER {column.name} DROP NOT NULL, or SET DEFAULT",
            )


def _definition(name: str, type_: str, *, not_null: bool = False) -> sql.Composed:
    definition = sql.SQL("{} {}").format(sql.Identifier(name), TypeName(type_))
    return definition + sql.SQL(" NOT NULL") if not_null else definition


def _verbatim(text: str) -> sql.SQL:
    """The server's own rendering of what stands in its catalogs, or what is deployed as templates are."""
    trusted: LiteralString = text
    return sql.SQL(trusted)


def _regclass(schema: str, table: str) -> str:
    """A name that the regclass input parses back to exactly this relation."""
    return f'"{schema}"."{table}"'


def _query(name: str) -> LiteralString:
    return queries.load("target")[name]
