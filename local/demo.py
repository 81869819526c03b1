"""Both jobs on this machine, called as Cloud Scheduler calls them: `make demo`.

The daily one, from BigQuery to the views, is here; the hourly one, from the API's log to BigQuery, in `demo_hourly`.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local import demo_hourly
from local.cloud import Cloud, Deployment, Granted
from local.counts import Counts, count
from local.demo_common import FailedError, call, new_table, verdict
from local.edits import checked, copied, named
from local.prerequisites import MissingError
from local.process import ProcessError
from local.progress import Export, Ledger, Progress
from local.sources import InputError, Sources
from shared import catalog
from shared.catalog import FOLDER_VARIABLE, Catalog, Place
from shared.errors import ConfigurationError
from shared.words import quantity

_POLL = 0.25
_PATIENCE = 120.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="offers; users and bookings in proportion")
    parser.add_argument("--catalog", type=Path, help="the folder of a catalog of your own")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    # Without a terminal nobody can widen the window.
    console = Console(width=None if sys.stdout.isatty() else 120)
    # Stopped from outside, it stops what it started as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = named(asked.catalog)
    try:
        checked(place)
        console.print("Starting BigQuery, Cloud Storage, Pub/Sub, PostgreSQL and the functions …")
        with Cloud() as cloud, deployed(cloud, place) as here:
            try:
                agree = daily(console, here, asked.rows)
                agree = demo_hourly.run(console, here) and agree
            except FailedError as error:
                console.print(str(error), style="bold red", markup=False, soft_wrap=True)
                for instance in here.all_instances:
                    console.print(f"[bold]{instance.name}[/], the end of its log:\n{instance.process.tail()}")
                return 1
            console.print("", _memory_table(here), "")
        console.print(f"Everything is stopped again, {time.monotonic() - began:.0f} s after the start.")
        return 0 if agree else 1
    except (ConfigurationError, InputError, MissingError, ProcessError) as error:
        console.print(str(error), style="bold red", markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 1


@contextmanager
def deployed(cloud: Cloud, place: Place, name: str = "local", granted: Granted | None = None) -> Iterator[Deployment]:
    """A project with the catalog in a place."""
    copy = copied(place, cloud.folder / f"{name}-catalog")
    with cloud.deploy(name, env={FOLDER_VARIABLE: str(copy.place.file)}, granted=granted) as here:
        yield here


def daily(console: Console, here: Deployment, rows: int) -> bool:
    """Run the daily job; whether all systems have as many rows in the end."""
    started = time.monotonic()
    of, sources = catalog.load(here.place), Sources(here, rows)
    console.print(f"Making input: {sources.told()} …")
    sources.make()
    console.print(f"… in {time.monotonic() - started:.1f} s. Calling bq_export as Cloud Scheduler does.")
    began = datetime.now(UTC)
    with closing(Progress(here, of.tables)) as progress, ThreadPoolExecutor(1) as caller:
        _watch(console, of, progress, caller.submit(call, here, "bq_export", began))
        exports, ledger = progress.exports(), progress.ledger()
    counts = list(count(here))
    last = max(filter(None, (of.ended_at for of in ledger.values())), default=began)
    for table in (_rows_table(counts), _seconds_table(began, exports, ledger)):
        console.print(table, "")
    agree = all(table.agree for table in counts)
    rows = sum(table.bigquery for table in counts)
    console.print(verdict(agree, f"{quantity(rows, 'row')} in {_seconds(began, last):.1f} s.") + "\n")
    return agree


def _watch(console: Console, of: Catalog, progress: Progress, calling: Future[Mapping[str, object]]) -> None:
    """Show progress until every view is at its table's publication."""
    began = changed = time.monotonic()
    previous: list[tuple[str, ...]] = []
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            _check(progress, calling)
            exports, ledger = progress.exports(), progress.ledger()
            views = {table: len(of.views_of(table)) for table in of.tables}
            rows = [_progress_row(exports[table], ledger[table], views[table]) for table in of.tables]
            if rows != previous:
                changed = time.monotonic()
                for row in (row for row in rows if row not in previous and not console.is_terminal):
                    console.print(f"{changed - began:6.1f} s  {_progress_line(row)}", soft_wrap=True)
                previous = rows
            if console.is_terminal:
                live.update(_progress_table(rows, time.monotonic() - began), refresh=True)
            if calling.done() and all(ledger[table].done(views[table]) for table in of.tables):
                return
            if time.monotonic() - changed > _PATIENCE:
                far = "; ".join(map(_progress_line, rows))
                raise FailedError(f"Nothing has moved for {_PATIENCE:.0f} s, and not every view is there: {far}.")
            time.sleep(_POLL if console.is_terminal else 4 * _POLL)


def _check(progress: Progress, calling: Future[Mapping[str, object]]) -> None:
    if failures := progress.failures():
        raise FailedError("\n".join(failures))
    if calling.done():
        calling.result()


_PROGRESS_COLUMNS = ("Table", "Exported", "Staged", "Published", "Refreshed", "Rows/s")


def _progress_row(export: Export, ledger: Ledger, of_views: int) -> tuple[str, ...]:
    exported = f"{export.rows:,}" if export.rows is not None else quantity(export.parts, "part") if export.parts else ""
    staged = f"{ledger.staged:,}" if ledger.staged else ""
    published = "" if ledger.published is None else f"{ledger.published:,}"
    views = f"{ledger.views} of {of_views}" if of_views and ledger.published is not None else ""
    seconds = _seconds(ledger.staging_began, ledger.staging_ended)
    rate = f"{ledger.staged / seconds:,.0f}" if seconds else ""
    return ledger.table, exported, staged, published, views, rate


def _progress_table(rows: list[tuple[str, ...]], elapsed: float) -> Table:
    table = new_table(*_PROGRESS_COLUMNS)
    table.caption = f"{elapsed:.1f} s"
    for row in rows:
        table.add_row(*row)
    return table


def _progress_line(row: tuple[str, ...]) -> str:
    facts = (f"{name.lower()} {value}" for name, value in zip(_PROGRESS_COLUMNS[1:], row[1:], strict=True) if value)
    return f"{row[0]}: {', '.join(facts)}"


def _rows_table(counts: list[Counts]) -> Table:
    """What the systems count themselves; on a view's line, BigQuery's count is of what the view should hold, and
    PostgreSQL's of what its query gives.
    """
    table = new_table("Rows", "BigQuery", "Parquet", "PostgreSQL", "View")
    for of in counts:
        style = None if of.agree else "red"
        table.add_row(of.table, f"{of.bigquery:,}", f"{of.parquet:,}", f"{of.postgres:,}", style=style)
        for name, view in of.views.items():
            counted = f"{view.expected:,}"
            where = (counted, "", "") if view.by_bigquery else ("", "", counted)
            table.add_row(f"  {name}", *where, f"{view.actual:,}", style=style)
    return table


def _seconds_table(began: datetime, exports: dict[str, Export], ledger: dict[str, Ledger]) -> Table:
    table = new_table("Seconds", "Export", "Stage", "Publish", "Refresh", "In all")
    for name, of in ledger.items():
        complete = max(filter(None, [exports[name].at, of.staging_ended]), default=None)
        stages = [
            (began, exports[name].at),
            (of.staging_began, of.staging_ended),
            (complete, of.published_at),
            (of.published_at, of.refreshed_at),
            (began, of.ended_at),
        ]
        table.add_row(name, *(f"{_seconds(start, end):.1f}" for start, end in stages))
    return table


def _memory_table(here: Deployment) -> Table:
    table = new_table("Function", "Peak memory")
    for instance in here.all_instances:
        table.add_row(instance.name, f"{instance.peak_rss() / 2**20:.0f} MB")
    return table


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return (end - start).total_seconds() if start and end else 0.0


if __name__ == "__main__":
    sys.exit(main())
