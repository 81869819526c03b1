"""What a session of a test's own sees in PostgreSQL, and the locks that it holds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from shared.db.locks import Lock
from tests.kit.snapshots import TABLE


def users(connection: psycopg.Connection, relation: str = TABLE) -> list[str]:
    return [user for (user,) in connection.execute(f"SELECT user_id FROM {relation} ORDER BY 1".encode())]


def one(connection: psycopg.Connection, query: str, *values: object) -> object:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


@contextmanager
def held(dsn: str, *locks: Lock, shared: bool = False) -> Iterator[Callable[[Lock], object]]:
    """Hold advisory locks in a session of one's own; gives a function that lets one of them go."""
    suffix = "_shared" if shared else ""
    with psycopg.connect(dsn, autocommit=True) as other:
        for lock in locks:
            other.execute(f"SELECT pg_advisory_lock{suffix}(%s)".encode(), [lock.key])
        yield lambda lock: other.execute(f"SELECT pg_advisory_unlock{suffix}(%s)".encode(), [lock.key])
