"""Readers as the API has them: `python -m tests.bench.reader_client CONFIGURATION`, until SIGTERM.

A process of its own, so that nothing else that the benchmark does in Python holds them up. Reads are due at a fixed
rate, however long the ones before take, and the time of each counts from when it was due: what queues behind a slow one
is slow too. With its first words on standard output it says that it reads, with its last that nothing went wrong; in
between, each line is a `Read`.

Each connection is as psycopg makes it, and prepares a statement that it has executed five times. The server tells it
how long it waited for a lock (`log_lock_waits`, a message like any other to who asks for LOG messages).
"""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psycopg
from psycopg import errors as pg

READY, DONE = "reading", "done"

_WARM_UP = 6
_WAITED = re.compile(r"acquired \w+ on .* after ([\d.]+) ms")


@dataclass(frozen=True)
class Query:
    """A statement, and rows of values to choose from for its parameters."""

    kind: str
    statement: str
    values: Sequence[Sequence[object]] = ((),)


@dataclass(frozen=True)
class Configuration:
    """All queries take turns; `rate` are reads a second, of all together."""

    dsn: str
    rate: float
    connections: int
    queries: Sequence[Query]

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Self:
        read = json.loads(file.read_text())
        return cls(**{**read, "queries": [Query(**query) for query in read["queries"]]})


@dataclass(frozen=True)
class Read:
    """One read: the instant on the machine's monotonic clock when it was due, seconds from then until its rows were
    there, and the ms of them that the server says it waited for a lock.
    """

    kind: str
    due: float
    seconds: float
    waited: float

    def __str__(self) -> str:
        return f"{self.kind} {self.due:.6f} {self.seconds:.6f} {self.waited:.3f}"

    @classmethod
    def parse(cls, line: str) -> Self:
        kind, due, seconds, waited = line.split()
        return cls(kind, float(due), float(seconds), float(waited))


class _Readers:
    """As many threads as connections; each takes the next read as soon as it is free."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._stopped = threading.Event()
        self._ready = threading.Barrier(configuration.connections, self._begin)
        self._numbers = itertools.count()
        self._started = 0.0

    def stop(self, *_: object) -> None:
        self._stopped.set()

    def run(self) -> None:
        with ThreadPoolExecutor(self._configuration.connections) as pool:
            for reader in [pool.submit(self._read, seed) for seed in range(self._configuration.connections)]:
                reader.result()

    def _begin(self) -> None:
        print(READY, flush=True)  # noqa: T201
        self._started = time.monotonic()

    def _read(self, seed: int) -> None:
        try:
            with psycopg.connect(self._configuration.dsn, autocommit=True, options=_OPTIONS) as connection:
                self._read_with(connection, random.Random(seed))  # noqa: S311
        finally:
            # When one fails, all end.
            self._stopped.set()
            self._ready.abort()

    def _read_with(self, connection: psycopg.Connection, chance: random.Random) -> None:
        waits: list[float] = []
        queries = self._configuration.queries

        def notice(diagnostic: pg.Diagnostic) -> None:
            waited = _WAITED.search(diagnostic.message_primary or "")
            waits.extend([float(waited[1])] if waited else [])

        def execute(query: Query) -> None:
            connection.execute(query.statement.encode(), chance.choice(query.values)).fetchall()

        connection.add_notice_handler(notice)
        for query in [*queries] * _WARM_UP:
            execute(query)
        self._ready.wait()
        while True:
            number = next(self._numbers)
            due = self._started + number / self._configuration.rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            query = queries[number % len(queries)]
            waits.clear()
            execute(query)
            # One write, so that no other thread's comes between.
            sys.stdout.write(f"{Read(query.kind, due, time.monotonic() - due, sum(waits))}\n")


_OPTIONS = "-c client_min_messages=log -c statement_timeout=60s"


def parse(output: str) -> list[Read]:
    """The reads of a client that has ended. Raises RuntimeError when it failed."""
    first, *lines, last = output.splitlines() or ["", ""]
    if (first, last) != (READY, DONE):
        raise RuntimeError(f"the readers failed\n{output[-2_000:]}")
    return [Read.parse(line) for line in lines]


def main(arguments: Sequence[str]) -> int:
    readers = _Readers(Configuration.load(Path(arguments[0])))
    signal.signal(signal.SIGTERM, readers.stop)
    readers.run()
    print(DONE)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
