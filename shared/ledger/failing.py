"""What fails now: what the last answer of a function told as failed of a table, a view or a log, until it succeeds.

A failure is kept in a transaction of its own. If it can't be kept, that is logged, and changes neither the answer nor
the failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import errors as pg

from shared import log
from shared.db import queries
from shared.db.postgres import connect
from shared.errors import MAX_MESSAGE, PermanentError, SyncError, shown
from shared.ledger import failures
from shared.ledger.failures import PermanentFailure
from shared.settings import CommonSettings


@dataclass(frozen=True)
class Failing:
    """`name` is the table's, the view's or the log's, and empty for a failure that is about none of them. `subject`
    says what of it failed, where another part of it may succeed meanwhile.
    """

    name: str
    error: str
    message: str
    retryable: bool
    subject: str = ""

    @classmethod
    def of(cls, e: Exception) -> Self:
        """The failure, named by what was being worked on where it was raised. Of a bug only the type is told: its text
        may quote a row.
        """
        context = log.context_of(e)
        name, subject = str(context.get("view") or context.get("table") or ""), str(context.get("object") or "")
        if isinstance(e, SyncError):
            return cls(name, type(e).__name__, str(e), e.retryable, subject)
        return cls(name, type(e).__name__, f"crashed ({type(e).__name__}); the log says where", True, subject)


def tell(settings: CommonSettings, function: str, failures: Sequence[Failing]) -> None:
    """Keep what an answer of the function tells."""
    try:
        with connect(settings, "telling what fails") as connection, connection.transaction():
            # Many instances may fail at the same table at once.
            connection.execute("SET LOCAL lock_timeout = '5s'")
            # In one order: calls that tell of the same tables at once would wait for each other for ever.
            for failing in sorted(failures, key=lambda failing: failing.name):
                texts = {"subject": failing.subject, "message": failing.message, "name": failing.name}
                values = {name: shown(text, MAX_MESSAGE) for name, text in texts.items()}
                _run(connection, "tell", function, {"error": failing.error, "retryable": failing.retryable, **values})
    except Exception as e:  # noqa: BLE001 - whatever it is, what failed before matters more
        _not_kept(e)


def tell_for_good(settings: CommonSettings, function: str, e: PermanentError) -> None:
    """Keep that an event failed for good, if its worker knew no table of which to record that."""
    try:
        with connect(settings, "telling what fails") as connection:
            failing, context = Failing.of(e), log.context_of(e)
            names = [str(context[kind]) for kind in ("table", "view") if context.get(kind)]
            if names:
                settle(connection, function, names, failing.subject)
            else:
                failures.record(connection, PermanentFailure(e, function))
    except Exception as error:  # noqa: BLE001 - as above
        _not_kept(error)


def settle(connection: psycopg.Connection, function: str, names: Sequence[str], subject: str | None = None) -> None:
    """Take back what was told of these names: of the subject, or all of it. A failure to do so is logged."""
    values = {"names": [*names, ""], "subject": subject}
    try:
        told = connection.execute(queries.load("failing")["told"], values | {"function": function}).fetchone()
        if told and told[0]:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '5s'")
                _run(connection, "settle", function, values)
    except (pg.UndefinedTable, pg.InsufficientPrivilege):
        pass  # no ledger, one of before, or one in which this role can't have told anything
    except psycopg.Error as e:
        log.warning("the ledger tells of a failure that is over", sqlstate=e.sqlstate)


def settle_all(settings: CommonSettings, function: str, names: Sequence[str]) -> None:
    """Take back all that was told of these names, over a connection of its own."""
    try:
        with connect(settings, "telling what is well") as connection:
            settle(connection, function, names)
    except Exception as e:  # noqa: BLE001 - what succeeded did
        log.warning("the ledger may tell of a failure that is over", e)


def _run(connection: psycopg.Connection, query: str, function: str, values: Mapping[str, object]) -> None:
    connection.execute(queries.load("failing")[query], {"function": function, **values})


def _not_kept(e: Exception) -> None:
    """The status page can't tell of what failed."""
    log.warning("what failed is not in the ledger", e)
