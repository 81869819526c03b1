"""Case 7, in one half: how soon a small table is there, and what the machinery adds to a publish and to a refresh.

Everything goes the deployed way: an uploader writes parts and a manifest, Cloud Storage notifies, two warm instances of
gcs_import and one of mv_refresh get the events, PostgreSQL is asked what readers can see.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import cast

import psycopg

from local.cloud import Deployment
from shared.catalog import Table
from shared.ledger import migrations
from shared.names import SnapshotId
from tests.bench import bench as benches
from tests.bench.bench import Bench, upload, upload_manifest
from tests.bench.measure import Result, Sample, Way, spending

#: Tables that are published, and the rows of each of their two parts. The small one is all of it machinery.
_LARGE, _SMALL = "recommendable_offers_raw", "enriched_user"
_PART_ROWS = {_LARGE: 20_000, _SMALL: 150}
_TIMES_A_ROUND = 6
_WARM_UP = 4

#: Pause between two looks of the observer, which make a latency longer and never shorter.
_POLL = 0.002
_PATIENCE = 60.0

_MS = timedelta(milliseconds=1)


def machinery(bench: Bench) -> Iterator[Result]:
    """Case 7: how soon 300 rows are there, and what the machinery adds to a publish, and to a refresh.

    Many snapshots of two parts are published, one after the other, by turns of a table of 300 rows and of one of
    40,000. The first part is staged before the last is uploaded, and the manifest comes right after that. Both times of
    a publish run from the last part's `timeCreated`, which its event tells of, to the first look of another connection
    that sees the publication. For the 300 rows that is all. For the 40,000, the seconds of staging that part are taken
    off, as the ledger has them: reading it, COPY, and the two counts of it. What stays is the event's way, the upload
    of the manifest, connections, every statement on the ledger, the part's statistics, commits, the receipt, the
    limits, and the swap.

    That of a refresh runs from the message's publish time to `started_at` of the first view that is being built: the
    event's way, connections, locks, and what is outdated. Nothing is taken off.
    """
    with (
        bench.deployed({"gcs_import": 2, "mv_refresh": 1}, triggers=True) as here,
        psycopg.connect(here.dsn, autocommit=True) as observer,
    ):
        migrations.migrate(observer)
        ways = {name: _Observed(here, observer, benches.table(name)).way(bench) for name in _PART_ROWS}
        for way in [*ways.values()] * _WARM_UP:
            way(0)
        samples = bench.in_turn(ways, apart=ways, times=_TIMES_A_ROUND)
    publish = "last part finalized to published swap"
    for what, bar, table, name in (
        (f"300 rows, {publish}", 150, _SMALL, _WHOLE),
        (f"{publish}, without its staging", 250, _LARGE, _MACHINERY),
        ("completion message to start of refresh", 150, _LARGE, _REFRESH),
    ):
        yield _result(spending(Result(7, what, "ms", (), bar), samples, table, name), samples[table])


def _result(result: Result, samples: Sequence[Sample]) -> Result:
    more = {name: median(sample.spent[name] for sample in samples) for name in (_STAGING, _STATISTICS)}
    return replace(result, spent={"warm": {"95 of 100 within, ms": _most(result.values), **more}})


def _most(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


#: Times of one snapshot, in ms; between the swap and the message are the statistics of the table.
_WHOLE, _MACHINERY, _REFRESH = "publish ms", "publish without staging ms", "refresh ms"
_STAGING, _STATISTICS = "staging ms", "published swap to completion message ms"


@dataclass(frozen=True)
class _Observed:
    """A deployment that is watched from a connection of its own."""

    here: Deployment
    connection: psycopg.Connection
    table: Table

    def way(self, bench: Bench) -> Way:
        """Upload a snapshot, and follow it until its views are refreshed."""
        rows = _PART_ROWS[self.table.name]
        files = bench.parquet_parts(self.table, 2 * rows, 2)
        return lambda _: self._time(bench, files, rows)

    def _time(self, bench: Bench, files: Sequence[Path], rows: int) -> Sample:
        *first, last = files
        snapshot = bench.next_snapshot()
        self.here.eventarc.deliveries.clear()
        blobs = upload(self.here, self.table, snapshot, first)
        self._first(_STAGED, snapshot)
        self.here.eventarc.wait_idle(quiet=0.1)
        blobs += upload(self.here, self.table, snapshot, [last], first=len(first))
        upload_manifest(self.here, self.table, snapshot, dict.fromkeys(blobs, rows))
        self._first(_PUBLISHED, snapshot)
        published = datetime.now(UTC)
        # Few rows are refreshed too soon to be seen at it.
        started = cast(datetime, self._first(_BUILDING)) if self.table.name == _LARGE else None
        self.here.eventarc.wait_idle(quiet=0.3)
        staging = timedelta(seconds=cast(float, self._first(_SECONDS, snapshot, blobs[-1].name)))
        told = self._told(snapshot)
        whole = published - blobs[-1].time_created
        spent = {_WHOLE: whole, _MACHINERY: whole - staging, _STAGING: staging, _STATISTICS: told - published}
        if started:
            spent[_REFRESH] = started - told
            if started < told:
                raise RuntimeError(f"a refresh was under way before the message of {snapshot}")
        return Sample(whole.total_seconds(), {name: time / _MS for name, time in spent.items()})

    def _first(self, query: bytes, *values: object) -> object:
        """What the query finds, as soon as it finds something."""
        deadline = time.monotonic() + _PATIENCE
        given = [str(value) for value in values]
        while (row := self.connection.execute(query, given).fetchone()) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{query!r} found nothing\n{self.here.log('gcs_import')[-2_000:]}")
            time.sleep(_POLL)
        return row[0]

    def _told(self, snapshot: SnapshotId) -> datetime:
        """When the completion message was published."""
        for delivery in self.here.eventarc.deliveries:
            message = cast(dict[str, dict[str, str]], delivery.event.data.get("message", {}))
            if message and message["attributes"]["snapshot_id"] == str(snapshot):
                return datetime.fromisoformat(cast(str, message["publishTime"]))
        raise RuntimeError(f"no message tells of {snapshot}")


_STAGED = b"SELECT id FROM recosync.part WHERE snapshot_id = %s AND rows IS NOT NULL"
_SECONDS = b"SELECT seconds FROM recosync.part WHERE snapshot_id = %s AND name = %s"
_PUBLISHED = b"SELECT publication FROM recosync.publication WHERE snapshot_id = %s"
_BUILDING = b"SELECT min(started_at) FROM recosync.building HAVING count(*) > 0"
