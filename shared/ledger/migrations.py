"""The ledger's version, and who brings it up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString, cast

import psycopg
from psycopg import errors as pg

from shared import log
from shared.catalog import ROOT
from shared.db.locks import Lock, await_lock
from shared.db.postgres import translated
from shared.errors import ConfigurationError, PermanentError
from shared.ledger import statements


def prepare(connection: psycopg.Connection, *, migrates: bool) -> None:
    """Make sure that the ledger has the version that this code knows. With `migrates`, an older ledger is brought up to
    date. Otherwise it is refused, because functions that are not deployed anew yet work with it.

    If there is no ledger, whoever comes first makes it. Raises ConfigurationError.
    """
    if migrates or not exists(connection):
        migrate(connection)


def exists(connection: psycopg.Connection) -> bool:
    """Whether there is a ledger, for steps that only read it. Raises ConfigurationError when the ledger has another
    version than this code knows.
    """
    with translated("looking at the ledger"):
        found = refuse_newer(connection)
    if 0 < found < _wanted():
        raise ConfigurationError(
            f"is of version {found}, this code knows {_wanted()}",
            where="the ledger",
            remedy="Deploy the functions of this version, or use the code that is deployed. Or run: recosync migrate",
        )
    return found > 0


def migrate(connection: psycopg.Connection) -> None:
    """Bring the ledger's schema up to date: on first use, and after a deployment that changes it.

    Raises ConfigurationError when that can't be done, and when the ledger is newer than this code: the functions that
    are about to be deployed do the waiting work.
    """
    with _as_configuration(), translated("preparing the ledger"):
        if is_current(connection):
            return
        with connection.transaction():
            # Another instance may be at it; it takes a moment, so wait rather than fail the event.
            await_lock(connection, Lock.ledger(), 30)
            # A stage or a publish may be under way; only our own functions queue behind us.
            connection.execute("SET LOCAL lock_timeout = '5s'")
            if connection.info.parameter_status("server_encoding") != "UTF8":
                raise ConfigurationError(
                    "the database is not in UTF8, as BigQuery's text is",
                    where=connection.info.dbname,
                    remedy="Make it with ENCODING 'UTF8'",
                )
            if not statements.one(connection, "schema_exists", {}):
                statements.run(connection, "create_schema", {})
            statements.run(connection, "create_migration", {})
            for version in range(_version(connection) + 1, _wanted() + 1):
                # Deployed with the code, as trusted as a literal.
                ddl: LiteralString = (ROOT / "sql" / "ledger" / f"{version}.sql").read_text()
                connection.execute(ddl)
                statements.run(connection, "record_migration", {"version": version})
                log.info("ledger migrated", version=version)


def is_current(connection: psycopg.Connection) -> bool:
    """Whether the ledger's schema has the version that this code needs, and no older one. Raises ConfigurationError
    when it is newer.
    """
    return refuse_newer(connection) == _wanted()


def refuse_newer(connection: psycopg.Connection) -> int:
    """The ledger's version. Raises ConfigurationError when it is newer than this code knows: this code's statements may
    fail there, and would be recorded as failures for good.
    """
    found = _version(connection)
    if found > _wanted():
        raise ConfigurationError(
            f"is of version {found}, this code knows {_wanted()}",
            where="the ledger",
            remedy="Deploy the functions of the version that brought it up to date",
        )
    return found


@contextmanager
def _as_configuration() -> Iterator[None]:
    """A ledger that can't be made is the deployment's fault: events must outlive its mending."""
    try:
        yield
    except PermanentError as e:
        raise ConfigurationError(e.what, where=e.where, remedy=e.remedy) from e


def _wanted() -> int:
    return max(int(file.stem) for file in (ROOT / "sql" / "ledger").glob("*.sql"))


def _version(connection: psycopg.Connection) -> int:
    try:
        return int(cast(int, statements.one(connection, "applied", {})))
    except pg.UndefinedTable:  # asked so, it is one question wherever there is a ledger
        return 0
