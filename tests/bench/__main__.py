"""`python -m tests.bench`, or `nox -s bench`: every case in turn, on one cloud."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import ROOT
from local.cloud import Cloud
from local.prerequisites import MissingError, postgres_url
from tests.bench import growth, hour, latency, load, measure, readers, record, refresh, report, starts
from tests.bench.bench import PRODUCTION, Bench, folder
from tests.bench.measure import Result
from tests.bench.record import Case, Run
from tests.bench.report import Grid

_DOCS = ROOT / "docs" / "benchmarks.md"

#: The cases, and the seconds that fit their rounds into 45 minutes at the default sizes on two cores.
CASES: Mapping[str, tuple[Callable[[Bench], Iterator[Result]], float]] = {
    "load": (load.one_worker, 400),
    "parts": (load.many_workers, 170),
    "growth": (growth.rows, inf),
    "day": (growth.day, inf),
    "refresh": (refresh.five_views, 400),
    "hour": (hour.export, 75),
    "log": (hour.size_of_the_table, 40),
    "readers": (readers.beside_a_sync, 360),
    "latency": (latency.machinery, 100),
    "starts": (starts.cold_starts, 45),
}


def main() -> int:
    asked = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    # Stopped from outside, it stops what it started as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if asked.write:
        # Before the work, not after it: the usual environment can't draw.
        from tests.bench import picture
    try:
        run = record.load(asked.source.read_text()) if asked.source else _run(console, asked)
    except MissingError as missing:
        console.print(f"[bold red]{missing}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 1
    if asked.source:
        for case in run.cases:
            _show(console, case)
    console.print(f"[bold]{report.verdict(run)}[/]{'' if _crashed(run) else ' The run is complete.'}")
    if asked.write and _crashed(run):
        console.print("docs/benchmarks.md is as it was.")
    elif asked.write:
        text = record.dump(run)
        _DOCS.with_suffix(".json").write_text(text)
        _DOCS.write_text(report.page(record.load(text)))
        drawn = picture.draw(run, text, _DOCS.parent)
        console.print(f"Written: {', '.join(str(file.relative_to(ROOT)) for file in (_DOCS, *drawn))}")
    return 1 if _crashed(run) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        description="Speed and memory beside their references. A missed bar is a result: the exit code is 1 only if a "
        "case crashed.",
    )
    parser.add_argument("--rows", type=int, default=3_000_000, help="offers, and as many users; default 3,000,000")
    parser.add_argument("--log-rows", type=int, default=1_000_000, help="rows of the log; default 1,000,000")
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="how often each way of a case has its turn at most, if it is quick; default 5",
    )
    parser.add_argument("--case", choices=CASES, nargs="+", help="some cases alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep everything that was found")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="run nothing: show what --json kept")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md, its JSON and its picture")
    asked = parser.parse_args()
    if asked.write and asked.case:
        parser.error("--write is for all cases")
    return asked


def _run(console: Console, asked: argparse.Namespace) -> Run:
    if postgres_url():
        raise MissingError("the benchmark measures a server of its own: POSTGRES may be a version, and no URL")
    commit, changed = record.commit(ROOT)
    with folder() as place, Cloud(postgres=PRODUCTION) as cloud:
        sizes = (asked.rows, asked.log_rows, asked.rounds)
        bench = Bench(cloud, *sizes, place)
        with cloud.postgres.superuser("postgres") as server:
            versions = record.versions(server)
        machine = record.machine(cloud.postgres.place)
        run = Run(datetime.now(UTC), commit, changed, *sizes, machine, versions, PRODUCTION, cases=())
        for name in asked.case or CASES:
            case = _case(console, bench, name)
            _show(console, case)
            run = replace(run, cases=(*run.cases, case))
            if asked.json:
                asked.json.write_text(record.dump(run))
    return run


def _case(console: Console, bench: Bench, name: str) -> Case:
    """One case. What crashes it is shown, and leaves the others alone."""
    function, bench.seconds = CASES[name]
    title, about, background = record.describe(function.__doc__ or name, sys.modules[function.__module__].__doc__ or "")
    if not console.is_terminal:
        console.print(f"{name} …")
    results, crash, began = list[Result](), "", time.monotonic()
    with console.status(f"{name} …") as status, _followed(lambda step: status.update(f"{name} … {step}")):
        try:
            results.extend(function(bench))
        except Exception as e:  # noqa: BLE001 - the other cases have their turn
            console.print(f"{name} crashed", style="bold red")
            console.print("".join(traceback.format_exception(e)), markup=False, soft_wrap=True)
            crash = type(e).__name__
    return Case(name, title, about, background, time.monotonic() - began, results, crash)


@contextmanager
def _followed(tell: Callable[[str], None]) -> Iterator[None]:
    """Tells what the ways of a case say they are at."""

    class Teller(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            tell(entry.getMessage())

    log, teller = logging.getLogger(measure.__name__), Teller()
    log.setLevel(logging.INFO)
    log.addHandler(teller)
    try:
        yield
    finally:
        log.removeHandler(teller)


def _show(console: Console, case: Case) -> None:
    console.print(f"[bold]{case.title}[/], {case.seconds:.0f} s\n")
    alone = [replace(result, beside="") for result in case.results]
    for grid in (report.results_grid(alone), report.ways_grid(alone)):
        if grid.rows:
            console.print(_table(grid), "")
    trials = [f"{result.against}: {result.beside}" for result in case.results if result.beside]
    if more := [*trials, *report.details(case.results)]:
        console.print(*more, "", sep="\n", markup=False)


def _table(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in grid.headers:
        table.add_column(name, justify="left" if name in grid.text else "right", no_wrap=name != "what")
    for row in grid.rows:
        table.add_row(*row, style="red" if report.MISSED in row else None)
    return table


def _crashed(run: Run) -> bool:
    return any(case.crash for case in run.cases)


if __name__ == "__main__":
    sys.exit(main())
