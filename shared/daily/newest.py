"""The newest snapshot that a table has, and whether an export would bring anything else."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from shared.catalog import Table
from shared.gcp.bigquery import TableInfo
from shared.ledger import snapshots, standing
from shared.ledger.snapshots import Newest
from shared.ledger.standing import SnapshotStanding


@dataclass(frozen=True)
class NewestSnapshot:
    """The newest snapshot whose manifest came: what that states, and where it stands."""

    table: Table
    stated: Newest
    stands: SnapshotStanding

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
    return NewestSnapshot(table, stated, standing.of(connection, table.name, stated.snapshot))
