r"""JSON that PostgreSQL keeps and does not read: `\u0000` in a column of the type json, or in text that a view reads as
JSON, fails the whole view (https://www.postgresql.org/docs/current/datatype-json.html). PostgreSQL's error names no
row.

A part with such a value is staged all the same: a reader of the column itself misses nothing.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared.catalog import Catalog, PgType, Table, View
from shared.errors import DataError
from shared.ledger import snapshots
from shared.ledger.names import SCHEMA
from shared.target import tables

#: `\u0000` where its backslash is not itself escaped.
_NUL = r"(^|[^\\])(\\\\)*\\u0000"

_MAY_HOLD_IT = {PgType.JSON, PgType.VARCHAR, PgType.CHAR, PgType.TEXT}


def located(connection: psycopg.Connection, catalog: Catalog, view: View, error: Exception) -> DataError | None:
    r"""The failure that names the table, column and row of which the view can't read `\u0000`; None when the error is
    another one, or no row holds `\u0000`.
    """
    if not isinstance(error, pg.UntranslatableCharacter) and not isinstance(
        error.__cause__, pg.UntranslatableCharacter
    ):
        return None
    for name in view.reads:
        table = catalog.tables[name]
        for column in table.columns:
            place = _place(connection, table, column.name) if column.type.plain in _MAY_HOLD_IT else None
            if place is not None:
                return DataError(
                    r"holds the character \u0000 in JSON, which PostgreSQL keeps and can't read",
                    where=f"{name}.{column.name}, {place}, read by {view.name}",
                    remedy="Remove it in the source and export again, or have the view's template replace it",
                )
    return None


def _place(connection: psycopg.Connection, table: Table, column: str) -> str | None:
    """The first row of a table whose column holds it: its number, from 1, in its part."""
    parent, name = tables.relation(table.schema, table.name), sql.Identifier(column)
    first = sql.SQL("SELECT tableoid, ctid AS place FROM {} WHERE {}::text ~ {} ORDER BY 1, 2 LIMIT 1").format(
        parent, name, sql.Literal(_NUL)
    )
    statement = sql.SQL(
        "SELECT nspname || '.' || relname, place FROM ({}) AS first"
        " INNER JOIN pg_class ON pg_class.oid = first.tableoid"
        " INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    ).format(first)
    row = connection.execute(statement).fetchone()
    if row is None:
        return None
    relation, place = row
    part = re.fullmatch(rf"{SCHEMA}\.part_(\d+)", relation)
    if part is None:
        return f"a row of {relation}"
    # A part's rows were copied in their order, and are never changed.
    child = tables.child(int(part[1]))
    until = sql.SQL("SELECT count(*) FROM {} WHERE ctid <= {}::tid").format(child, sql.Literal(place))
    (number,) = connection.execute(until).fetchone() or (0,)
    return f"row {number} of {snapshots.object_of_part(connection, int(part[1])) or relation}"
