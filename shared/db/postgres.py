"""PostgreSQL: connections, statements, and the errors of the server in our vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
import psycopg.conninfo
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from shared.db import url
from shared.db.session import SEARCH_PATH, Session, is_here, parameters, pin, unreachable
from shared.errors import ConfigurationError, DataError, RetryableError, TargetError
from shared.gcp.tokens import LOG_IN, AccessToken, FunctionToken

if TYPE_CHECKING:
    from shared.settings import CommonSettings

#: SQLSTATE classes after which the same transaction can succeed: connection, rollback, resources, operator, system
#: (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_TRANSIENT_CLASSES = {"08", "40", "53", "57", "58"}
#: A type, function or schema that the session does not find: it is absent, as PostGIS may be, or not in its path.
_OUT_OF_REACH = {"42704", "42883", "3F000"}
#: What the server's words for a missing right ask for. Without these words, as in another language, it is just a right.
_RIGHTS = (
    ("row-level security", "ALTER ROLE … BYPASSRLS for the loader's role: a policy would hide rows in silence"),
    ("terminat", "GRANT pg_signal_backend TO the loader's role, where functions log in as several"),
    ("must be owner", "ALTER … OWNER TO the loader's role"),
    ("(?:member of|SET ROLE)", "GRANT that role TO the loader's role"),
    ("for database", "GRANT CREATE ON DATABASE … TO the loader's role"),
    ("for schema", "GRANT USAGE, CREATE ON SCHEMA … TO the loader's role"),
    ("for (?:table|view|materialized view)", "GRANT SELECT ON … TO the loader's role, and DELETE, to delete what left"),
)

#: Of the account that runs, for databases that it may log in to with that.
_log_in: AccessToken = FunctionToken(LOG_IN)

#: Locks, objects in use, aborted and timed out transactions, and a server that is read-only while it changes roles.
_TRANSIENT_STATES = {"55P03", "55006", "25P02", "25P03", "25P04", "25006"}


def conninfo(settings: CommonSettings, purpose: str) -> str:
    """What libpq needs to connect as we do, password included, for a session that finds functions and types in
    pg_catalog alone. Raises ConfigurationError for a malformed URL.

    The URL is read anew each time, so a rotated secret needs no redeploy.
    """
    return asked_for(settings, purpose, search_path=SEARCH_PATH)


@contextmanager
def connect(settings: CommonSettings, purpose: str) -> Iterator[Session]:
    """An autocommit connection with bounded patience, in a session of `PINNED`.

    Raises RetryableError when PostgreSQL can't be reached, and ConfigurationError when the URL or PostgreSQL's answer
    shows that no retry alone helps. The driver's exceptions become ours on their way out of the block.
    """
    connection = opened(asked_for(settings, purpose))
    try:
        with translated("connecting to PostgreSQL"):
            pin(connection)
        # Whoever knows better what was being done says so inside.
        with translated(purpose):
            yield connection
    finally:
        connection.close()


def opened(asked: str) -> Session:
    """A connection by what `conninfo` gave. Raises RetryableError or ConfigurationError when there is none."""
    try:
        return Session.connect(asked, autocommit=True)
    except (psycopg.OperationalError, UnicodeError) as e:
        raise unreachable(e) from e


def asked_for(settings: CommonSettings, purpose: str, **options: str) -> str:
    """What `connect` connects by, for `opened`, with more options. Raises ConfigurationError for a malformed URL."""
    text = settings.database.read()
    given = url.parse(text, settings.database_secret)
    asked = parameters(settings, given, purpose, options)
    if settings.database.iam:
        asked["password"] = _token_as_password(given, settings.database_secret)
    return psycopg.conninfo.make_conninfo(text, **asked)


def _token_as_password(given: Mapping[str, str], where: str) -> str:
    """What IAM database authentication takes for a password: an access token, which no server may be shown in the clear
    (https://cloud.google.com/sql/docs/postgres/iam-logins).
    """
    if "password" in given:
        raise ConfigurationError(
            "the database URL has a password, where DATABASE_LOGIN=iam has the account's token for one",
            where=where,
            remedy="Take out one of the two",
        )
    if given.get("sslmode") in ("disable", "allow", "prefer") and not is_here(given):
        raise ConfigurationError(
            "the database URL lets the account's token travel without TLS",
            where=where,
            remedy="Take sslmode out of it, or say verify-ca",
        )
    return _log_in.get(renew=False) or ""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """The driver's exceptions become ours once, here. Messages that could quote a value stay out."""
    try:
        yield
    except psycopg.Error as e:
        raise _translate(e, doing) from e


def is_transient(e: psycopg.Error) -> bool:
    """Whether the server says that the same transaction can succeed later."""
    state = e.sqlstate or ""
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES


def is_wrong_deployment(e: psycopg.Error) -> bool:
    """Whether an administrator has to mend it: a missing right, or something that the session does not find."""
    return _wrong_deployment(e) is not None


def _translate(e: psycopg.Error, doing: str) -> Exception:
    state = e.sqlstate or ""
    message = e.diag.message_primary or type(e).__name__
    if is_transient(e):
        return RetryableError(f"PostgreSQL: {message}", where=doing)
    if not state and isinstance(e, psycopg.OperationalError | psycopg.InterfaceError):
        # No state: the connection is gone. The text may quote the host, never a value.
        return RetryableError(f"the connection to PostgreSQL is lost ({type(e).__name__})", where=doing)
    if remedy := _wrong_deployment(e):
        return ConfigurationError(f"PostgreSQL: {message}", where=doing, remedy=remedy)
    if state[:2] in ("22", "23"):
        return DataError(f"PostgreSQL refused a value ({type(e).__name__}, {state})", where=doing)
    if state[:2] == "P0":  # a function's own words, which may quote what it was called with
        return TargetError(f"PostgreSQL: a function failed ({type(e).__name__}, {state})", where=doing)
    return TargetError(f"PostgreSQL: {message} ({state})", where=doing)


def _wrong_deployment(e: psycopg.Error) -> str | None:
    """What an administrator does about an error that is neither the work's nor the server's; None of any other."""
    state, message = e.sqlstate or "", e.diag.message_primary or ""
    # A relation that a statement of ours lacks is a mistake in it; one that a function's own statement lacks is not.
    if state in _OUT_OF_REACH or (state == pg.UndefinedTable.sqlstate and e.diag.internal_query):
        return (
            "CREATE EXTENSION for what is absent. Name the schema of what is elsewhere: in the template of the view, or"
            " for what a function calls by ALTER FUNCTION … SET search_path"
        )
    if state != pg.InsufficientPrivilege.sqlstate:
        return None
    return next((remedy for pattern, remedy in _RIGHTS if re.search(pattern, message)), "Grant it to the loader's role")


#: Lets a transaction's locks go before its commit is on the disk, which takes long beside a COPY. Until `make_durable`,
#: a crash of the server may undo it.
COMMIT_LATER = sql.SQL("SET LOCAL synchronous_commit = off")


@dataclass(frozen=True)
class CopyPlace:
    """Where a COPY failed, from the server's error context: the line, from 1, and the column if it knows."""

    line: int
    column: str | None

    @classmethod
    def of(cls, e: BaseException | None) -> CopyPlace | None:
        context = e.diag.context if isinstance(e, psycopg.Error) else None
        match = re.search(r"COPY \S+, line (\d+)(?:, column ([^\s:,]+))?", context or "")
        return cls(int(match[1]), match[2]) if match else None


def at_once(connection: psycopg.Connection, statements: Iterable[sql.Composable]) -> list[list[TupleRow]]:
    """Execute all the statements by one message to PostgreSQL; the rows of each that gives any.

    PostgreSQL waits for us only at the end, where `idle_in_transaction_session_timeout` counts. In the middle of a
    pipeline, where psycopg would send the statements one by one, that timeout does not count.

    What the session has prepared stays prepared: psycopg would forget all of it at an ALTER. PostgreSQL plans anew by
    itself what reads an altered relation, and no statement of ours gives other columns after one.
    """
    threshold, connection.prepare_threshold = connection.prepare_threshold, None
    try:
        cursor = connection.execute(sql.SQL(";\n").join(statements))
    finally:
        connection.prepare_threshold = threshold
    return [result.fetchall() for result in cursor.results() if result.description]


def bound(connection: psycopg.Connection, query: LiteralString, values: Mapping[str, object]) -> sql.SQL:
    """A query with its values in it, for `at_once`."""
    text = psycopg.ClientCursor(connection).mogrify(query, values)
    return sql.SQL(text.rstrip("; \n"))


def make_durable(connection: psycopg.Connection) -> None:
    """Return when all that was committed so far is on the disk. The WAL is written in order, so that its last record on
    the disk has all others before it.
    """
    connection.execute("SELECT pg_logical_emit_message(true, 'recosync', '')")
