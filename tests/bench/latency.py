"""Case 7, in one half: what the machinery adds to the work of a publish and of a refresh.

Everything goes the deployed way: an uploader writes parts and a manifest, Cloud Storage notifies, two warm instances of
gcs_import and one of mv_refresh get the events, PostgreSQL is asked what readers can see.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from tests.bench.measure import Result

_TABLE = "recommendable_offers_raw"
_PART_ROWS = 20_000
_TIMES_A_ROUND = 10
_WARM_UP = 4

#: Pause between two looks of the observer, which make a latency longer and never shorter.
_POLL = 0.002
_PATIENCE = 60.0

_MS = timedelta(milliseconds=1)


def machinery(bench: Bench) -> Iterator[Result]:
    """Case 7: what the machinery adds to a publish, and to a refresh.

    Many snapshots of two parts are published, one after the other. The first part is staged before the last is
    uploaded, and the manifest comes right after that. The latency of a publish runs from the last part's `timeCreated`
    to the first look of another connection that sees the publication. Only the seconds of staging that part are taken
    off, as the ledger has them: reading it, COPY, and the two counts of it. What stays is the event's way, the upload
    of the manifest, connections, every statement on the ledger, the part's statistics, commits, the receipt, the
    limits, and the swap.

    That of a refresh runs from the message's publish time to `started_at` of the first view that is being built: the
    event's way, connections, locks, and what is outdated. Nothing is taken off.
    """
    table = benches.table(_TABLE)
    files = bench.parquet_parts(table, 2 * _PART_ROWS, 2)
    with (
        bench.deployed({"gcs_import": 2, "mv_refresh": 1}, triggers=True) as here,
        psycopg.connect(here.dsn, autocommit=True) as observer,
    ):
        migrations.migrate(observer)
        observed = _Observed(here, observer, table)
        times = [observed.time(bench, files) for _ in range(_WARM_UP + bench.rounds * _TIMES_A_ROUND)][_WARM_UP:]
    yield _result(
        "last part finalized to published swap",
        250,
        [each.publish for each in times],
        {"staging, taken off, ms": median(each.staging for each in times)},
    )
    yield _result(
        "completion message to start of refresh",
        150,
        [each.refresh for each in times],
        {"published swap to completion message, ms": median(each.statistics for each in times)},
    )


@dataclass(frozen=True)
class _Times:
    """Times of one snapshot, in ms. `statistics` is what lies between the swap and the message: those of the table."""

    publish: float
    staging: float
    statistics: float
    refresh: float


@dataclass(frozen=True)
class _Observed:
    """A deployment that is watched from a connection of its own."""

    here: Deployment
    connection: psycopg.Connection
    table: Table

    def time(self, bench: Bench, files: Sequence[Path]) -> _Times:
        """Upload a snapshot, and follow it until its views are refreshed."""
        *first, last = files
        snapshot = bench.next_snapshot()
        self.here.eventarc.deliveries.clear()
        blobs = upload(self.here, self.table, snapshot, first)
        self._first(_STAGED, snapshot)
        self.here.eventarc.wait_idle(quiet=0.1)
        blobs += upload(self.here, self.table, snapshot, [last], first=len(first))
        upload_manifest(self.here, self.table, snapshot, dict.fromkeys(blobs, _PART_ROWS))
        self._first(_PUBLISHED, snapshot)
        published = datetime.now(UTC)
        started = cast(datetime, self._first(_BUILDING))
        self.here.eventarc.wait_idle(quiet=0.3)
        staging = timedelta(seconds=cast(float, self._first(_SECONDS, snapshot, blobs[-1].name)))
        told = self._told(snapshot)
        if started < told:
            raise RuntimeError(f"a refresh was under way before the message of {snapshot}")
        return _Times(
            publish=(published - blobs[-1].time_created - staging) / _MS,
            staging=staging / _MS,
            statistics=(told - published) / _MS,
            refresh=(started - told) / _MS,
        )

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


def _result(what: str, bar: float, values: Sequence[float], more: Mapping[str, float]) -> Result:
    warm = {"95 of 100 within, ms": quantiles(values, n=20)[-1], **more}
    return Result(7, what, "ms", values, bar, spent={"warm": warm})
