"""Receipts: what BigQuery, Parquet and PostgreSQL count of a snapshot, each by itself. No receipt, no publish."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from shared.db import queries
from shared.ledger.statements import as_json, as_profile
from shared.names import SnapshotId
from shared.rows.profile import Profile


@dataclass(frozen=True)
class SnapshotReceipt:
    """The profiles of one snapshot, which agree. BigQuery's is None where another uploader wrote the manifest,
    Parquet's where the rows came from no file. `duplicate_keys` is None where the table has no key. And, where somebody
    knows, when the source was last changed before it was `exported`.
    """

    bigquery: Profile | None
    parquet: Profile | None
    postgresql: Profile
    duplicate_keys: int | None
    source_modified: datetime | None = None
    exported: datetime | None = None


def find(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> SnapshotReceipt | None:
    """The snapshot's receipt; None before it has one."""
    row = connection.execute(queries.load("receipts")["find"], {"table": table, "snapshot": str(snapshot)}).fetchone()
    if row is None:
        return None
    bigquery, parquet, postgresql, duplicates, modified, exported = row
    counted = as_profile(bigquery), as_profile(parquet), Profile.from_json(postgresql)
    return SnapshotReceipt(*counted, duplicates, modified, exported)


def keep(connection: psycopg.Connection, table: str, snapshot: SnapshotId, receipt: SnapshotReceipt) -> None:
    """Keep the receipt; the first one stands."""
    values = {
        "table": table,
        "snapshot": str(snapshot),
        "bigquery": as_json(receipt.bigquery),
        "parquet": as_json(receipt.parquet),
        "postgresql": as_json(receipt.postgresql),
        "duplicate_keys": receipt.duplicate_keys,
    }
    connection.execute(queries.load("receipts")["keep"], values)
