"""The newest snapshot that a table has, in the ledger and in the bucket, and whether an export would bring anything
else.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from shared.catalog import Table
from shared.daily.context import TableRun
from shared.daily.names import SnapshotFolder, snapshots_of
from shared.gcp.bigquery import TableInfo
from shared.gcp.storage import StoredObject
from shared.ledger import publications, snapshots, standing
from shared.ledger.snapshots import Newest
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import SnapshotId

#: The newest folders of a table that are looked at for a manifest: the rest is older, or was never completed.
LOOK_AT = 10


@dataclass(frozen=True)
class NewestSnapshot:
    """The newest snapshot whose manifest came: what that states, and where it stands. `lacking` is what readers should
    see, where somebody has dropped or detached a part of it.
    """

    table: Table
    stated: Newest
    stands: SnapshotStanding
    lacking: SnapshotId | None = None

    @property
    def awaited(self) -> list[SnapshotId]:
        """The snapshots whose objects would bring readers what they lack, the newest first."""
        coming = self.stands.state in (SnapshotState.PINNED, SnapshotState.OPEN)
        wanted = [self.stands.snapshot] if coming else []
        return wanted if self.lacking is None or self.lacking in wanted else [*wanted, self.lacking]

    @property
    def failed(self) -> bool:
        """Whether it never came to readers because something of it failed, whatever else is known of it."""
        return self.stands.failed and not self.stands.was_published

    def is_like(self, source: TableInfo) -> bool:
        """Whether an export of the source would bring the same rows, of the same columns."""
        types = {field.name: field.type for field in source.fields}
        columns = tuple((column.name, types[column.name], column.type.sql) for column in self.table.columns)
        known = source.modified is not None and source.modified == self.stated.source_modified
        return known and columns == self.stated.columns


def of(connection: psycopg.Connection, table: Table) -> NewestSnapshot | None:
    """The newest snapshot of a table; None before the first."""
    stated = snapshots.newest(connection, table.name)
    if stated is None:
        return None
    stands = standing.of(connection, table.name, stated.snapshot)
    seen = stands.published.snapshot if stands.published else None
    lacking = seen if seen is not None and standing.of(connection, table.name, seen).damaged else None
    return NewestSnapshot(table, stated, stands, lacking)


def unpublished(run: TableRun) -> tuple[SnapshotStanding, StoredObject] | None:
    """Where the newest complete snapshot in the bucket stands, and its manifest, unless readers have seen it or a newer
    one.
    """
    bucket, prefix, storage = run.settings.bucket, run.settings.prefix, run.services.storage
    newest = snapshots_of(storage.folders(bucket, f"{prefix}/{run.table.name}/"))[-LOOK_AT:][::-1]
    for stands in standing.of_all(run.connection, [(run.table.name, snapshot) for snapshot in newest]):
        if stands.state in (SnapshotState.PUBLISHED, SnapshotState.PASSED_OVER, SnapshotState.LEFT):
            return None
        manifest = _manifest(run, stands)
        if manifest is not None:
            return stands, manifest
    return None


def damaged(run: TableRun) -> tuple[SnapshotStanding, StoredObject] | None:
    """Where the snapshot stands that readers should see, and its manifest, if they lack rows of it."""
    seen = publications.published(run.connection, run.table.name)
    stands = standing.of(run.connection, run.table.name, seen.snapshot) if seen is not None else None
    manifest = _manifest(run, stands) if stands is not None and stands.damaged else None
    return (stands, manifest) if stands is not None and manifest is not None else None


def _manifest(run: TableRun, stands: SnapshotStanding) -> StoredObject | None:
    """A snapshot's manifest; an empty object is none to an event either."""
    folder = SnapshotFolder(run.settings.prefix, run.table.name, stands.snapshot)
    found = run.services.storage.find(run.settings.bucket, folder.manifest)
    return found if found is not None and found.bytes else None
