"""Steps that tests of the daily path share: snapshots of one table, told apart by their day, and workers to kill."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

from shared.db.postgres import Lock
from shared.names import ObjectVersion, SnapshotId
from shared.services import Services
from tests.uploads import Upload, arrive, rows

#: The table that tests use when any will do: two text columns.
TABLE = "non_recommendable_items_data"


def day(number: int) -> SnapshotId:
    return SnapshotId(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number))


def upload(services: Services, number: int, *parts: Sequence[str], table: str = TABLE) -> Upload:
    """The snapshot of a day, with the given users in its parts."""
    snapshot = Upload(services, table, day(number))
    for users in parts:
        snapshot.part(bookings(services, users))
    return snapshot


def bookings(services: Services, users: Sequence[str]) -> object:
    return rows(TABLE, services, {"user_id": list(users), "item_id": ["item"] * len(users)})


def publish(services: Services, number: int, *parts: Sequence[str]) -> None:
    """Publish the snapshot of a day with the given users."""
    assert arrive(services, upload(services, number, *parts).manifest()) == ["published"]


def users(connection: psycopg.Connection, relation: str = TABLE) -> list[str]:
    return [user for (user,) in connection.execute(f"SELECT user_id FROM {relation} ORDER BY 1".encode())]


def one(connection: psycopg.Connection, query: str, *values: object) -> object:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


@contextmanager
def held(dsn: str, *locks: Lock, shared: bool = False) -> Iterator[Callable[[Lock], object]]:
    """Hold advisory locks in a session of one's own; gives a function that lets one of them go."""
    suffix = "_shared" if shared else ""
    with psycopg.connect(dsn, autocommit=True) as other:
        for lock in locks:
            other.execute(f"SELECT pg_advisory_lock{suffix}(%s)".encode(), [lock.key])
        yield lambda lock: other.execute(f"SELECT pg_advisory_unlock{suffix}(%s)".encode(), [lock.key])


@contextmanager
def worker(env: Mapping[str, str], code: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that runs `code` with `services` at hand; killed at the end if it still runs."""
    prelude = "import sys; from shared.services import Services; services = Services.from_environment()"
    command = [sys.executable, "-c", f"{prelude}\n{code}", *map(str, arguments)]
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


#: Code of a worker that handles the finalize event of an object.
IMPORT = """
from shared.daily import arrival
from shared.names import ObjectVersion
arrival.handle(services, ObjectVersion(sys.argv[1], sys.argv[2], int(sys.argv[3])), 1)
"""


@contextmanager
def importing(env: Mapping[str, str], version: ObjectVersion) -> Iterator[subprocess.Popen[bytes]]:
    with worker(env, IMPORT, version.bucket, version.name, version.generation) as process:
        yield process


class Background:
    """A call in a thread of its own; `result` waits for it and gives or raises its outcome."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcome: list[object] = []
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._outcome.append(call())
            except BaseException as e:  # noqa: BLE001 - raised where the result is asked for
                self._error = e

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, seconds: float = 60) -> object:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it never ended"
        if self._error is not None:
            raise self._error
        return self._outcome[0]


def publish_rows(services: Services, number: int, table: str, values: Mapping[str, object]) -> None:
    """Publish the snapshot of a day that is one part with these columns."""
    snapshot = Upload(services, table, day(number))
    snapshot.part(rows(table, services, values))
    assert arrive(services, snapshot.manifest()) == ["published"]
