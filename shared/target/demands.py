"""What a table demands of its rows, and so of each part that becomes its child: NOT NULL and CHECK constraints.

A part gets the table's constraints when it is staged. A constraint that the table gets later is put on the part before
the part is published, while no reader sees it, because PostgreSQL reads the whole part for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared.db import queries
from shared.errors import TargetError

_NOT_VALID = " NOT VALID"


@dataclass(frozen=True)
class Demands:
    """The columns that are NOT NULL, and the CHECK constraints by name, as PostgreSQL prints them."""

    required: frozenset[str]
    checks: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.required or self.checks)

    def beyond(self, met: Demands) -> Demands:
        """The demands that are not among the ones `met`."""
        return Demands(
            self.required - met.required,
            {
                name: check
                for name, check in self.checks.items()
                if met.checks.get(name) not in (check, check.removesuffix(_NOT_VALID))
            },
        )


def of(
    connection: psycopg.Connection, table: sql.Identifier, required: Collection[str], checked: Collection[str]
) -> Demands:
    """What a table demands of the columns `required`, and by the checks that use `checked` columns alone; nothing when
    there is no such table.
    """
    return asked(connection, table)(required, checked)


def asked(
    connection: psycopg.Connection, table: sql.Identifier
) -> Callable[[Collection[str], Collection[str]], Demands]:
    """The same, asked for now and taken later, as in a pipeline."""
    name = {"table": table.as_string(connection)}
    needed, checks = connection.execute(_query("required"), name), connection.execute(_query("checks"), name)

    def taken(required: Collection[str], checked: Collection[str]) -> Demands:
        return Demands(
            frozenset(column for (column,) in needed if column in required),
            {name: definition for name, definition, used in checks if set(used) <= set(checked)},
        )

    return taken


def impose(connection: psycopg.Connection, part: sql.Identifier, demands: Demands) -> None:
    """Put the demands on the part. Raises TargetError that names the demand that the part's rows don't meet."""
    actions = [sql.SQL("ALTER {} SET NOT NULL").format(sql.Identifier(name)) for name in sorted(demands.required)]
    for name, check in demands.checks.items():
        definition: LiteralString = check  # the server's own rendering of a constraint that stands in it
        # One of the same name may be what the table demanded before.
        actions.append(sql.SQL("DROP CONSTRAINT IF EXISTS {}").format(sql.Identifier(name)))
        actions.append(sql.SQL("ADD CONSTRAINT {} {}").format(sql.Identifier(name), sql.SQL(definition)))
    try:
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(part, sql.SQL(", ").join(actions)))
    except pg.NotNullViolation as e:
        raise TargetError(
            f"{e.diag.column_name} is NOT NULL, and rows of the snapshot have nothing in it",
            remedy="ALTER it to DROP NOT NULL, or publish another snapshot",
        ) from e
    except pg.CheckViolation as e:
        raise TargetError(
            f"rows of the snapshot are not as its constraint {e.diag.constraint_name} demands",
            remedy="Drop it, or publish another snapshot",
        ) from e


def _query(name: str) -> LiteralString:
    return queries.load("target")[name]
