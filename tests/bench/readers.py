"""Case 6: what the API's readers feel of a full sync.

A client (`reader_client`) reads the views as the API does, at a fixed rate, while all four tables are staged and
published and all five views rebuilt and swapped: by as many instances as Terraform's defaults deploy, but no more
importers than there are processors, with their default limits. The reference is the same client, on the same views,
beside the bare work of PostgreSQL on the same data: its own COPY from binary files on its disk, then CREATE TABLE AS
and the indexes, over as many connections and with the same settings. The 99th percentile is of all the API's reads that
were due while the work was under way.

A stall is the time that a read stood in the queue for a lock, by the server's own count: here nothing but publishes
and swaps takes a lock that a read has to wait for. The time of a whole read would say little of that beside a sync,
where it shares the processors with everything else. With the machine to itself it does, so syncs of a few rows tell
the longest read around each publish and swap as well: in that is also what a session has to learn anew of a view
that was replaced. Reads of the tables, and of the view that no query of the API's is about, are there for the stalls
alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import psycopg
from psycopg import sql

from local.cloud import Deployment
from local.process import Process
from shared import catalog
from shared.daily import build
from shared.settings import Settings
from shared.target import tables
from tests.bench import reader_client
from tests.bench.bench import Bench
from tests.bench.measure import APART, Result, Sample, Way, ratios
from tests.bench.reader_client import Configuration, Query, Read
from tests.bench.refresh import Statements
from tests.bench.sync import Sync

_IMPORTERS, _REFRESHERS = min(4, os.cpu_count() or 1), 3

#: Parts of each table but the smallest.
_PARTS = 4

#: Reads a second, more than half of them the API's own.
_RATE, _CONNECTIONS = 200, 8
_API = ("offer", "user", "place")

#: Seconds for the readers to come into step, and to read beside nobody.
_WARM_UP, _IDLE = 1.0, 10.0

#: So few rows that hardly more than publishes and swaps is left of a sync, and so many reads that each meets some.
_FEW_ROWS, _SWAP_RATE, _SWAP_SYNCS = 5_000, 450, 10
_AROUND = 0.2


def beside_a_sync(bench: Bench) -> Iterator[Result]:
    """Case 6: the readers' p99, and their longest stall."""
    product, floor, nobody = "recosync", "COPY and CREATE TABLE AS", "nobody at work"
    with _deployed(bench, _IMPORTERS, _REFRESHERS) as here:
        sync = Sync(bench, here, bench.rows, _PARTS)
        sync.run()
        readers = _Readers(here, _RATE)
        ways = {
            product: _product(bench, here, sync, readers),
            floor: _bare(bench, here, readers),
            nobody: _nobody(bench, here, readers),
        }
        samples = bench.in_turn(ways, apart=(product, floor), once=(product + APART, floor + APART))
    what = f"p99 of the readers during a full sync, {bench.rows:,} rows"
    yield ratios(6, what, 1.3, samples, product, floor, beside=(nobody,))
    syncs = [*samples[product], *samples[product + APART]]
    longest = max(sample.spent["longest stall ms"] for sample in syncs)
    yield Result(6, f"longest stall at a publish or swap, {len(syncs)} full syncs", "ms", [longest], 25)
    yield from _swaps_alone(bench)


def _swaps_alone(bench: Bench) -> Iterator[Result]:
    with _deployed(bench, 1, 1) as here:
        sync = Sync(bench, here, _FEW_ROWS, 1)
        sync.run()
        readers, swaps = _Readers(here, _SWAP_RATE), list[float]()
        with readers.reading() as reads:
            for _ in range(_SWAP_SYNCS):
                sync.run()
                swaps += sync.swaps()
    around = [read for read in reads if any(abs(read.due - swap) < _AROUND for swap in swaps)]
    seconds = [read.seconds for read in around]
    what = f"at {len(swaps)} publishes and swaps, nothing else at work"
    spent = {"reads around them": {"reads": float(len(around)), "p99 ms": _percentile(seconds, 99) * 1000}}
    yield Result(6, f"longest stall {what}", "ms", [_longest_stall(around)], 25)
    yield Result(6, f"longest read {what}", "ms", [max(seconds) * 1000], 25, spent=spent)


@contextmanager
def _deployed(bench: Bench, importers: int, refreshers: int) -> Iterator[Deployment]:
    """A deployment that tells readers of each wait for a lock that is longer than 1 ms."""
    with bench.deployed({"gcs_import": importers, "mv_refresh": refreshers}, triggers=True) as here:
        with bench.cloud.postgres.superuser(here.name) as admin:
            for name, value in {"deadlock_timeout": "1ms", "log_lock_waits": "on"}.items():
                change = sql.SQL("ALTER ROLE api IN DATABASE {} SET {} = {}")
                admin.execute(change.format(sql.Identifier(here.name), sql.Identifier(name), sql.Literal(value)))
        yield here


def _product(bench: Bench, here: Deployment, sync: Sync, readers: _Readers) -> Way:
    def run(_: int) -> Sample:
        sync.upload()
        bench.settle(here)
        with readers.reading() as reads, bench.measured(here, here.all_instances) as sample:
            began = time.monotonic()
            sync.work()
        ended = max(sync.swaps())
        sync.forget()
        return _sample(reads, began, ended, sample)

    return run


def _bare(bench: Bench, here: Deployment, readers: _Readers) -> Way:
    """What the server does at least: the same rows from binary files, in as many tables, and the views as tables."""
    tables, files = list(catalog.load().tables), _unload(bench, here)
    at_once = Settings.from_environment(here.env, datasets=()).max_builds

    def execute(*statements: str) -> None:
        """Statements of one transaction, with the product's settings."""
        with bench.cloud.postgres.superuser(here.name) as admin, admin.transaction():
            for name, value in build.SETTINGS.items():
                admin.execute("SELECT set_config(%s, %s, true)", [name, value])
            admin.execute("SET LOCAL search_path = bare, public")
            for statement in statements:
                admin.execute(statement.encode())

    def copy(file: Path, table: str) -> None:
        create = f'CREATE TABLE "{file.stem}" () INHERITS ({table}) WITH (autovacuum_enabled = false)'
        execute(create, f"COPY \"{file.stem}\" FROM '{file}' (FORMAT binary, FREEZE)")

    def make(view: Statements) -> None:
        execute(f'CREATE TABLE "{view.name}" AS {view.query}')
        with ThreadPoolExecutor(build.INDEX_WORKERS) as pool:
            list(pool.map(execute, view.indexes))

    def run(_: int) -> Sample:
        execute("CREATE SCHEMA bare", *(f"CREATE TABLE bare.{table} (LIKE public.{table})" for table in tables))
        views = [Statements.of(view) for view in catalog.load().views.values()]
        bench.settle(here)
        with readers.reading() as reads, bench.measured(here) as sample:
            began = time.monotonic()
            with ThreadPoolExecutor(_IMPORTERS) as pool:
                list(pool.map(copy, files.keys(), files.values()))
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(make, views))
            ended = time.monotonic()
        execute("DROP SCHEMA bare CASCADE")
        return _sample(reads, began, ended, sample)

    return run


def _unload(bench: Bench, here: Deployment) -> Mapping[Path, str]:
    """The rows of each part that readers see, as the server's own COPY writes them to its disk, and their table."""
    known, files = catalog.load(), dict[Path, str]()
    with bench.cloud.postgres.superuser(here.name) as admin:
        for table in known.tables:
            for number, child in enumerate(tables.children(admin, known.schema, table)):
                file = bench.cloud.postgres.place / f"{here.name}-{table}-{number}.copy"
                admin.execute(sql.SQL("COPY {} TO {} (FORMAT binary)").format(child, str(file)))
                files[file] = table
    return files


def _nobody(bench: Bench, here: Deployment, readers: _Readers) -> Way:
    def run(_: int) -> Sample:
        bench.settle(here)
        with readers.reading() as reads, bench.measured(here) as sample:
            began = time.monotonic()
            time.sleep(_IDLE)
            ended = time.monotonic()
        return _sample(reads, began, ended, sample)

    return run


class _Readers:
    """The client, with values for its queries that the views hold."""

    def __init__(self, here: Deployment, rate: float) -> None:
        self._files, self._runs = here.cloud.folder / f"{here.name}-readers", 0
        with psycopg.connect(here.dsn) as connection:
            queries = [
                Query(kind, statement, connection.execute(values.encode()).fetchall() if values else [()])
                for kind, statement, values in _QUERIES
            ]
        dsn = here.cloud.postgres.dsn(here.name, "api")
        Configuration(dsn, rate, _CONNECTIONS, queries).save(self._files.with_suffix(".json"))

    @contextmanager
    def reading(self) -> Iterator[list[Read]]:
        """Read during the block; afterwards the list holds all reads."""
        self._runs += 1
        output = self._files.with_suffix(f".{self._runs}")
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.bench.reader_client",
            self._files.with_suffix(".json"),
        ]
        client, reads = Process("readers", command, output), list[Read]()
        try:
            client.wait_ready(lambda: output.read_text().startswith(reader_client.READY))
            time.sleep(_WARM_UP)
            yield reads
        finally:
            client.stop()
        reads += reader_client.parse(output.read_text())


_OFFERS = "FROM {} ORDER BY hashtext(offer_id), offer_id LIMIT 1000"
_USERS = "SELECT user_id FROM enriched_user_mv ORDER BY hashtext(user_id), user_id LIMIT 1000"
_PLACES = "SELECT venue_longitude::float8, venue_latitude::float8 " + _OFFERS.format("recommendable_offers_raw_mv")
_NEAREST = """
SELECT offer_id, item_id, venue_id, venue_geo <-> place AS distance
FROM recommendable_offers_raw_mv, (SELECT st_setsrid(st_makepoint(%s, %s), 4326)::geography AS place) AS user_
ORDER BY venue_geo <-> place
LIMIT 20
"""

#: The API's reads by offer, user and place; then one of each table and the view that is left, to meet their swaps too.
#: With each the query for its values.
_QUERIES = (
    ("offer", "SELECT * FROM item_ids_mv WHERE offer_id = %s", "SELECT offer_id " + _OFFERS.format("item_ids_mv")),
    ("user", "SELECT * FROM enriched_user_mv WHERE user_id = %s", _USERS),
    ("place", _NEAREST, _PLACES),
    (
        "offer",
        "SELECT * FROM recommendable_offers_raw_mv WHERE offer_id = %s",
        "SELECT offer_id " + _OFFERS.format("recommendable_offers_raw_mv"),
    ),
    ("user", "SELECT item_id FROM non_recommendable_items_mv WHERE user_id = %s", _USERS),
    ("place", _NEAREST, _PLACES),
    *(("probe", f"SELECT * FROM {name} LIMIT 1", "") for name in (*catalog.load().tables, "iris_france_mv")),
)


def _sample(reads: Sequence[Read], began: float, ended: float, sample: Sample) -> Sample:
    """The percentile of the API's reads that were due in that time, and what else was found."""
    due = [read for read in reads if began <= read.due <= ended]
    seconds = [read.seconds for read in due if read.kind in _API]
    found = {"work s": ended - began, "longest stall ms": _longest_stall(due), "reads": float(len(seconds))}
    found |= {f"p{share} ms": _percentile(seconds, share) * 1000 for share in (50, 99)}
    return Sample(_percentile(seconds, 99), sample.spent | found)


def _longest_stall(reads: Sequence[Read]) -> float:
    """In ms; the server does not tell of one under 1 ms."""
    return max(1.0, *(read.waited for read in reads))


def _percentile(values: Sequence[float], share: int) -> float:
    return quantiles(values, n=100)[share - 1]
