"""Snapshots as their manifests state them, and their parts as they are staged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from shared.db.postgres import bound
from shared.ledger import statements
from shared.ledger.statements import as_json, as_profile
from shared.names import ObjectVersion, SnapshotId
from shared.rows.profile import Profile


@dataclass(frozen=True)
class NamedPart:
    """A part that a manifest names: its rows by its footer, and what is staged of it. Parts that were staged before
    there were profiles, or adopted, have none.
    """

    version: ObjectVersion
    rows: int
    id: int | None
    staged_rows: int | None
    parquet: Profile | None
    postgresql: Profile | None


@dataclass(frozen=True)
class Snapshot:
    """What a manifest says of a snapshot: the source's rows (None where the footers are the receipt), the parts', what
    BigQuery counted, when the source was last changed, when it was exported, what each column is in either system, and
    the trace of the export.
    """

    source_rows: int | None
    rows: int
    profile: Profile | None = None
    source_modified: datetime | None = None
    started: datetime | None = None
    exported: datetime | None = None
    columns: Sequence[Mapping[str, str]] = ()
    traceparent: str | None = None


@dataclass(frozen=True)
class Newest:
    """The newest snapshot whose manifest came. `columns` are (name, source type, PostgreSQL type)."""

    snapshot: SnapshotId
    source_modified: datetime | None
    columns: tuple[tuple[str, str, str], ...]


def record(
    connection: psycopg.Connection,
    table: str,
    snapshot: SnapshotId,
    stated: Snapshot,
    parts: Sequence[tuple[ObjectVersion, int]],
) -> bool:
    """Record a manifest; False when it was there already."""
    values: dict[str, object] = {
        "table": table,
        "snapshot": str(snapshot),
        "source_rows": stated.source_rows,
        "rows": stated.rows,
        "columns": Jsonb(list(stated.columns)),
        "source_modified": stated.source_modified,
        "started": stated.started,
        "exported": stated.exported,
        "profile": as_json(stated.profile),
        "traceparent": stated.traceparent,
    }
    named = {
        "buckets": [version.bucket for version, _ in parts],
        "names": [version.name for version, _ in parts],
        "generations": [version.generation for version, _ in parts],
        "rows_of_parts": [rows for _, rows in parts],
    }
    return bool(statements.one(connection, "record_snapshot", values | named))


def find(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Snapshot | None:
    """What the manifest states; None before it came."""
    row = statements.row(connection, "snapshot", {"table": table, "snapshot": str(snapshot)})
    if row is None:
        return None
    source_rows, rows, profile, modified, exported = row
    return Snapshot(
        cast(int | None, source_rows),
        cast(int, rows),
        as_profile(profile),
        source_modified=cast(datetime | None, modified),
        exported=cast(datetime | None, exported),
    )


def traceparent(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> str | None:
    """The trace of the call that exported the snapshot; None where nobody knows."""
    return cast(str | None, statements.one(connection, "traceparent", {"table": table, "snapshot": str(snapshot)}))


def newest(connection: psycopg.Connection, table: str) -> Newest | None:
    """The newest snapshot of a table whose manifest came."""
    found = statements.row(connection, "newest_snapshot", {"table": table})
    if found is None:
        return None
    snapshot, modified, columns = cast(tuple[str, datetime | None, Sequence[Mapping[str, str]]], found)
    named = tuple((column["name"], column["type"], column.get("postgresql", "")) for column in columns)
    return Newest(SnapshotId.parse(snapshot), modified, named)


def exported_types(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> dict[str, str] | None:
    """The columns and PostgreSQL types of the catalog that the snapshot was exported for; None where nobody knows, or
    before its manifest came.
    """
    columns = cast(
        Sequence[Mapping[str, str]] | None,
        statements.one(connection, "columns_of_snapshot", {"table": table, "snapshot": str(snapshot)}),
    )
    if not columns or "exported_as" not in columns[0]:
        return None
    return {column["name"]: column["exported_as"] for column in columns}


def named_parts(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> list[NamedPart]:
    """The parts that the snapshot's manifest names."""
    rows = connection.execute(
        statements.query("parts_of_snapshot"), {"table": table, "snapshot": str(snapshot)}
    ).fetchall()
    return [
        NamedPart(ObjectVersion(bucket, name, generation), n, id_, staged, as_profile(parquet), as_profile(postgresql))
        for bucket, name, generation, n, id_, staged, parquet, postgresql in rows
    ]


def object_of_part(connection: psycopg.Connection, part_id: int) -> ObjectVersion | None:
    """The object that a part was staged from; None of rows that came from no file."""
    bucket, name, generation = statements.row(connection, "object_of_part", {"id": part_id}) or (None, None, None)
    return ObjectVersion(cast(str, bucket), cast(str, name), cast(int, generation)) if bucket else None


def claim_part(connection: psycopg.Connection, table: str, snapshot: SnapshotId, version: ObjectVersion) -> int | None:
    """A new id for a part; None when it is staged already. One whose table somebody dropped is not."""
    values = {"table": table, "snapshot": str(snapshot)} | statements.of_object(version)
    claimed = statements.one(connection, "claim_part", values)
    if claimed is None and statements.run(connection, "forget_lost_part", statements.of_object(version)):
        claimed = statements.one(connection, "claim_part", values)
    return cast(int | None, claimed)


def finished(
    connection: psycopg.Connection, part_id: int, seconds: float, parquet: Profile | None, postgresql: Profile
) -> sql.SQL:
    """The statement that notes what was staged. `parquet` is None of rows that came from no file."""
    values = {
        "id": part_id,
        "rows": postgresql.rows,
        "seconds": seconds,
        "parquet": as_json(parquet),
        "postgresql": as_json(postgresql),
    }
    return bound(connection, statements.query("finish_part"), values)


def drop_part(connection: psycopg.Connection, part_id: int) -> None:
    """Note that a part's table is no more."""
    statements.run(connection, "drop_part", {"id": part_id})
