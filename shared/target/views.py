"""Materialized views as PostgreSQL has them: what has a view's name, who may read it, what depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString, cast

import psycopg
from psycopg import sql

from shared.db import queries
from shared.db.postgres import bound


@dataclass(frozen=True)
class Grant:
    """A privilege on a view or on one column of it. The grantee None is everybody."""

    grantee: str | None
    privilege: LiteralString
    grantable: bool
    column: str | None

    @property
    def role(self) -> sql.Composable:
        return sql.SQL("PUBLIC") if self.grantee is None else sql.Identifier(self.grantee)


@dataclass(frozen=True)
class ViewState:
    """How a view stands, in a form to compare: its owner, its grants and what hangs on it; and what depends on it, by
    name.
    """

    state: str
    dependants: Sequence[str]


def exists(connection: psycopg.Connection, view: sql.Identifier) -> bool:
    """Whether a materialized view has the name."""
    return _one(connection, "kind", view) == "m"


def name_is_taken(connection: psycopg.Connection, view: sql.Identifier) -> bool:
    """Whether something else than a materialized view has the name."""
    return _one(connection, "kind", view) not in (None, "m")


def standing(connection: psycopg.Connection, view: sql.Identifier) -> ViewState | None:
    """How the view stands; None when there is none."""
    row = connection.execute(_query("standing"), _values(connection, view)).fetchone()
    return None if row is None else ViewState(*row)


def asked_for_standing(connection: psycopg.Connection, view: sql.Identifier) -> sql.SQL:
    """The query for a row of `ViewState`, to be sent with others."""
    return bound(connection, _query("standing"), _values(connection, view))


def sources(connection: psycopg.Connection, view: sql.Identifier) -> set[tuple[str, str]]:
    """The relations that the view reads, each with its schema before it."""
    return set(connection.execute(_query("sources"), _values(connection, view)).fetchall())


def homes(connection: psycopg.Connection, name: str) -> list[sql.Identifier]:
    """The materialized views of that name, in whatever schema."""
    rows = connection.execute(_query("homes"), {"name": name}).fetchall()
    return [sql.Identifier(schema, name) for (schema,) in rows]


def has_old_readers(connection: psycopg.Connection, view: sql.Identifier, seconds: float) -> bool:
    """Whether a transaction that began more than so many seconds ago has read the view and is still open."""
    values = _values(connection, view) | {"age": seconds}
    row = connection.execute(_query("old_readers"), values).fetchone()
    return bool(row and row[0])


def pass_on(connection: psycopg.Connection, old: sql.Identifier, new: sql.Identifier) -> list[Grant]:
    """Give the new view the owner and exactly the grants of the old one; the grants on columns that the new view lacks,
    which nobody can give.
    """
    owner = cast(str, _one(connection, "owner", old))
    if owner != _one(connection, "owner", new):
        connection.execute(sql.SQL("ALTER MATERIALIZED VIEW {} OWNER TO {}").format(new, sql.Identifier(owner)))
    # Default privileges may give the new one what was taken from the old one.
    for grant in _grants(connection, new):
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(new, grant.role))
    lost = []
    columns = {name for (name,) in connection.execute(_query("column_names"), _values(connection, new))}
    for grant in _grants(connection, old):
        if grant.column is not None and grant.column not in columns:
            lost.append(grant)
            continue
        connection.execute(
            sql.SQL("GRANT {}{} ON {} TO {}{}").format(
                sql.SQL(grant.privilege),  # one of the server's own keywords, from its own catalog
                sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column else sql.SQL(""),
                new,
                grant.role,
                sql.SQL(" WITH GRANT OPTION" if grant.grantable else ""),
            )
        )
    return lost


def let_owner_read(connection: psycopg.Connection, view: sql.Identifier, source: sql.Identifier) -> None:
    """Let the view's owner refresh the view from a relation that belongs to us."""
    owner = cast(str, _one(connection, "owner", view))
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(source, sql.Identifier(owner)))


def renamed(view: sql.Identifier, name: str) -> sql.Composed:
    """The statement that gives the view another name in its schema."""
    return sql.SQL("ALTER MATERIALIZED VIEW {} RENAME TO {}").format(view, sql.Identifier(name))


def drop(connection: psycopg.Connection, view: sql.Identifier) -> None:
    """Drop the view if it is there and nothing depends on it."""
    connection.execute(dropped(view))


def dropped(view: sql.Identifier) -> sql.Composed:
    """The statement for `drop`."""
    return sql.SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(view)


def _grants(connection: psycopg.Connection, view: sql.Identifier) -> list[Grant]:
    rows = connection.execute(_query("grants"), _values(connection, view)).fetchall()
    return [Grant(*row) for row in rows]


def _one(connection: psycopg.Connection, query: str, view: sql.Identifier) -> object:
    row = connection.execute(_query(query), _values(connection, view)).fetchone()
    return None if row is None else row[0]


def _values(connection: psycopg.Connection, view: sql.Identifier) -> dict[str, object]:
    return {"view": view.as_string(connection)}


def _query(name: str) -> LiteralString:
    return queries.load("view")[name]
