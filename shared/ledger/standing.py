"""Where a snapshot stands: do readers see it, may they come to see it, or what keeps it from them?

The question is asked before a step, and again under the lock that keeps other publishes away. Both times the same
function answers it from the same facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import cast

import psycopg

from shared.db import queries
from shared.ledger.holds import Decision, Hold
from shared.ledger.publications import Publication
from shared.names import ADOPTED, SnapshotId

type _Facts = tuple[
    int | None, str | None, bool, list[str] | None, Decision | None, str | None, bool, bool, bool, str | None
]


#: What is told of a table that is `unaccounted`, before the command that fills it.
UNACCOUNTED = (
    "stands without a row, and the ledger knows nothing of it: somebody dropped the ledger, or made the table."
    " To fill it"
)


def bring(table: str, snapshot: SnapshotId) -> str:
    """The command that brings back what readers lack of a snapshot. Adopted rows have no objects to come from."""
    if snapshot == ADOPTED:
        return f"recosync export {table} --force"
    return f"recosync import {table} --snapshot {snapshot}"


class SnapshotState(Enum):
    """Where a snapshot stands, for an event. The first that is true of it counts; who asks for more has the facts."""

    PUBLISHED = auto()  #: readers see it
    REJECTED = auto()  #: somebody decided that readers never see it
    PASSED_OVER = auto()  #: readers see a newer one, whether they have seen this one or not
    LEFT = auto()  #: readers have seen it, and an operator went back from it
    HELD = auto()  #: it tripped a limit, and waits for a human
    PINNED = auto()  #: an operator pinned its table to another one, so that events leave it alone
    FAILED = auto()  #: something of it failed for good; an event that comes again may still succeed
    OPEN = auto()  #: nothing is known against it


@dataclass(frozen=True)
class SnapshotStanding:
    """What is known of one snapshot. `published` is what readers see of its table, `was_published` whether they have
    seen this snapshot, `pinned` the snapshot that its table is pinned to.

    It is `damaged` when readers should see it, and somebody has dropped or detached a part of it. Then it is as if it
    had not been published yet. It is `recorded` once its manifest came, maybe with the trace of its export.
    """

    table: str
    snapshot: SnapshotId
    published: Publication | None = None
    was_published: bool = False
    hold: Hold | None = None
    pinned: SnapshotId | None = None
    failed: bool = False
    damaged: bool = False
    recorded: bool = False
    traceparent: str | None = None

    @property
    def undecided(self) -> Hold | None:
        """The hold that waits for a human."""
        return self.hold if self.hold is not None and self.hold.decision is None else None

    @property
    def state(self) -> SnapshotState:
        seen = self.published.snapshot if self.published else None
        facts = {
            SnapshotState.PUBLISHED: seen == self.snapshot and not self.damaged,
            SnapshotState.REJECTED: self.hold is not None and self.hold.decision == "rejected",
            SnapshotState.PASSED_OVER: seen is not None and seen > self.snapshot,
            SnapshotState.LEFT: self.was_published and not self.damaged,
            SnapshotState.HELD: self.undecided is not None,
            SnapshotState.PINNED: self.pinned not in (None, self.snapshot),
            SnapshotState.FAILED: self.failed,
        }
        return next((state for state, is_so in facts.items() if is_so), SnapshotState.OPEN)


def of(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> SnapshotStanding:
    """Where one snapshot stands, whether the ledger has heard of it or not."""
    return of_all(connection, [(table, snapshot)])[0]


def of_all(connection: psycopg.Connection, wanted: Iterable[tuple[str, SnapshotId]]) -> list[SnapshotStanding]:
    """Where snapshots of some tables stand, in the order asked for."""
    asked = list(wanted)
    values = {"tables": [table for table, _ in asked], "snapshots": [str(snapshot) for _, snapshot in asked]}
    rows = connection.execute(queries.load("standing")["standing"], values).fetchall()
    found = {(table, SnapshotId.parse(snapshot)): facts for table, snapshot, *facts in rows}
    return [_standing(table, snapshot, *found[table, snapshot]) for table, snapshot in asked]


def unaccounted(connection: psycopg.Connection, schemas: Mapping[str, str]) -> set[str]:
    """Of the tables with these `schemas`, those that stand without a row and that the ledger knows nothing of: it was
    dropped, and their rows with it.
    """
    values = {"tables": list(schemas), "schemas": list(schemas.values())}
    return {name for (name,) in connection.execute(queries.load("standing")["unaccounted"], values)}


def _standing(table: str, snapshot: SnapshotId, *facts: object) -> SnapshotStanding:
    number, seen, was_published, reasons, decision, pinned, failed, damaged, recorded, trace = cast(_Facts, facts)
    return SnapshotStanding(
        table,
        snapshot,
        published=Publication(number, SnapshotId.parse(seen)) if number is not None and seen else None,
        was_published=was_published,
        hold=Hold(tuple(reasons), decision) if reasons is not None else None,
        pinned=SnapshotId.parse(pinned) if pinned else None,
        failed=failed,
        damaged=damaged,
        recorded=recorded,
        traceparent=trace,
    )
