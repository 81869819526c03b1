"""Readers as the API has them, all the while: what they find is one state of the source, whole, and never goes back."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from tests.kit.background import Background

#: Seconds between two reads of a reader: of several, one reads every 25 milliseconds or so. On a busy machine, where a
#: read takes long, the pause is so many times that longer: what is read would else take what the machine has.
PAUSE, BREATHS = (0.02, 0.3), 4

#: Statements that give name, state and size of each row, and how often each row is in them.
OF_TABLES = {
    "SELECT 'a' AS name, n, total FROM a": 1,
    "SELECT 'b' AS name, x.n, x.total FROM b AS x JOIN b AS y USING (k)": 1,
    "SELECT 'a' AS name, n, total FROM a UNION ALL SELECT 'a', n, total FROM a": 2,
    "WITH x AS MATERIALIZED (TABLE a), y AS MATERIALIZED (TABLE a)"
    " SELECT 'a' AS name, unnest(ARRAY[x.n, y.n]) AS n, x.total FROM x JOIN y USING (k)": 2,
}
OF_VIEWS = {
    "SELECT name, n, total FROM a_mv": 1,
    "SELECT name, n, total FROM both_mv": 1,
    "SELECT x.name, y.n, x.total FROM both_mv AS x FULL JOIN both_mv AS y USING (name, k)": 1,
}

type Read = Callable[[Reader, psycopg.Connection], None]


@dataclass
class Reader:
    """A thread that reads until it is stopped. `seen` are the states in the order in which it saw them, by what was
    read; `wrong` is what no reader may meet.
    """

    dsn: str
    read: Read
    sources: dict[str, int]
    seen: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    #: Connections that the server ended.
    lost: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.sources.items())
        self._thread = Background(self._run)

    def _run(self) -> None:
        while not self.stopped.is_set():
            # The server is restarted now and then.
            try:
                with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as api:
                    api.execute("SET statement_timeout = '5s'")
                    took = 0.0
                    while not self.stopped.wait(random.uniform(*PAUSE) + BREATHS * took):  # noqa: S311
                        began = time.monotonic()
                        self.read(self, api)
                        took = time.monotonic() - began
            except psycopg.Error as e:
                if _is_of_a_restart(e):
                    self.lost += 1
                else:
                    self.wrong.append(f"failed: {type(e).__name__} {e}")
                time.sleep(0.05)

    def find(self, api: psycopg.Connection, *, prepare: bool = False) -> tuple[tuple[object, ...], ...]:
        """One read of the next source."""
        source, times = next(self._turns)
        query = f"SELECT name, count(*), min(n), max(n), min(total) FROM ({source}) AS t GROUP BY name ORDER BY name"
        found = api.execute(query.encode(), prepare=prepare).fetchall()
        self.reads += 1
        if len(found) < (2 if "both_mv" in source else 1):
            self.wrong.append(f"found no row, or none of a table: {source}")
        for name, count, lowest, highest, total in found:
            if (count, lowest) != (total * times, highest):
                self.wrong.append(f"{name}: {count} rows of {total * times}, of {lowest} to {highest}: {source}")
            seen = self.seen.setdefault((source, name), [])
            if seen[-1:] != [highest]:
                seen.append(highest)
        return tuple(found)

    def ended(self) -> None:
        """Wait for its end, once it is stopped."""
        self._thread.result()

    def steps_back(self) -> int:
        """How often, at most, something that it read went back to an earlier state."""
        return max((sum(a > b for a, b in itertools.pairwise(seen)) for seen in self.seen.values()), default=0)


def _is_of_a_restart(e: psycopg.Error) -> bool:
    """Whether the server went, or is not there yet (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
    state = e.sqlstate
    if state is None:
        return isinstance(e, psycopg.OperationalError)
    return state.startswith(("08", "57P"))


def statements(reader: Reader, api: psycopg.Connection) -> None:
    reader.find(api)


def prepared(reader: Reader, api: psycopg.Connection) -> None:
    reader.find(api, prepare=True)


def repeatable_read(reader: Reader, api: psycopg.Connection) -> None:
    """Several statements, one snapshot."""
    with api.transaction():
        api.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = [reader.find(api) for _ in range(len(reader.sources))]
        states = {(row[0], row[2]) for rows in found for row in rows} if reader.sources is OF_TABLES else set()
        if len(states) > len({name for name, _ in states}):
            reader.wrong.append(f"several states in one snapshot: {states}")


KINDS: tuple[Read, ...] = (statements, prepared, repeatable_read)
