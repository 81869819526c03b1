"""Case 3: how time and memory grow with the rows.

Of each size there is one part by one worker, in a process that has loaded nothing else; then the same rows in 8 parts
by two workers; then, once these are published, the two views of offers, by one. Each has its turn once, and all are of
recommendable_offers_raw alone: with users and bookings as many, the largest size would take as long as all other cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from local import context
from local.cloud import Deployment
from local.functions import FLEET
from local.sources import Sources
from tests.bench import bench as benches
from tests.bench.bench import Bench, completed
from tests.bench.load import PARTS, many_parts, one_part
from tests.bench.measure import Result, Sample
from tests.bench.refresh import publish

_TABLE = "recommendable_offers_raw"
_MILLION = 1_000_000


def rows(bench: Bench) -> Iterator[Result]:
    """Case 3: time and memory of so many rows."""
    peaks = []
    for size in (bench.rows // 3, bench.rows, bench.rows * 10 // 3):
        with bench.deployed({"gcs_import": 2, "mv_refresh": 1}) as here:
            samples = _samples(bench, here, size)
        peaks.append(samples["one part"].spent["gcs_import MiB"])
        for sample in samples.values():
            sample.spent["s per 1,000,000 rows"] = sample.seconds * _MILLION / size
        yield Result(
            *(3, f"peak memory of a load of {size:,} rows", "MiB", [peaks[-1]], 400),
            seconds={way: [sample.seconds] for way, sample in samples.items()},
            spent={way: sample.spent for way, sample in samples.items()},
        )
    yield Result(3, "peak memory, the most rows", "×", [peaks[-1] / peaks[0]], 1.1, against="the fewest rows")


def day(bench: Bench) -> Iterator[Result]:
    """Case 3: the memory of every function in a day of its own. All four tables are exported from the emulated BigQuery
    at once, imported, published and refreshed, and then an hour of the log is exported, loaded and verified: by
    processes that have done nothing before. An instance is deployed with 512 MiB, or 1 GiB: gcs_import and
    hourly_export.
    """
    size = bench.rows // 10
    with bench.deployed(dict.fromkeys(_DAY, 1), triggers=True) as here:
        Sources(here, size).make()
        context.create(here.dsn)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
        context.write(here.dsn, hour, hour + timedelta(hours=1), size)
        with bench.measured(here, here.all_instances) as sample:
            here.call("bq_export")
            here.eventarc.wait_idle(600, quiet=3)
            here.call("hourly_export", {"date": f"{hour:%Y%m%d}", "hour": hour.hour})
    peaks = [
        Result(
            3, f"peak memory of {name}, {size:,} offers and rows of the log", "MiB", [sample.spent[f"{name} MiB"]], None
        )
        for name in _DAY
    ]
    yield replace(peaks[0], seconds={"a day": [sample.seconds]}, spent={"a day": sample.spent})
    yield from peaks[1:]


_DAY = [name for name in FLEET if name != "status"]


def _samples(bench: Bench, here: Deployment, size: int) -> dict[str, Sample]:
    table, (first, second) = benches.table(_TABLE), here.instances["gcs_import"]
    files = bench.parquet_parts(table, size, PARTS)
    samples = {"one part": one_part(bench, here, table, size)(0)}
    samples[f"{PARTS} parts, 2 workers"] = many_parts(bench, here, table, files, [first, second])(0)
    (instance,) = here.instances["mv_refresh"]
    publications = publish(bench, here, {_TABLE: size})
    bench.settle(here)
    with bench.measured(here, [instance]) as sample:
        bench.send(instance, completed(here, _TABLE, publications[_TABLE]))
    samples["2 views"] = sample
    return samples
