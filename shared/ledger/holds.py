"""Holds and pins: where the flow waits for a human, and what the human said.

Plain functions over a connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg

from shared.db import queries
from shared.names import ADOPTED, SnapshotId

type Decision = Literal["approved", "rejected"]


@dataclass(frozen=True)
class Hold:
    """A complete snapshot that tripped a limit; nobody has decided while `decision` is None."""

    reasons: tuple[str, ...]
    decision: Decision | None


def hold(connection: psycopg.Connection, table: str, snapshot: SnapshotId, reasons: Sequence[str]) -> bool:
    """Hold the snapshot; False when it was held already."""
    return _run(connection, "hold", table, snapshot=str(snapshot), reasons=list(reasons)).rowcount > 0


def held(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Hold | None:
    """The snapshot's hold, decided or not."""
    row = _run(connection, "held", table, snapshot=str(snapshot)).fetchone()
    return None if row is None else Hold(tuple(row[0]), row[1])


def latest_hold(connection: psycopg.Connection, table: str) -> SnapshotId | None:
    """The newest snapshot of the table that waits for a decision."""
    return _snapshot(_run(connection, "latest_hold", table).fetchone())


def decide(connection: psycopg.Connection, table: str, snapshot: SnapshotId, decision: Decision, by: str) -> bool:
    """Note the decision; False when the snapshot waits for none."""
    return _run(connection, "decide", table, snapshot=str(snapshot), decision=decision, by=by).rowcount > 0


def pinned(connection: psycopg.Connection, table: str) -> SnapshotId | None:
    """The snapshot that the table is pinned to; None when events may publish."""
    return _snapshot(_run(connection, "pinned", table).fetchone())


def pin(connection: psycopg.Connection, table: str, snapshot: SnapshotId, by: str) -> None:
    _run(connection, "pin", table, snapshot=str(snapshot), by=by)


def unpin(connection: psycopg.Connection, table: str) -> bool:
    """Let events publish again; False when they did already."""
    return _run(connection, "unpin", table).rowcount > 0


def kept_back(connection: psycopg.Connection, table: str) -> SnapshotId | None:
    """The newest complete snapshot that readers may get once the table is not pinned; None when there is none."""
    return _snapshot(_run(connection, "kept_back", table).fetchone())


def previous(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> SnapshotId | None:
    """The newest snapshot before that one that readers have seen."""
    values = {"snapshot": str(snapshot), "adopted": str(ADOPTED)}
    return _snapshot(_run(connection, "previous", table, **values).fetchone())


def _run(connection: psycopg.Connection, name: str, table: str, **values: object) -> psycopg.Cursor:
    given: Mapping[str, object] = {"table": table, **values}
    return connection.execute(queries.load("holds")[name], given)


def _snapshot(row: Sequence[object] | None) -> SnapshotId | None:
    return None if row is None else SnapshotId.parse(str(row[0]))
