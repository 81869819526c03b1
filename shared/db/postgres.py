"""PostgreSQL: connections, advisory locks, and the server's errors in our vocabulary."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

import psycopg
import psycopg.conninfo
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from shared import log
from shared.db import queries, url
from shared.db.session import SEARCH_PATH, Session, parameters, pin, unreachable
from shared.errors import BusyError, ConfigurationError, DataError, RetryableError, TargetError

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
    ("must be owner", "ALTER … OWNER TO the loader's role"),
    ("(?:member of|SET ROLE)", "GRANT that role TO the loader's role"),
    ("for database", "GRANT CREATE ON DATABASE … TO the loader's role"),
    ("for schema", "GRANT USAGE, CREATE ON SCHEMA … TO the loader's role"),
    ("for (?:table|view|materialized view)", "GRANT SELECT ON … TO the loader's role, and DELETE, to delete what left"),
)

#: Locks, objects in use, aborted and timed out transactions, and a server that is read-only while it changes roles.
_TRANSIENT_STATES = {"55P03", "55006", "25P02", "25P03", "25P04", "25006"}


def conninfo(settings: CommonSettings, purpose: str) -> str:
    """What libpq needs to connect as we do, password included, for a session that finds functions and types in
    pg_catalog alone. Raises ConfigurationError for a malformed URL.

    The URL is read anew each time, so a rotated secret needs no redeploy.
    """
    return _conninfo(settings, purpose, search_path=SEARCH_PATH)


@contextmanager
def connect(settings: CommonSettings, purpose: str) -> Iterator[Session]:
    """An autocommit connection with bounded patience, in a session of `PINNED`.

    Raises RetryableError when PostgreSQL can't be reached, and ConfigurationError when the URL or PostgreSQL's answer
    shows that no retry alone helps. The driver's exceptions become ours on their way out of the block.
    """
    connection = opened(_conninfo(settings, purpose))
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


def _conninfo(settings: CommonSettings, purpose: str, **options: str) -> str:
    text = settings.database.read()
    given = url.parse(text, settings.database_secret)
    return psycopg.conninfo.make_conninfo(text, **parameters(settings, given, purpose, options))


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
    return _wrong_deployment(e.sqlstate or "", e.diag.message_primary or "") is not None


def _translate(e: psycopg.Error, doing: str) -> Exception:
    state = e.sqlstate or ""
    message = e.diag.message_primary or type(e).__name__
    if is_transient(e):
        return RetryableError(f"PostgreSQL: {message}", where=doing)
    if not state and isinstance(e, psycopg.OperationalError | psycopg.InterfaceError):
        # No state: the connection is gone. The text may quote the host, never a value.
        return RetryableError(f"the connection to PostgreSQL is lost ({type(e).__name__})", where=doing)
    if remedy := _wrong_deployment(state, message):
        return ConfigurationError(f"PostgreSQL: {message}", where=doing, remedy=remedy)
    if state[:2] in ("22", "23"):
        return DataError(f"PostgreSQL refused a value ({type(e).__name__}, {state})", where=doing)
    if state[:2] == "P0":  # a function's own words, which may quote what it was called with
        return TargetError(f"PostgreSQL: a function failed ({type(e).__name__}, {state})", where=doing)
    return TargetError(f"PostgreSQL: {message} ({state})", where=doing)


def _wrong_deployment(state: str, message: str) -> str | None:
    """What an administrator does about an error that is neither the work's nor the server's; None of any other."""
    if state in _OUT_OF_REACH:
        return (
            "CREATE EXTENSION for what is absent. Name the schema of what is elsewhere: in the template of the view, or"
            " for what a function calls by ALTER FUNCTION … SET search_path"
        )
    if state != pg.InsufficientPrivilege.sqlstate:
        return None
    return next((remedy for pattern, remedy in _RIGHTS if re.search(pattern, message)), "Grant it to the loader's role")


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


@dataclass(frozen=True)
class Lock:
    """An advisory lock, named by what it protects. The key is the name's hash: 64 bits, as PostgreSQL has it."""

    name: str

    @property
    def key(self) -> int:
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), signed=True)

    @classmethod
    def part(cls, version: object) -> Lock:
        """Held by whoever stages a part, or drops it."""
        return cls(f"recosync part {version}")

    @classmethod
    def manifest(cls, version: object) -> Lock:
        """Held by whoever reads a manifest."""
        return cls(f"recosync manifest {version}")

    @classmethod
    def indexes(cls, part_id: int) -> Lock:
        """Held by the transaction that gives a staged part the indexes that its table got meanwhile."""
        return cls(f"recosync indexes {part_id}")

    @classmethod
    def publication(cls, table: str) -> Lock:
        """Shared by what builds from the table, exclusive to what publishes it. Under it is decided where a snapshot
        stands.
        """
        return cls(f"recosync publication {table}")

    @classmethod
    def view(cls, view: str) -> Lock:
        """Held while a view is built and swapped."""
        return cls(f"recosync view {view}")

    @classmethod
    def build(cls, slot: int) -> Lock:
        """One of the places for view builds: there are as many as may run at once."""
        return cls(f"recosync build {slot}")

    @classmethod
    def hourly(cls, table: str) -> Lock:
        """Held by the run that exports a log."""
        return cls(f"recosync hourly {table}")

    @classmethod
    def housekeeping(cls) -> Lock:
        """Held by the call that drops what nobody needs any more."""
        return cls("recosync housekeeping")

    @classmethod
    def ledger(cls) -> Lock:
        """Held while the ledger's schema is brought up to date."""
        return cls("recosync ledger")


def try_lock(connection: psycopg.Connection, lock: Lock, *, session: bool = False, shared: bool = False) -> bool:
    """Take the lock for this transaction, or for the session, if it is free now. A transaction may share it."""
    exclusive = "pg_try_advisory_lock" if session else "pg_try_advisory_xact_lock"
    function = "pg_try_advisory_xact_lock_shared" if shared else exclusive
    query = queries.load("locks")[function]
    row = connection.execute(query, {"key": lock.key}).fetchone()
    return bool(row and row[0])


def lock_or_busy(connection: psycopg.Connection, lock: Lock, *, session: bool = False) -> None:
    """Take the lock or raise BusyError; a frozen holder is ended, and the retry finds the lock free."""
    if not try_lock(connection, lock, session=session):
        end_stale_holders(connection, lock)
        raise BusyError("another worker is at it", where=lock.name)


@contextmanager
def holding(connection: psycopg.Connection, lock: Lock) -> Iterator[None]:
    """Hold the lock in the session meanwhile. Raises BusyError when another has it."""
    lock_or_busy(connection, lock, session=True)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # then the session is lost, and the lock with it
            connection.execute(queries.load("locks")["pg_advisory_unlock"], {"key": lock.key})


def end_stale_holders(connection: psycopg.Connection, lock: Lock) -> None:
    """End the sessions that hold the lock and are older than their process may live, by their own application name.
    Such a worker is frozen, and deaf to every timeout.
    """
    ended = connection.execute(queries.load("locks")["end_stale_holders"], {"key": lock.key}).rowcount
    if ended:
        log.warning("ended a backend that held a lock longer than its process lives", lock=lock.name)


def at_once(connection: psycopg.Connection, statements: Iterable[sql.Composable]) -> list[list[TupleRow]]:
    """Execute all the statements by one message to PostgreSQL; the rows of each that gives any.

    PostgreSQL waits for us only at the end, where `idle_in_transaction_session_timeout` counts. In the middle of a
    pipeline, where psycopg would send the statements one by one, that timeout does not count.
    """
    cursor = connection.execute(sql.SQL(";\n").join(statements))
    return [result.fetchall() for result in cursor.results() if result.description]


def bound(connection: psycopg.Connection, query: LiteralString, values: Mapping[str, object]) -> sql.SQL:
    """A query with its values in it, for `at_once`."""
    text = psycopg.ClientCursor(connection).mogrify(query, values)
    return sql.SQL(text.rstrip("; \n"))


def commit_later(connection: psycopg.Connection) -> None:
    """Let this transaction's locks go before its commit is on the disk, which takes long beside a COPY. Until
    `make_durable`, a crash of the server may undo it.
    """
    connection.execute("SET LOCAL synchronous_commit = off")


def make_durable(connection: psycopg.Connection) -> None:
    """Return when all that was committed so far is on the disk. The WAL is written in order, so that its last record on
    the disk has all others before it.
    """
    connection.execute("SELECT pg_logical_emit_message(true, 'recosync', '')")


def await_lock(connection: psycopg.Connection, lock: Lock, seconds: float) -> None:
    """Wait for the lock, and hold it until the transaction ends. Raises BusyError when it is not to be had in time.

    Waiting in the server keeps the order of arrival: an exclusive waiter is not starved by new shared ones.
    """
    _await(connection, lock, seconds, "pg_advisory_xact_lock")


def await_shared_lock(connection: psycopg.Connection, lock: Lock, seconds: float) -> None:
    """Wait to share the lock with others, until the session ends. Raises BusyError like `await_lock`."""
    _await(connection, lock, seconds, "pg_advisory_lock_shared")


def _await(connection: psycopg.Connection, lock: Lock, seconds: float, function: str) -> None:
    before = connection.execute("SELECT current_setting('lock_timeout')").fetchone() or ("0",)
    try:
        # Should it fail, the savepoint keeps the transaction, and the lock outlives the savepoint if it does not.
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
            connection.execute(queries.load("locks")[function], {"key": lock.key})
            connection.execute("SELECT set_config('lock_timeout', %s, true)", before)
    except pg.LockNotAvailable as e:
        raise BusyError("others hold it", where=lock.name) from e


@contextmanager
def session_locks(connection: psycopg.Connection) -> Iterator[None]:
    """Let the session's locks go at the end: on a close, the server does so too late for a call that follows."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.execute("SELECT pg_advisory_unlock_all()")


class LockPatience:
    """Short tries for a lock that readers would queue behind: at once, then after pauses of 2 ms, later up to 20 ms.

    The length of a pause is random, to fall out of step with readers that come in a rhythm.
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = 0.002
        self.tries = 0

    def again(self, cause: Exception, where: str) -> None:
        """Pause before the next try. Raises BusyError when the time is up."""
        self.tries += 1
        if time.monotonic() > self._deadline:
            raise BusyError("readers held it all the time", where=where) from cause
        time.sleep(random.uniform(0.002, self._pause))  # noqa: S311 - nobody gains by guessing it
        self._pause = min(self._pause * 1.3, 0.020)
