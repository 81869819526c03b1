"""What others hung on a relation: indexes, statistics, storage options, comments. A build that takes a view's place
gets all of these. A part of a table gets those that serve readers of its rows.

`sql/belongings.sql` says which kinds there are, and how each is read and passed on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString

import psycopg
from psycopg import sql

from shared.db import queries
from shared.db.postgres import is_transient, is_wrong_deployment
from shared.errors import BusyError, TargetError

#: Tables and objects that somebody made between our look and our statement.
_THERE_ALREADY = ("42P07", "42710")

Kind = Literal["storage", "index", "statistics", "note"]


@dataclass(frozen=True)
class Heir:
    """The relation that is to get the belongings, and the prefix of the names of its indexes and statistics objects."""

    relation: sql.Identifier
    prefix: str


@dataclass(frozen=True)
class Belonging:
    """One thing that hangs on a relation, with the statements that give it to the heir, take it away again, and rename
    it.

    It `fits` if the heir has its columns. `statement` is None when the belonging goes with what it hung on, as a grant
    goes with its column. Two relations that have the same belonging have it with the same `token`.
    """

    kind: Kind
    what: str
    fits: bool
    statement: LiteralString | None
    undo: LiteralString | None
    rename: LiteralString | None
    token: str | None


def of(connection: psycopg.Connection, relation: sql.Identifier, heir: Heir) -> list[Belonging]:
    """The belongings of the relation, as statements for its heir; none when one of the two is not there."""
    values = {
        "relation": relation.as_string(connection),
        "heir": heir.relation.as_string(connection),
        "prefix": heir.prefix,
    }
    statements = queries.load("belongings")
    # Names are printed with their schemas, and so alike on every connection.
    with connection.pipeline():
        connection.execute(statements["print_schemas"])
        found = connection.execute(statements["of"], values)
        connection.execute(statements["print_as_before"])
    return [Belonging(*row) for row in found]


def own(connection: psycopg.Connection, heir: Heir) -> list[Belonging]:
    """The belongings of the heir itself."""
    return of(connection, heir.relation, heir)


def stated(connection: psycopg.Connection, heir: Heir, given: Sequence[Belonging] = ()) -> frozenset[str]:
    """The heir's belongings besides those that it was `given`, by their `undo`: whoever made the heir stated them, and
    so they stay.
    """
    undone = {each.undo for each in given}
    return frozenset(each.undo for each in own(connection, heir) if each.undo and each.undo not in undone)


def settle(
    connection: psycopg.Connection,
    heir: Heir,
    wanted: Sequence[Belonging],
    besides: Collection[str | None],
    where: str,
) -> None:
    """Make the heir have the `wanted` belongings, and no others `besides` those that it was made with (see `stated`).

    Raises TargetError that names the belonging that the heir can't have.
    """
    tokens = {each.token for each in wanted}
    present = own(connection, heir)
    going = [each for each in present if each.token not in tokens and each.undo not in besides]
    for each in reversed(going):
        _execute(connection, each, each.undo, where)
    if going:  # what hung on that is gone too
        present = own(connection, heir)
    tokens = {each.token for each in present}
    for each in wanted:
        if each.token not in tokens and each.undo not in besides:
            give(connection, each, where)


def give(connection: psycopg.Connection, belonging: Belonging, where: str) -> None:
    """Give the belonging to the heir. Raises TargetError that names it when the heir can't have it."""
    _execute(connection, belonging, belonging.statement, where)


def _execute(connection: psycopg.Connection, belonging: Belonging, statement: LiteralString | None, where: str) -> None:
    if statement is None:
        return
    try:
        connection.execute(statement)
    except psycopg.Error as e:
        state = e.sqlstate or ""
        if not state or is_transient(e) or is_wrong_deployment(e):
            raise
        if state in _THERE_ALREADY or e.diag.schema_name == "pg_catalog":
            raise BusyError(f"another worker gives it the {belonging.what}", where=where) from e
        # An index reads the rows, and calls functions with them: what is said then may quote a value.
        of_rows = belonging.kind == "index" and state[:2] not in ("42", "54")
        said = type(e).__name__ if of_rows else e.diag.message_primary
        raise TargetError(
            f"the {belonging.what} can't be carried over to its new rows: {said} ({state})",
            where=where,
            remedy="Take that off it, or make the rows and columns fit",
        ) from e


@dataclass(frozen=True)
class Unkept:
    """A belonging of a table that its parts can't keep true, and the statement that takes it away. `is_key` says that
    it tells rows apart.
    """

    what: str
    remedy: str
    is_key: bool


def refuse_unkept(connection: psycopg.Connection, table: sql.Identifier, where: str) -> None:
    """Raise TargetError that names what others hung on a table and its parts can't keep true."""
    values = {"table": table.as_string(connection)}
    found = [Unkept(*row) for row in connection.execute(queries.load("belongings")["unkept"], values)]
    if found:
        key = ". Instead, the catalog's `key` holds a snapshot whose rows repeat one"
        raise TargetError(
            f"can't keep what others hung on it, because its rows come in parts: {', '.join(u.what for u in found)}",
            where=where,
            remedy="; ".join(u.remedy for u in found) + (key if any(u.is_key for u in found) else ""),
        )
