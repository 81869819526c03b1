"""Events of all tables at once: many parts of one row beside one part of millions, and few connections for all."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa

from local.cloud import Cloud, Deployment
from local.eventarc import CloudEvent
from local.functions import Spec
from local.postgres import RELAXED
from shared.names import SnapshotId
from shared.operate import decisions
from shared.services import Services
from tests.kit.uploads import Upload, rows

INSTANCES, CONNECTIONS = 4, 20
BIG, SMALL = "non_recommendable_items_data", ("enriched_user", "iris_france")
#: So many of their connections are left to the functions by others, for a while.
LEFT = 2


@contextmanager
def deployed() -> Iterator[Deployment]:
    with (
        Cloud(postgres=RELAXED, in_memory=True) as cloud,
        cloud.deploy("load", {"gcs_import": Spec("cloudevent", "storage", instances=INSTANCES)}) as here,
    ):
        os.environ.update(here.env)
        with cloud.postgres.superuser("postgres") as admin:
            admin.execute(f"ALTER ROLE recosync CONNECTION LIMIT {CONNECTIONS}".encode())
        yield here


class Load:
    """The load, and what becomes of it."""

    def __init__(self, here: Deployment, events: int, big: int, crowded: float) -> None:
        """`crowded`: the seconds for which others have most of the connections."""
        self.here, self.services, self._big, self._crowded = here, Services.from_environment(), big, crowded
        each = (events - 4) // len(SMALL)
        #: Rows of the parts of each table: one manifest more is an event too.
        self.parts = {BIG: [big], **{table: [1] * each for table in SMALL}}
        self.parts[SMALL[0]] += [1] * (events - 3 - 1 - each * len(SMALL))
        #: Seconds of reads, while the events come and before that.
        self.reads: list[float] = []
        self.before: list[float] = []
        self.failed: list[str] = []
        #: Whether the rows are all there in the end.
        self.complete = False

    @property
    def well(self) -> bool:
        return self.complete and bool(self.reads) and not self.failed

    def run(self) -> Sequence[str]:
        """Upload all while no event is delivered, let them go at once, and tell what there is in the end."""
        self._publish(days=2, parts={table: [1, 1] for table in self.parts})
        before = len(self.here.eventarc.deliveries)
        with self._held_back() as gate:
            self._upload(1, self.parts)
            with self._read_all_the_time():
                time.sleep(self._crowded)
                self.before, self.reads = self.reads, []
                began = time.monotonic()
                with self._crowd():
                    gate.set()
                    time.sleep(self._crowded)
                self.here.eventarc.wait_idle(1800, quiet=3)
                seconds = time.monotonic() - began
                self._approve()
        return self._outcome(before, seconds)

    @contextmanager
    def _held_back(self) -> Iterator[threading.Event]:
        """No event is delivered before the gate is open, as it is in the end in any case."""
        gate = threading.Event()

        def delay(_: CloudEvent) -> float:
            gate.wait()
            return 0.0

        self.here.eventarc.faults.delay = delay
        try:
            yield gate
        finally:
            gate.set()

    @contextmanager
    def _read_all_the_time(self) -> Iterator[None]:
        """Each table has a reader."""
        stop = threading.Event()
        readers = [threading.Thread(target=self._read, args=(stop, table), daemon=True) for table in self.parts]
        for reader in readers:
            reader.start()
        try:
            yield
        finally:
            stop.set()
            for reader in readers:
                reader.join(60)

    def _publish(self, days: int, parts: dict[str, list[int]]) -> None:
        self._upload(days, parts)
        self.here.eventarc.wait_idle(120, quiet=2)

    def _upload(self, days: int, parts: dict[str, list[int]]) -> None:
        """The snapshot of so many days ago, the objects of all tables mixed."""
        at = SnapshotId((datetime.now(UTC) - timedelta(days=days)).replace(microsecond=0))
        uploads = {table: Upload(self.services, table, at) for table in parts}
        todo = [(table, number, count) for table, counts in parts.items() for number, count in enumerate(counts)]
        random.shuffle(todo)
        for table, number, count in todo:
            uploads[table].part(self._rows(table, number, count))
        with ThreadPoolExecutor() as pool:
            list(pool.map(Upload.manifest, uploads.values()))

    def _rows(self, table: str, first: int, count: int) -> pa.Table:
        if table != BIG:
            columns = self.services.catalog.tables[table].columns
            key = self.services.catalog.tables[table].key or (columns[0].name,)
            text = {c.name for c in columns if c.type.sql.startswith("character")}
            return rows(table, self.services, {n: [f"{first}" if n in text else first] for n in key})
        numbers = pa.array(range(count)).cast(pa.string())
        return pa.table({column.name: numbers for column in self.services.catalog.tables[table].columns})

    def _read(self, stop: threading.Event, table: str) -> None:
        """Read a table as the API does, by a statement and a connection of its own each time."""
        while not stop.is_set():
            began = time.perf_counter()
            try:
                with psycopg.connect(self.here.cloud.postgres.dsn(self.here.name, "api"), autocommit=True) as api:
                    connected = time.perf_counter()
                    found = api.execute(f"SELECT * FROM {table} LIMIT 1".encode()).fetchall()
                self.reads.append(time.perf_counter() - connected)
                if not found:
                    self.failed.append(f"{table} was empty")
            except psycopg.Error as e:
                self.failed.append(f"{table}: {e}, after {time.perf_counter() - began:.1f} s")
            time.sleep(0.01)

    @contextmanager
    def _crowd(self) -> Iterator[None]:
        """Others hold the role's connections but for a few, those that the instances had kept among them."""
        with ExitStack() as stack:
            with self.here.cloud.postgres.superuser(self.here.name) as admin:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'recosync'")
            for _ in range(CONNECTIONS - LEFT):
                stack.enter_context(psycopg.connect(self.here.dsn, autocommit=True))
            yield

    def _approve(self) -> None:
        with psycopg.connect(self.here.dsn) as connection:
            held = connection.execute("SELECT table_name FROM recosync.hold WHERE decision IS NULL").fetchall()
        for (table,) in held:
            decisions.approve(self.services, table, None, "load")

    def _refused(self) -> int:
        return sum("too many connections" in line for line in self.here.log("gcs_import").splitlines())

    def _outcome(self, before: int, seconds: float) -> Sequence[str]:
        deliveries = self.here.eventarc.deliveries[before:]
        last = {delivery.event.id: delivery.status for delivery in deliveries}
        with psycopg.connect(self.here.dsn) as connection:
            counts = {
                table: (connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() or (0,))[0]
                for table in self.parts
            }
            failures = connection.execute("SELECT table_name, message FROM recosync.failure").fetchall()
            failing = connection.execute("SELECT name, error, times FROM recosync.failing").fetchall()
        wanted = {table: sum(parts) for table, parts in self.parts.items()}
        self.complete = counts == wanted
        answers = Counter(delivery.status for delivery in deliveries)
        return [
            f"{len(last)} events, {len(deliveries)} deliveries in {seconds:.0f} s: {dict(answers)}",
            f"last answers {dict(Counter(last.values()))}; refused for connections {self._refused()} times",
            f"rows {counts}, wanted {wanted}: {'OK' if self.complete else 'DIFFERENT'}",
            f"failures {failures}, failing now {failing}",
            f"reads: {len(self.failed)} failed {self.failed[:3]}; {_told(self.reads)}; before {_told(self.before)}",
        ]


def _told(reads: Sequence[float]) -> str:
    found = sorted(reads)
    if not found:
        return "none"
    return f"{len(found)}, p99 {found[len(found) * 99 // 100] * 1000:.0f} ms, longest {found[-1] * 1000:.0f} ms"
