"""Case 5: an hour of the log on its way out.

What is timed is the step that ends with the hour's rows in Cloud Storage, read back and noted in the manifest: counting
them, two queries, Parquet, two uploads, the check. It runs in a process of its own that has exported before, with the
product's own services; the time that BigQuery's emulator takes to say what it holds of the hour is taken off. The floor
is `COPY (SELECT …) TO STDOUT (FORMAT binary)` of the same rows and columns by one connection of psql, thrown away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from select import select

import psycopg

from local import ROOT, context
from local.cloud import Deployment
from local.prerequisites import postgres_bin
from shared import catalog
from shared.names import Hour
from tests.bench.bench import Bench
from tests.bench.measure import Result, Sample, Way, ratios

_MEBIBYTE = 2**20
_TABLE = "past_offer_context"
_SMALL_ROWS = 2_000
#: Hours of the larger table, and how many times the larger hour is as large.
_HOURS, _TIMES = 24, 5


def export(bench: Bench) -> Iterator[Result]:
    """Case 5: the export of an hour. Peak memory is that of the function's own process over a whole call: export, load,
    verification.
    """
    rows, hour, warm = bench.log_rows, of_yesterday(0), of_yesterday(1)
    with _log(bench) as here, worker(here.env) as exporter:
        context.write(here.dsn, hour.start, hour.end, rows)
        context.write(here.dsn, warm.start, warm.end, _SMALL_ROWS)
        _vacuum(bench, here)
        exporting(bench, here, exporter, warm, _SMALL_ROWS)(0)
        ways = {
            "recosync": exporting(bench, here, exporter, hour, rows),
            "COPY to nowhere": _copy(bench, here, hour),
        }
        samples = bench.in_turn(ways, apart=ways)
        yield ratios(5, f"export an hour of {rows:,} rows", 1.1, samples, "recosync", "COPY to nowhere")
    for times in (1, _TIMES):
        with _log(bench, functions={"hourly_export": 1}) as here:
            context.write(here.dsn, hour.start, hour.end, rows)
            _repeat(here, times - 1, timedelta())
            _vacuum(bench, here)
            answer = here.call("hourly_export", {"date": f"{hour.start:%Y%m%d}", "hour": hour.number})
            assert rows * times in _numbers(answer), answer
            peak = here.instances["hourly_export"][0].peak_rss() / _MEBIBYTE
        yield Result(5, f"peak memory of an hour of {rows * times:,} rows", "MiB", [peak], 256)


def size_of_the_table(bench: Bench) -> Iterator[Result]:
    """Case 5: the same hour in a larger table."""
    rows, hour = bench.log_rows // 5, of_yesterday(0)
    with (
        _log(bench) as alone,
        _log(bench) as among,
        worker(alone.env) as beside_none,
        worker(among.env) as beside_others,
    ):
        context.write(alone.dsn, hour.start, hour.end, rows)
        context.write(among.dsn, hour.start, hour.end, rows)
        _repeat(among, _HOURS - 1, timedelta(hours=1))
        ways = {}
        for name, here, exporter in (
            ("the hour alone", alone, beside_none),
            (f"among {_HOURS} hours", among, beside_others),
        ):
            _vacuum(bench, here)
            ways[name] = exporting(bench, here, exporter, hour, rows)
            ways[name](0)
        samples = bench.in_turn(ways, apart=ways)
    what = f"export an hour of {rows:,} rows from a table of {_HOURS} such hours"
    yield ratios(5, what, 1.1, samples, f"among {_HOURS} hours", "the hour alone")


def of_yesterday(number: int) -> Hour:
    """An hour of a day that has ended, and that the flow owns."""
    return Hour.of_day((datetime.now(UTC) - timedelta(days=1)).date(), number)


@contextmanager
def _log(bench: Bench, functions: dict[str, int] | None = None) -> Iterator[Deployment]:
    """A deployment with an empty log."""
    with bench.deployed(functions or {}) as here:
        context.create(here.dsn)
        yield here


@contextmanager
def worker(env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that exports hours of the deployment with this environment."""
    command = [sys.executable, "-m", "tests.bench.hour_worker"]
    environment = {**os.environ, **env}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def exporting(bench: Bench, here: Deployment, exporter: subprocess.Popen[str], hour: Hour, rows: int) -> Way:
    """An hour's export by a worker."""

    def run(_: int) -> Sample:
        assert exporter.stdin
        assert exporter.stdout
        bench.settle(here)
        with bench.measured(here) as sample:
            exporter.stdin.write(json.dumps({"hour": str(hour)}) + "\n")
            exporter.stdin.flush()
            if not select([exporter.stdout], (), (), bench.patience)[0]:
                raise TimeoutError(f"the worker has exported for {bench.patience:g} s")
            line = exporter.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with {exporter.wait()}")
        answer = json.loads(line)
        assert answer["rows"] == rows, answer
        sample.seconds = answer["seconds"] - answer["BigQuery"]
        sample.spent["function CPU s"] = answer["CPU"]
        return sample

    return run


def _copy(bench: Bench, here: Deployment, hour: Hour) -> Way:
    (table,) = catalog.load().hourly.values()
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    within = f"{table.time} >= '{hour.start:%F %T}' AND {table.time} < '{hour.end:%F %T}'"
    statement = f"COPY (SELECT {columns} FROM {_TABLE} WHERE {within}) TO STDOUT (FORMAT binary)"
    psql = [str(postgres_bin() / "psql"), here.dsn, "--no-psqlrc", "--quiet", "--output", os.devnull]

    def run(_: int) -> Sample:
        bench.settle(here)
        with bench.measured(here) as sample:
            subprocess.run([*psql, "--command", statement], check=True, stdout=subprocess.DEVNULL)
        return sample

    return run


def _repeat(here: Deployment, times: int, apart: timedelta) -> None:
    """Add the log's rows again, so many times, each time that much later: faster than to make others."""
    if not times:
        return
    (table,) = catalog.load().hourly.values()
    names = [column.name for column in table.columns if column.name != table.key]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f'"{name}" + number * %s' if name == table.time else f'"{name}"' for name in names)
    statement = (
        f"INSERT INTO {_TABLE} ({columns}) SELECT {values} FROM {_TABLE}, generate_series(1, %s) AS number"
        f" ORDER BY number, {table.key}"
    )
    with psycopg.connect(here.dsn) as connection:
        connection.execute(statement.encode(), [apart, times])


def _vacuum(bench: Bench, here: Deployment) -> None:
    """Autovacuum would come by in the middle of a measurement."""
    with bench.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f"VACUUM (ANALYZE) {_TABLE}".encode())


def _numbers(answer: object) -> set[int]:
    """Every whole number that stands in a JSON answer."""
    match answer:
        case dict():
            return set().union(*map(_numbers, answer.values()))
        case list():
            return set().union(*map(_numbers, answer))
        case bool():
            return set()
        case int():
            return {answer}
    return set()
