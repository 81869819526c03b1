"""The columns of a table and of the parts that become its children: how they differ, what would have to change, and
which objects forbid the change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from shared.catalog import Table
from shared.db import queries
from shared.db.session import TypeName, catalogs_name
from shared.errors import TargetError
from shared.ledger import migrations, publications
from shared.ledger.names import SCHEMA, part_table

#: Columns by name, with their types as the server prints them.
type Columns = Mapping[str, str]


@dataclass(frozen=True)
class Changes:
    """The changes that make a table's columns those of a snapshot. `columns` are the table's columns afterwards."""

    columns: Columns
    added: Columns
    dropped: tuple[str, ...]
    retyped: Columns

    def __bool__(self) -> bool:
        return bool(self.added or self.dropped or self.retyped)

    @property
    def breaking(self) -> tuple[str, ...]:
        """The columns that nothing may use while they change."""
        return (*self.dropped, *self.retyped)


@dataclass(frozen=True)
class Dependant:
    """An object that uses a column of a table. `view` is its schema and name if it is a materialized view. If it
    `follows`, PostgreSQL itself alters it when the column's type changes.
    """

    column: str
    name: str
    view: tuple[str, str] | None
    follows: bool


def changes(present: Columns, catalog: Columns, parts: Sequence[Columns], keep: Collection[str]) -> Changes:
    """What a table with the `present` columns needs for these parts to become its children.

    A part's own columns win over the catalog's: the part may have been staged before the catalog changed. A column that
    neither the parts nor the catalog have is dropped, unless it is among those to `keep`. A column to keep has the type
    that it has, unless a part has it with another. Raises TargetError when the parts contradict each other.
    """
    staged: dict[str, str] = {}
    for part in parts:
        for name, type_ in part.items():
            if staged.setdefault(name, type_) != type_:
                raise TargetError(
                    f"{name} is {staged[name]} in one part and {type_} in another",
                    remedy="The catalog changed between them: export the table again",
                )
    kept = {name: type_ for name, type_ in present.items() if name in keep}
    wanted = {**catalog, **kept, **staged}
    added = {name: type_ for name, type_ in wanted.items() if name not in present}
    return Changes(
        columns={name: wanted[name] for name in present if name in wanted} | added,
        added=added,
        dropped=tuple(name for name in present if name not in wanted),
        retyped={name: wanted[name] for name, type_ in present.items() if wanted.get(name, type_) != type_},
    )


def of_catalog(table: Table) -> dict[str, str]:
    return {column.name: column.type.sql for column in table.columns}


def of_relation(connection: psycopg.Connection, schema: str, name: str) -> dict[str, str]:
    """The columns of a relation, in order; none when there is no such relation."""
    return asked_of_relation(connection, schema, name)()


def asked_of_relation(connection: psycopg.Connection, schema: str, name: str) -> Callable[[], dict[str, str]]:
    """The same, asked for now and taken later, as in a pipeline."""
    rows = connection.execute(_query("columns"), {"schema": schema, "table": name})
    return lambda: {column: catalogs_name(connection, type_) for column, type_, *_ in rows if column is not None}


def of_parts(connection: psycopg.Connection, part_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """The columns of staged parts; none of one whose table somebody dropped."""
    return asked_of_parts(connection, part_ids)()


def asked_of_parts(connection: psycopg.Connection, part_ids: Sequence[int]) -> Callable[[], dict[int, dict[str, str]]]:
    """The same, asked for now and taken later."""
    names = {part_table(id_): id_ for id_ in part_ids}
    rows = connection.execute(_query("columns_of_several"), {"schema": SCHEMA, "tables": list(names)})

    def taken() -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {id_: {} for id_ in part_ids}
        for name, column, type_ in rows:
            found[names[name]][column] = catalogs_name(connection, type_)
        return found

    return taken


def recorded(connection: psycopg.Connection, table: str) -> set[str]:
    """The columns that any snapshot of the table was recorded with: such a column is the suite's own."""
    return {name for (name,) in connection.execute(_query("recorded_columns"), {"table": table})}


def of_others(connection: psycopg.Connection, table: Table, present: Collection[str]) -> set[str]:
    """The table's columns that belong to others: neither the catalog has them, nor did any snapshot have them. A newer
    catalog that is about to be deployed counts as others. None before the first publish, when nobody can tell.
    """
    found = set(present) - {column.name for column in table.columns}
    if not found or not migrations.exists(connection) or publications.published(connection, table.name) is None:
        return set()
    return found - recorded(connection, table.name)


def dependants(connection: psycopg.Connection, schema: str, table: str, names: Sequence[str]) -> list[Dependant]:
    """What uses these columns of the table, besides the table itself."""
    values = {"table": f'"{schema}"."{table}"', "columns": list(names)}
    rows = connection.execute(_query("column_dependants"), values).fetchall()
    return [Dependant(column, of, (home, view) if view else None, follows) for column, of, home, view, follows in rows]


def altered(table: sql.Identifier, wanted: Changes) -> list[sql.Composed]:
    """The statement that changes the columns of a table that has no rows and no children; none when nothing changes.
    PostgreSQL refuses the statement while an object uses the columns.
    """
    return _altered(
        table,
        [sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in wanted.dropped]
        + [
            # There is no value to convert, and not every type has a conversion to every other.
            sql.SQL("ALTER COLUMN {0} TYPE {1} USING NULL::{1}").format(sql.Identifier(name), TypeName(type_))
            for name, type_ in wanted.retyped.items()
        ]
        + _additions(wanted.added),
    )


def extended(table: sql.Identifier, present: Columns, wanted: Columns) -> list[sql.Composed]:
    """The statement that adds the columns that the table lacks, empty, if it lacks any."""
    return _altered(table, _additions({name: type_ for name, type_ in wanted.items() if name not in present}))


def add(connection: psycopg.Connection, table: sql.Identifier, present: Columns, wanted: Columns) -> None:
    """Add the columns that the table lacks, empty."""
    for statement in extended(table, present, wanted):
        connection.execute(statement)


def select(table: sql.Identifier, present: Columns, wanted: Columns) -> sql.Composed:
    """A query of the wanted columns, NULL where the table lacks them."""
    expressions = [
        sql.Identifier(name)
        if name in present
        else sql.SQL("NULL::{} AS {}").format(TypeName(type_), sql.Identifier(name))
        for name, type_ in wanted.items()
    ]
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(expressions), table)


def select_nothing(wanted: Columns) -> sql.Composed:
    """A query of these columns that has no rows."""
    expressions = [
        sql.SQL("NULL::{} AS {}").format(TypeName(type_), sql.Identifier(name)) for name, type_ in wanted.items()
    ]
    return sql.SQL("SELECT {} WHERE false").format(sql.SQL(", ").join(expressions))


def _additions(added: Columns) -> list[sql.Composed]:
    return [sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(n), TypeName(type_)) for n, type_ in added.items()]


def _altered(table: sql.Identifier, actions: Sequence[sql.Composed]) -> list[sql.Composed]:
    return [sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(actions))] if actions else []


def _query(name: str) -> LiteralString:
    return queries.load("target")[name]
