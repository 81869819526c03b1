"""Attempts at work that may kill its worker: noted before they begin, forgotten once the worker has an answer.

Pub/Sub, which delivers an event again, can't tell a worker that was killed from a worker that asked for patience. The
notes can: work that was begun several times, and never came to an answer, would kill the next worker too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from shared.db import queries
from shared.db.locks import Lock, taken, unlock
from shared.db.postgres import connect
from shared.errors import FatalWorkError, SyncError
from shared.settings import CommonSettings

#: Attempts without an answer after which no further one is made. A deployment or a crash of the machine costs one too.
MOST = 5


@dataclass(frozen=True)
class Work:
    """A piece of work: the name by which its attempts are counted, and what to do once there were too many."""

    name: str
    remedy: str


def kept(connection: psycopg.Connection) -> bool:
    """Whether this role may note attempts in the ledger. It may not if there is no ledger yet, if the ledger is older
    than this code, or if it belongs to another role.
    """
    row = connection.execute(queries.load("attempts")["kept"]).fetchone()
    return bool(row and row[0])


@contextmanager
def counted(connection: psycopg.Connection, settings: CommonSettings, *works: Work) -> Iterator[None]:
    """Count one attempt at all these works, for as long as it has no answer; a failure is an answer too.

    The caller holds the works' locks, and no transaction. Raises FatalWorkError, in place of the attempt, once MOST
    attempts at one of them came to no answer. Then the attempts are forgotten, so that an operator's next call tries
    again.
    """
    begun = {work: _begin(connection, work) for work in works}
    try:
        _refuse_fatal(begun)
        yield
    finally:
        _forget(connection, settings, works)


@contextmanager
def alone(connection: psycopg.Connection, settings: CommonSettings, lock: Lock, work: Work) -> Iterator[None]:
    """The same for one work, whose lock the session holds meanwhile. Raises BusyError when another has it."""
    values = {"work": work.name, "key": lock.key}
    try:
        row = connection.execute(queries.load("attempts")["begin_alone"], values).fetchone()
    except pg.LockNotAvailable as e:  # who had the lock has not taken its own note away yet
        unlock(connection, lock)
        raise taken(connection, lock) from e
    if row is None:
        raise taken(connection, lock)
    try:
        _refuse_fatal({work: int(row[0])})
        yield
    finally:
        try:
            connection.execute(queries.load("attempts")["end_alone"], values)
        except psycopg.Error:
            unlock(connection, lock)
            _forget(connection, settings, [work])


def _refuse_fatal(begun: Mapping[Work, int]) -> None:
    exhausted = [work for work, times in begun.items() if times > MOST]
    if exhausted:
        raise FatalWorkError(
            f"was begun {MOST} times, and each time its worker was killed or ran out of time",
            where=", ".join(work.name for work in exhausted),
            remedy=exhausted[0].remedy,
        )


def _begin(connection: psycopg.Connection, work: Work) -> int:
    """Note the attempt; the number of those without an answer, this one among them."""
    row = connection.execute(queries.load("attempts")["begin"], {"work": work.name}).fetchone()
    return int(row[0]) if row else 0


def _forget(connection: psycopg.Connection, settings: CommonSettings, works: Sequence[Work]) -> None:
    """Forget the attempts. A connection that was lost is no death of the worker: then over another, if there is one."""
    try:
        _delete(connection, works)
    except psycopg.Error:
        with suppress(SyncError), connect(settings, "forgetting an attempt") as other:
            _delete(other, works)


def _delete(connection: psycopg.Connection, works: Sequence[Work]) -> None:
    for work in works:
        connection.execute(queries.load("attempts")["forget"], {"work": work.name})
