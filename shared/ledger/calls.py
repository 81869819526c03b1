"""What each export call found of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from shared.db import queries
from shared.errors import MAX_WHAT, shown
from shared.names import SnapshotId

type CallOutcome = Literal["exported", "exported already", "confirmed unchanged", "held", "failed", "to be retried"]


@dataclass(frozen=True)
class ExportCall:
    """One table's part of an export call."""

    table: str
    started: datetime
    outcome: CallOutcome
    snapshot: SnapshotId | None
    message: str | None


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
