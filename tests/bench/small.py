"""`nox -s bench_small`: what the work costs, beside what it cost when small.json was written. Fails at 25 % more.

Counted are answers of PostgreSQL that a function waits for, and requests to Cloud Storage: these are the same
everywhere, and may not become more at all. Seconds of CPU are of one machine, and of its neighbours. So they are told
as multiples of references, which take turns with the cases: the server's own COPY of the same rows, and reading them
from Parquet into Python. Of all rounds the least counts, and there are more rounds only while a case seems too dear.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table as Drawn

from local import ROOT, context
from local.cloud import Cloud, Deployment
from local.prerequisites import MissingError, postgres_url
from shared import catalog
from shared.catalog import Table
from tests.bench import bench as benches
from tests.bench import hour, load, refresh
from tests.bench.bench import PRODUCTION, Bench, finalized, folder, upload, upload_manifest
from tests.bench.measure import Sample, Samples, Way, in_turn
from tests.kit.exchanges import Asked, noted

FIGURES = Path(__file__).with_suffix(".json")
_ROWS, _FEW_ROWS, _PARTS = 100_000, 300, 8
_FEW = "ten tables of 300 rows"
#: Rounds that there are in any case, and that a case gets to show that it is cheap enough. Figures to write get all.
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 8
#: How many times the CPU of before is too much. Busy neighbours make many small steps up to 1.6 times as dear, and rows
#: hardly dearer than the references.
_ALLOWED, _ALLOWED_STEPS = 1.25, 1.75
#: Seconds without a question after which a function has no more.
_QUIET = 0.3
#: Seconds that nothing takes, and GiB of the disk that are enough.
_PATIENCE, _GIB = 300, 4
#: How often a case is tried whose function was to go on with the session that it had kept, and had a new one.
_TRIES = 3
_CPU = ("function", "server")
_COUNTS = ("answers", "requests")
#: What the CPU of each is measured by.
_REFERENCES = {"function": "Parquet into Python", "server": "COPY"}

type Figures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Case:
    """How often it is gone for one sample, and whether its function goes on with the session of the event before."""

    times: int
    keeps: bool = False


CASES = {
    "one part": _Case(3, keeps=True),
    "8 parts": _Case(2, keeps=True),
    "five views": _Case(1),
    "an hour": _Case(2),
    _FEW: _Case(1, keeps=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s bench_small --", description="What the work costs, and what it may.")
    parser.add_argument("--write", action="store_true", help=f"write what was found into {FIGURES.relative_to(ROOT)}")
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    if postgres_url():
        console.print("SKIPPED: it measures a server of its own: POSTGRES may be a version, and no URL")
        return 0
    allowed: Figures = {} if asked.write else json.loads(FIGURES.read_text())
    began = time.monotonic()
    try:
        with folder(_GIB) as place, Cloud(postgres=PRODUCTION) as cloud:
            found, rounds = _found(Bench(cloud, _ROWS, _ROWS, 1, place, patience=_PATIENCE), allowed)
    except MissingError as missing:
        console.print(f"[bold red]{missing}", soft_wrap=True)
        return 1
    console.print(_drawn(found, allowed))
    console.print(f"{rounds} rounds, {time.monotonic() - began:.0f} s")
    if asked.write:
        FIGURES.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    more = dear(found, allowed)
    for case, name in more:
        was = allowed.get(case, {}).get(name)
        told = f"{FIGURES.name} has nothing of it" if was is None else f"{was:g} is what it was"
        console.print(f"[bold red]{case}: {name} {found[case][name]:g}, and {told}")
    if not more:
        console.print("Nothing became dearer. If it was to become cheaper: nox -s bench_small -- --write")
    return 1 if more else 0


def _found(bench: Bench, allowed: Figures) -> tuple[Figures, int]:
    """What each case costs, and how many rounds it took to say so."""
    samples: dict[str, list[Sample]] = {}
    with _ways(bench) as ways:
        for number in range(1, _MOST_ROUNDS + 1):
            for name, of in in_turn(1, ways).items():
                samples.setdefault(name, []).extend(of)
            found = figures(samples)
            if number >= _LEAST_ROUNDS and not dear(found, allowed):
                break
    return found, number


def figures(samples: Samples) -> Figures:
    """What each case costs, by its references."""
    least = {
        name: {spent: min(sample.spent[spent] for sample in of) for spent in of[0].spent}
        for name, of in samples.items()
    }
    found = {}
    for name, spent in least.items():
        if all(count in spent for count in _COUNTS):
            cpu = {who: round(spent[f"{who} CPU s"] / least[by][f"{who} CPU s"], 3) for who, by in _REFERENCES.items()}
            found[name] = cpu | {count: spent[count] for count in _COUNTS}
    return found


def dear(found: Figures, allowed: Figures) -> list[tuple[str, str]]:
    """What costs more than it may, and what is not known to cost anything."""
    return [
        (case, name)
        for case, costs in found.items()
        for name, cost in costs.items()
        if cost > allowed.get(case, {}).get(name, 0) * _leeway(case, name)
    ]


def _leeway(case: str, name: str) -> float:
    if name in _COUNTS:
        return 1.0
    return _ALLOWED_STEPS if case == _FEW else _ALLOWED


def _drawn(found: Figures, allowed: Figures) -> Drawn:
    table = Drawn(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("case")
    for name in (*_CPU, *_COUNTS):
        table.add_column(f"{name} CPU" if name in _CPU else name, justify="right")
    for case, costs in found.items():
        before = allowed.get(case, {})
        cells = (f"{cost:g}" + (f" (was {before[name]:g})" if name in before else "") for name, cost in costs.items())
        table.add_row(case, *cells)
    return table


@contextmanager
def _ways(bench: Bench) -> Iterator[Mapping[str, Way]]:
    """The cases and the references. Each case has a deployment of its own, and is repeated until it takes a while."""
    offers, users = benches.table("recommendable_offers_raw"), benches.table("enriched_user")
    parts = bench.parquet_parts(offers, _ROWS, _PARTS)
    with ExitStack() as stack:

        def deployed(*functions: str) -> tuple[Deployment, _Counter]:
            here = stack.enter_context(bench.deployed(dict.fromkeys(functions, 1)))
            return here, stack.enter_context(_counter(bench, here))

        loads, of_loads = deployed("gcs_import")
        views, of_views = deployed("gcs_import", "mv_refresh")
        few, of_few = deployed("gcs_import")
        log, of_log = deployed()
        publications = refresh.publish(bench, views, dict.fromkeys(catalog.load().tables, _ROWS))
        context.create(log.dsn)
        of = hour.of_yesterday(0)
        context.write(log.dsn, of.start, of.end, _ROWS)
        worker = stack.enter_context(hour.worker(of_log.env))
        cases = {
            "one part": (of_loads, load.one_part(bench, loads, offers, _ROWS)),
            "8 parts": (of_loads, load.many_parts(bench, loads, offers, parts, loads.instances["gcs_import"])),
            "five views": (of_views, refresh.product(bench, views, publications, lambda _: None)),
            "an hour": (of_log, hour.exporting(bench, log, worker, of, _ROWS)),
            _FEW: (of_few, _publish(bench, few, users)),
        }
        for _, way in cases.values():
            way(0)  # what is done once is no part of the costs
        references = {
            "COPY": _times(load.floor(bench, loads, offers), 4),
            "Parquet into Python": _python(bench.parquet(offers, _ROWS)),
        }
        yield {**{name: counter.way(way, CASES[name]) for name, (counter, way) in cases.items()}, **references}


@dataclass(frozen=True)
class _Counter:
    """The way of a deployment's functions to PostgreSQL and Cloud Storage."""

    env: Mapping[str, str]
    asked: Asked

    def way(self, way: Way, case: _Case) -> Way:
        """What functions ask when it is gone is spent with it. A session is kept for a minute, which may be over: it
        is gone again then, because a new session asks for more.
        """

        def run(number: int) -> Sample:
            for _ in range(_TRIES):
                self._settle()
                self.asked.taken()
                sample = _times(way, case.times)(number)
                self._settle()
                found = self.asked.taken()
                if not (case.keeps and found["sessions"]):
                    break
            sample.spent |= found
            return sample

        return run

    def _settle(self) -> None:
        """Sessions are cleaned after the answer was given."""
        seen, end = -1, time.monotonic() + _PATIENCE
        while seen != len(self.asked.exchanges.waits) and time.monotonic() < end:
            seen = len(self.asked.exchanges.waits)
            time.sleep(_QUIET)


@contextmanager
def _counter(bench: Bench, here: Deployment) -> Iterator[_Counter]:
    """Have the functions go where it is counted."""
    with noted(here.dsn, bench.cloud.storage.url) as asked:
        env = asked.env(here.env)
        for instance in here.all_instances:
            instance.restart(env)
        yield _Counter(env, asked)


def _times(way: Way, times: int) -> Way:
    """So often in a row, because a process's CPU is known to 10 ms."""

    def run(number: int) -> Sample:
        samples = [way(number) for _ in range(times)]
        names = samples[0].spent
        return Sample(spent={name: sum(sample.spent[name] for sample in samples) for name in names})

    return run


def _publish(bench: Bench, here: Deployment, table: Table) -> Way:
    """Ten snapshots of two parts, each published by its manifest."""
    (instance,) = here.instances["gcs_import"]
    files = bench.parquet_parts(table, _FEW_ROWS, 2)

    def run(_: int) -> Sample:
        events = []
        for _ in range(10):
            blobs = upload(here, table, snapshot := bench.next_snapshot(), files)
            manifest = upload_manifest(here, table, snapshot, dict.fromkeys(blobs, _FEW_ROWS // 2))
            events += [finalized(blob) for blob in (*blobs, manifest)]
        bench.settle(here)
        with bench.measured(here, [instance]) as sample:
            for event in events:
                bench.send(instance, event)
        return sample

    return run


def _python(file: Path) -> Way:
    def run(_: int) -> Sample:
        began = time.process_time()
        with duckdb.connect(config={"threads": 1}) as db:
            rows = db.sql(f"FROM read_parquet('{file}')").to_arrow_table().to_pylist()
        assert len(rows) == _ROWS
        return Sample(spent={"function CPU s": time.process_time() - began})

    return run


if __name__ == "__main__":
    os.environ.pop("RECOSYNC_CATALOG", None)  # the figures are of the catalog that is shipped
    sys.exit(main())
