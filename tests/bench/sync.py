"""A full sync as a case's work: all tables from the bucket to published children, all views rebuilt and swapped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pyarrow.parquet as pq

from local.cloud import Deployment
from shared import catalog
from shared.catalog import Table
from shared.daily.manifest import Manifest, ManifestPart
from shared.daily.names import SnapshotFolder
from shared.names import SnapshotId
from shared.target import tables
from tests.bench.bench import Bench, finalized, upload

if TYPE_CHECKING:
    from google.cloud import storage

#: Seconds until a sync has failed, between looks at how far it is, and until an event that was not taken comes again.
_PATIENCE, _POLL, _BACKOFF = 900.0, 0.1, 0.2


@dataclass
class Sync:
    """Full syncs of all tables, one after the other, on a deployment with triggers.

    The bucket's own events are dropped: they are for us to send, when all objects are there, so that uploading is no
    part of the work.
    """

    bench: Bench
    here: Deployment
    rows: int
    parts: int
    _blobs: list[storage.Blob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.here.eventarc.faults.drop = lambda event: event.type.startswith("google.cloud.storage")

    def run(self) -> None:
        self.upload()
        self.work()
        self.forget()

    def upload(self) -> None:
        """A snapshot of each table, the manifest after its parts."""
        for table in catalog.load().tables.values():
            snapshot = self.bench.next_snapshot()
            files = _files(self.bench, table, self.rows, self.parts)
            parts = upload(self.here, table, snapshot, files)
            self._blobs += [*parts, _manifest(self.here, table, snapshot, parts, files)]

    def work(self) -> None:
        """Send the events, as many at once as there are importers, and wait until all views are swapped."""
        waiting = deque(finalized(blob) for blob in self._blobs)

        def send(_: object) -> None:
            while waiting:
                try:
                    event = waiting.popleft()
                except IndexError:
                    return
                if self.here.eventarc.deliver("gcs_import", event) >= 300:
                    waiting.append(event)
                    time.sleep(_BACKOFF)

        importers = len(self.here.instances["gcs_import"])
        with ThreadPoolExecutor(importers) as pool:
            list(pool.map(send, range(importers)))
        deadline = time.monotonic() + _PATIENCE
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            while behind := connection.execute(_BEHIND).fetchall():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{behind} are never refreshed\n{self.here.log('mv_refresh')[-2_000:]}")
                time.sleep(_POLL)
        self.here.eventarc.wait_idle()

    def swaps(self) -> list[float]:
        """When readers got each snapshot and view that they have, on the machine's monotonic clock."""
        with psycopg.connect(self.here.dsn) as connection:
            return [_monotonic(at) for (at,) in connection.execute(_SWAPS)]

    def forget(self) -> None:
        """Drop what readers do not see any more."""
        for blob in self._blobs:
            blob.delete()
        self._blobs.clear()
        known = catalog.load()
        with psycopg.connect(self.here.dsn, autocommit=True) as connection:
            for table in known.tables:
                for part in tables.unattached(connection, known.schema, table):
                    tables.drop_child(connection, part)


#: Views that do not hold what is published.
_BEHIND = b"""
SELECT table_name FROM recosync.publication
LEFT JOIN recosync.view_build USING (table_name, publication)
WHERE
    view_name IS NULL
    AND (table_name, publication) IN (SELECT table_name, max(publication) FROM recosync.publication GROUP BY table_name)
"""

_SWAPS = b"""
SELECT max(published_at) FROM recosync.publication GROUP BY table_name
UNION ALL
SELECT max(built_at) FROM recosync.view_build GROUP BY view_name
"""


def _monotonic(at: datetime) -> float:
    return at.timestamp() - time.time() + time.monotonic()


def _files(bench: Bench, table: Table, rows: int, parts: int) -> list[Path]:
    # There are as many zones, however many the offers are.
    return [bench.parquet(table, rows)] if table.name == "iris_france" else bench.parquet_parts(table, rows, parts)


def _manifest(
    here: Deployment, table: Table, snapshot: SnapshotId, blobs: Sequence[storage.Blob], files: Sequence[Path]
) -> storage.Blob:
    parts = tuple(
        ManifestPart(blob.name, int(blob.generation), pq.read_metadata(file).num_rows, int(blob.size), blob.crc32c)
        for blob, file in zip(blobs, files, strict=True)
    )
    columns = tuple((column.name, "STRING") for column in table.columns)
    manifest = here.storage_client.bucket(here.bucket).blob(
        SnapshotFolder(here.env["EXPORT_PREFIX"], table.name, snapshot).manifest
    )
    manifest.upload_from_string(Manifest(table.name, snapshot, None, columns, parts).to_json())
    return manifest
