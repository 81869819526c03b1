"""What each export call found of a table, and what it needs to know before: the newest snapshot, and its fate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from shared.db import queries
from shared.errors import MAX_WHAT, shown
from shared.ledger.holds import Decision
from shared.names import SnapshotId

type Outcome = Literal["exported", "exported already", "confirmed unchanged", "held", "failed", "to be retried"]


@dataclass(frozen=True)
class Latest:
    """The newest snapshot whose manifest came, and `seen`, which readers see now. `columns` are (name, source type,
    PostgreSQL type).
    """

    snapshot: SnapshotId
    source_modified: datetime | None
    columns: tuple[tuple[str, str, str], ...]
    published: bool
    failed: bool
    held_for: tuple[str, ...]
    decision: Decision | None
    seen: SnapshotId | None


@dataclass(frozen=True)
class ExportCall:
    """One table's part of an export call."""

    table: str
    started: datetime
    outcome: Outcome
    snapshot: SnapshotId | None
    message: str | None


def latest(connection: psycopg.Connection, table: str) -> Latest | None:
    row = connection.execute(queries.load("calls")["latest"], {"table": table}).fetchone()
    if row is None:
        return None
    snapshot, modified, columns, published, failed, reasons, decision, seen = row
    return Latest(
        snapshot=SnapshotId.parse(snapshot),
        source_modified=modified,
        columns=_columns(columns),
        published=published,
        failed=failed,
        held_for=tuple(reasons or ()),
        decision=decision,
        seen=SnapshotId.parse(seen) if seen else None,
    )


def record(connection: psycopg.Connection, calls: Sequence[ExportCall]) -> None:
    """Keep what a call found, all in one transaction."""
    with connection.transaction():
        for call in calls:
            values = {
                "table": call.table,
                "started": call.started,
                "outcome": call.outcome,
                "snapshot": str(call.snapshot) if call.snapshot else None,
                "message": None if call.message is None else shown(call.message, MAX_WHAT),
            }
            connection.execute(queries.load("calls")["record"], values)


def _columns(columns: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str, str], ...]:
    return tuple((column["name"], column["type"], column.get("postgresql", "")) for column in columns)
