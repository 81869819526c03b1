"""A session that a warm instance keeps from one event to the next: a new one has to log in, and to learn anew of each
relation that it meets, which costs the server as much as all statements of a small part.

To whom it is given, it is like a new one: its settings, locks, temporary tables and role are those of a session's
start. Only what the server has learnt and planned is kept.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq, sql

from shared.db.postgres import asked_for, opened, translated
from shared.db.session import Session, application_name, pin

if TYPE_CHECKING:
    from shared.settings import CommonSettings

#: Seconds after which the server ends a session that nobody uses: an instance that is frozen between events can't.
IDLE = 60

#: Seconds after which a session is not used again, whatever is set for its role meanwhile, and however much it learnt.
LONGEST = 600

#: Seconds in which a session that was kept has to answer. The way to it may be gone, and nobody told.
PATIENCE = 3

#: What DISCARD ALL does (https://www.postgresql.org/docs/current/sql-discard.html), but that plans are kept, and that
#: it may be one message with what follows. A role that the URL's options set is the session's own.
_CLEAN = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *;"
    " SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;"
    " SET idle_session_timeout = {}"
)
_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_WAKE = "RESET idle_session_timeout; SET application_name = {}"


@dataclass(frozen=True)
class _Kept:
    """A session, what it was opened by, and when it was opened and left."""

    session: Session
    asked: str
    opened: float
    left: float = 0.0


_lock = threading.Lock()
_left: list[_Kept] = []


@contextmanager
def kept(settings: CommonSettings, purpose: str) -> Iterator[Session]:
    """As `connect`. The session is one that an earlier call of this process left, if that one is still alive; it is
    left for the next call unless this one fails.
    """
    asked = asked_for(settings, purpose)
    found = _taken(asked, settings, purpose) or _Kept(opened(asked), asked, time.time())
    ended_well = False
    try:
        with translated("connecting to PostgreSQL"):
            pin(found.session)
        with translated(purpose):
            yield found.session
        ended_well = True
    finally:
        if not (ended_well and _leave(found)):
            found.session.close()


def _taken(asked: str, settings: CommonSettings, purpose: str) -> _Kept | None:
    """A session that was left, and answers. All others that were left are closed."""
    with _lock:
        found = _left.pop() if _left else None
    if found is None:
        return None
    now = time.time()
    fresh = 0 <= now - found.left < IDLE and now - found.opened < LONGEST
    # Whoever finds a lock of it taken counts from the session's start: the name says how long it lives from there.
    age = math.ceil(max(0.0, now - found.opened)) + 1
    wake = sql.SQL(_WAKE).format(application_name(settings.life + age, purpose)).as_bytes(found.session)
    if found.asked == asked and fresh and _answers(found.session, wake):
        return found
    found.session.close()
    return None


def _answers(session: Session, statements: bytes) -> bool:
    """Whether the session does as it is told, and soon."""
    server = session.pgconn
    try:
        server.send_query(statements)
        while server.flush():
            pass
        waiting = select.poll()
        waiting.register(server.socket, select.POLLIN)
        if not waiting.poll(PATIENCE * 1000):
            return False
        results = list(iter(server.get_result, None))
    except psycopg.Error:
        return False
    return bool(results) and all(result.status in _DONE for result in results)


def _leave(found: _Kept) -> bool:
    """Leave the session for the next call; False when it can't be, or one is there already."""
    session = found.session
    if session.info.transaction_status != pq.TransactionStatus.IDLE:
        return False
    # The work is done: nobody waits for a way that is gone.
    if not _answers(session, sql.SQL(_CLEAN).format(f"{IDLE}s").as_bytes(session)):
        return False
    with _lock:
        if not _left:
            _left.append(_Kept(session, found.asked, found.opened, time.time()))
            return True
    return False
