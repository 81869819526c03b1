"""Publications: what readers see of each table, what they have seen, and which publications were announced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

import psycopg
from psycopg import sql

from shared.db.postgres import bound
from shared.ledger import statements
from shared.names import SnapshotId

#: Why a snapshot was published: an event completed it, or an operator asked.
type Cause = Literal["event", "approval", "rollback", "import"]


@dataclass(frozen=True)
class Publication:
    """One publish of a table."""

    number: int
    snapshot: SnapshotId


@dataclass(frozen=True)
class Unannounced(Publication):
    """One whose completion message is owed: when readers got it, and the trace of its snapshot."""

    published_at: datetime
    traceparent: str | None


def published(connection: psycopg.Connection, table: str) -> Publication | None:
    """What readers see now."""
    row = statements.row(connection, "published", {"table": table})
    return None if row is None else Publication(cast(int, row[0]), SnapshotId.parse(cast(str, row[1])))


def numbers(connection: psycopg.Connection, tables: Sequence[str]) -> dict[str, int]:
    """The number of what readers see of each table that is published."""
    found = {table: published(connection, table) for table in tables}
    return {table: publication.number for table, publication in found.items() if publication is not None}


def published_for(connection: psycopg.Connection, table: str) -> timedelta | None:
    """For how long readers have seen what they see now."""
    return cast(timedelta | None, statements.one(connection, "published_for", {"table": table}))


def published_as(connection: psycopg.Connection, table: str, snapshot: SnapshotId, rows: int, cause: Cause) -> sql.SQL:
    """The statement that takes the table's next publication number and returns it: milliseconds since 1970, or one more
    than the last number. From then on, the publication's message is owed. The seconds that it notes are the
    transaction's.
    """
    values = {"table": table, "snapshot": str(snapshot), "rows": rows, "cause": cause}
    return bound(connection, statements.query("publish"), values)


def unannounced(connection: psycopg.Connection, table: str) -> list[Unannounced]:
    """The publications whose completion message Pub/Sub has not taken yet."""
    rows = connection.execute(statements.query("unannounced"), {"table": table}).fetchall()
    return [Unannounced(number, SnapshotId.parse(snapshot), at, trace) for number, snapshot, at, trace in rows]


def announced(connection: psycopg.Connection, table: str, publication: int) -> None:
    statements.run(connection, "announced", {"table": table, "publication": publication})
