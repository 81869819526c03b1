"""The tables that readers know, and the child tables that hold their rows.

A table keeps its name, its grants and its dependants for ever; a staged part is a child table of its own; a snapshot is
published by changing which children the table has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from shared.catalog import Table
from shared.db import ledger, queries
from shared.db.postgres import Lock, await_lock, translated
from shared.errors import TargetError


def relation(schema: str, name: str) -> sql.Identifier:
    return sql.Identifier(schema, name)


def child(part_id: int) -> sql.Identifier:
    """The child table of a staged part."""
    return sql.Identifier(ledger.SCHEMA, ledger.child(part_id))


def ensure(connection: psycopg.Connection, schema: str, table: Table) -> None:
    """Create the table on first use. Raises TargetError when it is there but can't take children. Its columns may
    differ from the catalog's: a publish changes them.
    """
    with translated(f"looking at {schema}.{table.name}"):
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


def create_child(connection: psycopg.Connection, schema: str, table: Table, part_id: int) -> None:
    """A table for one part, with what its parent demands of a child, and out of autovacuum's way.

    Its columns are spelled out: LIKE would lock the parent until the copy ends. Autovacuum would be in the publisher's
    way for longer than the publisher waits.
    """
    found = _find(connection, schema, table.name)
    required = found.required if found else frozenset()
    parts = [_definition(column.name, column.type.sql, not_null=column.name in required) for column in table.columns]
    names = [column.name for column in table.columns]
    for name, definition in connection.execute(
        _query("checks"), {"table": _regclass(schema, table.name), "columns": names}
    ):
        # The definition is the server's own rendering of a constraint that stands in it.
        parts.append(sql.SQL("CONSTRAINT {} {}").format(sql.Identifier(name), sql.SQL(definition)))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)").format(
            child(part_id), sql.SQL(", ").join(parts)
        )
    )


def own_rows(connection: psycopg.Connection, schema: str, table: str) -> int:
    """How many rows stand in the table itself and in no child; 0 when there is no such table."""
    if _find(connection, schema, table) is None:
        return 0
    row = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(relation(schema, table))).fetchone()
    return int(row[0]) if row else 0


def drop_child(connection: psycopg.Connection, part_id: int) -> None:
    """Drop the table of a staged part, and note that it is gone. The caller knows that no reader sees it."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(child(part_id)))
    ledger.drop_part(connection, part_id)


def children(connection: psycopg.Connection, schema: str, table: str) -> list[sql.Identifier]:
    """The table's present children. Raises TargetError when one is not ours."""
    rows = connection.execute(_query("children"), {"table": _regclass(schema, table)}).fetchall()
    foreign = [f"{namespace}.{name}" for namespace, name in rows if namespace != ledger.SCHEMA]
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
class _Found:
    """What the server has under a name: the kind of relation, and its columns that are NOT NULL."""

    kind: str
    required: frozenset[str]


def _find(connection: psycopg.Connection, schema: str, table: str) -> _Found | None:
    rows = connection.execute(_query("columns"), {"schema": schema, "table": table}).fetchall()
    if not rows:
        return None
    columns = [row for row in rows if row[0] is not None]
    return _Found(
        kind=rows[0][3],
        required=frozenset(name for name, _, not_null, _ in columns if not_null),
    )


def _check(connection: psycopg.Connection, schema: str, table: Table, found: _Found) -> None:
    where = f"{schema}.{table.name}"
    if found.kind != "r":
        raise TargetError("is no ordinary table", where=where, remedy="Rename it, or the catalog's entry")
    references = connection.execute(_query("references"), {"table": _regclass(schema, table.name)}).fetchall()
    if references:
        raise TargetError(
            f"foreign keys of {', '.join(name for (name,) in references)} refer to it",
            where=where,
            remedy="Drop them: rows of child tables can't be referred to",
        )


def _definition(name: str, type_: LiteralString, *, not_null: bool = False) -> sql.Composed:
    definition = sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))
    return definition + sql.SQL(" NOT NULL") if not_null else definition


def _regclass(schema: str, table: str) -> str:
    """A name that the regclass input parses back to exactly this relation."""
    return f'"{schema}"."{table}"'


def _query(name: str) -> LiteralString:
    return queries.load("target")[name]
