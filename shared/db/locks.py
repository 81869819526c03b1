"""Advisory locks of PostgreSQL: what each is about, who waits for it and for how long, and who is held to be frozen."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import class_row

from shared import log
from shared.db import queries
from shared.errors import BusyError


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
        """Held while the ledger's schema is brought up to date, and while a table is made."""
        return cls("recosync ledger")


@dataclass(frozen=True)
class Holder:
    """A session that holds what somebody waits for, as far as this role may know of it: a superuser, a member of
    pg_read_all_stats and the same role see all of it. It has held that `since` then at the earliest.
    """

    pid: int
    role: str | None
    application: str | None
    since: datetime | None
    state: str | None

    def __str__(self) -> str:
        known = (
            f"pid {self.pid}",
            f"role {self.role}" if self.role else "",
            self.application or "",
            f"since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "",
        )
        return ", ".join(filter(None, known))


#: Holders that are named: there may be as many as readers.
NAMED = 3

#: Seconds without a gap between readers after which they are named.
SHORT = 2


def busy(
    connection: psycopg.Connection,
    what: str,
    where: str,
    *,
    locks: Sequence[Lock] = (),
    relations: Sequence[sql.Identifier] = (),
) -> BusyError:
    """The failure that tells who holds these locks, or has these relations open: pid, role, application and since when,
    and beside the message, what they do.
    """
    values = {
        "keys": [lock.key for lock in locks],
        "relations": [relation.as_string(connection) for relation in relations],
    }
    found: list[Holder] = []
    # What could not be had matters more than who has it.
    with suppress(psycopg.Error), connection.transaction(), connection.cursor(row_factory=class_row(Holder)) as cursor:
        found = cursor.execute(queries.load("locks")["holders"], values).fetchall()
    named = "; ".join(map(str, found[:NAMED]))
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    doing = "; ".join(f"pid {holder.pid} is {holder.state}" for holder in found[:NAMED] if holder.state)
    return BusyError(f"{what}: {named}{more}" if found else what, where=where, doing=doing)


def tell(waited: BusyError) -> None:
    """Log for whom a wait begins. Commands show what begins with these words."""
    log.info(f"{log.WAITING}{waited}{f' ({waited.doing})' if waited.doing else ''}")


def try_lock(connection: psycopg.Connection, lock: Lock, *, session: bool = False, shared: bool = False) -> bool:
    """Take the lock for this transaction, or for the session, or a share of it, if it is free now, and nobody waits for
    it whom that would hold up.
    """
    function = f"pg_try_advisory_{'lock' if session else 'xact_lock'}{'_shared' if shared else ''}"
    query = queries.load("locks")[function]
    row = connection.execute(query, {"key": lock.key}).fetchone()
    return bool(row and row[0])


def lock_or_busy(connection: psycopg.Connection, lock: Lock, *, session: bool = False) -> None:
    """Take the lock or raise BusyError."""
    if not try_lock(connection, lock, session=session):
        raise taken(connection, lock)


def unlock(connection: psycopg.Connection, lock: Lock) -> None:
    """Let a lock of the session go, or the session is lost, and the lock with it."""
    with suppress(psycopg.Error):
        connection.execute(queries.load("locks")["pg_advisory_unlock"], {"key": lock.key})


def taken(connection: psycopg.Connection, lock: Lock) -> BusyError:
    """The failure that another has the lock; a frozen holder is ended, and the retry finds the lock free."""
    end_stale_holders(connection, lock)
    return busy(connection, "another worker is at it", lock.name, locks=[lock])


def end_stale_holders(connection: psycopg.Connection, lock: Lock) -> None:
    """End the sessions that hold the lock and are older than their process may live, by their own application name.
    Such a worker is frozen, and deaf to every timeout.
    """
    ended = connection.execute(queries.load("locks")["end_stale_holders"], {"key": lock.key}).rowcount
    if ended:
        log.warning("ended a backend that held a lock longer than its process lives", lock=lock.name)


def await_lock(connection: psycopg.Connection, lock: Lock, seconds: float) -> None:
    """Wait for the lock, and hold it until the transaction ends. Raises BusyError when it is not to be had in time.

    Waiting in the server keeps the order of arrival: an exclusive waiter is not starved by new shared ones.
    """
    if not try_lock(connection, lock):
        _await(connection, lock, seconds, "pg_advisory_xact_lock")


def await_shared_lock(connection: psycopg.Connection, lock: Lock, seconds: float) -> None:
    """Wait to share the lock with others, until the session ends. Raises BusyError like `await_lock`."""
    if not try_lock(connection, lock, session=True, shared=True):
        _await(connection, lock, seconds, "pg_advisory_lock_shared")


def _await(connection: psycopg.Connection, lock: Lock, seconds: float, function: str) -> None:
    tell(busy(connection, "others hold it", lock.name, locks=[lock]))
    before = connection.execute("SELECT current_setting('lock_timeout')").fetchone() or ("0",)
    try:
        # Should it fail, the savepoint keeps the transaction, and the lock outlives the savepoint if it does not.
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
            connection.execute(queries.load("locks")[function], {"key": lock.key})
            connection.execute("SELECT set_config('lock_timeout', %s, true)", before)
    except pg.LockNotAvailable as e:
        raise busy(connection, "others hold it", lock.name, locks=[lock]) from e


@contextmanager
def session_locks(connection: psycopg.Connection) -> Iterator[None]:
    """Let the session's locks go at the end: on a close, the server does so too late for a call that follows."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            connection.execute("SELECT pg_advisory_unlock_all()")


class LockPatience:
    """Short tries for locks on relations that readers would queue behind: at once, then after pauses of 2 ms, later up
    to 20 ms.

    The length of a pause is random, to fall out of step with readers that come in a rhythm.
    """

    def __init__(self, seconds: float, connection: psycopg.Connection, relations: Sequence[sql.Identifier]) -> None:
        self._connection, self._relations = connection, relations
        self._deadline = time.monotonic() + seconds
        self._tell_at: float | None = time.monotonic() + SHORT
        self._pause = 0.002
        self.tries = 0

    def again(self, cause: Exception, where: str) -> None:
        """Pause before the next try. Raises BusyError when the time is up. Who holds it up for long is told once."""
        self.tries += 1
        if self._tell_at is not None and time.monotonic() > self._tell_at:
            self._tell_at = None
            tell(busy(self._connection, "readers hold it", where, relations=self._relations))
        if time.monotonic() > self._deadline:
            what = "readers held it all the time"
            raise busy(self._connection, what, where, relations=self._relations) from cause
        time.sleep(random.uniform(0.002, self._pause))  # noqa: S311 - nobody gains by guessing it
        self._pause = min(self._pause * 1.3, 0.020)
