"""The ledger: what was staged, published, built and lost, in the schema `recosync`.

Plain functions over a connection; the caller owns the transaction. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from shared import log
from shared.catalog import ROOT
from shared.db import queries
from shared.db.postgres import Lock, await_lock, bound, translated
from shared.errors import ConfigurationError, PermanentError, SyncError
from shared.names import ObjectVersion, SnapshotId
from shared.rows.profile import Profile

SCHEMA = "recosync"

#: Why a snapshot was published: an event completed it, or an operator asked.
type Cause = Literal["event", "approval", "rollback", "import"]


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
    BigQuery counted, when the source was last changed, and when it was exported.
    """

    source_rows: int | None
    rows: int
    profile: Profile | None = None
    source_modified: datetime | None = None
    started: datetime | None = None
    exported: datetime | None = None


@dataclass(frozen=True)
class Publication:
    """One publish of a table."""

    number: int
    snapshot: SnapshotId


@dataclass(frozen=True)
class ViewBuild:
    """What a view holds of one table. `template` is the digest of what it was built from, None of a build from before
    there were digests.
    """

    publication: int
    template: str | None


def child(part_id: int) -> str:
    """The table, in the ledger's schema, that holds a staged part."""
    return f"part_{part_id}"


def prepare(connection: psycopg.Connection, *, migrates: bool) -> None:
    """Make sure that the ledger is of the version that this code knows. An older one is brought up to date by those
    that may, else refused: functions that are not deployed anew yet work with it.

    A ledger that is not there is made by whoever comes first. Raises ConfigurationError.
    """
    if migrates or not exists(connection):
        migrate(connection)


def exists(connection: psycopg.Connection) -> bool:
    """Whether there is a ledger, for those that only read it. Raises ConfigurationError when it is of another version
    than this code knows.
    """
    with translated("looking at the ledger"):
        found = _version(connection)
        _refuse_newer(found)
    if 0 < found < _wanted():
        raise ConfigurationError(
            f"is of version {found}, this code knows {_wanted()}",
            where="the ledger",
            remedy="Deploy the functions of this version, or use the code that is deployed. Or run: recosync migrate",
        )
    return found > 0


def migrate(connection: psycopg.Connection) -> None:
    """Bring the ledger's schema up to date: on first use, and after a deployment that changes it.

    Raises ConfigurationError when that can't be, and when the ledger is newer than this code: what waits is done by the
    functions that are about to be deployed.
    """
    with _as_configuration(), translated("preparing the ledger"):
        if is_current(connection):
            return
        with connection.transaction():
            # Another instance may be at it; it takes a moment, so wait rather than fail the event.
            await_lock(connection, Lock.ledger(), 30)
            # A stage or a publish may be under way; only our own functions queue behind us.
            connection.execute("SET LOCAL lock_timeout = '5s'")
            if connection.info.parameter_status("server_encoding") != "UTF8":
                raise ConfigurationError(
                    "the database is not in UTF8, as BigQuery's text is",
                    where=connection.info.dbname,
                    remedy="Make it with ENCODING 'UTF8'",
                )
            if not _one(connection, "schema_exists", {}):
                _run(connection, "create_schema", {})
            _run(connection, "create_migration", {})
            for version in range(_version(connection) + 1, _wanted() + 1):
                # Deployed with the code, as trusted as a literal.
                ddl: LiteralString = (ROOT / "sql" / "ledger" / f"{version}.sql").read_text()
                connection.execute(ddl)
                _run(connection, "record_migration", {"version": version})
                log.info("ledger migrated", version=version)


def is_current(connection: psycopg.Connection) -> bool:
    """Whether the ledger's schema is what this code needs, not an older one. Raises ConfigurationError of a newer."""
    found = _version(connection)
    _refuse_newer(found)
    return found == _wanted()


def _refuse_newer(found: int) -> None:
    """A statement of an older version may fail on a newer ledger, and would for good."""
    if found > _wanted():
        raise ConfigurationError(
            f"is of version {found}, this code knows {_wanted()}",
            where="the ledger",
            remedy="Deploy the functions of the version that brought it up to date",
        )


@contextmanager
def _as_configuration() -> Iterator[None]:
    """A ledger that can't be made is the deployment's fault: events must outlive its mending."""
    try:
        yield
    except PermanentError as e:
        raise ConfigurationError(e.what, where=e.where, remedy=e.remedy) from e


def _wanted() -> int:
    return max(int(file.stem) for file in (ROOT / "sql" / "ledger").glob("*.sql"))


def _version(connection: psycopg.Connection) -> int:
    if not _one(connection, "has_migrations", {}):
        return 0
    return int(cast(int, _one(connection, "applied", {})))


def record_snapshot(
    connection: psycopg.Connection,
    table: str,
    snapshot: SnapshotId,
    stated: Snapshot,
    columns: Sequence[Mapping[str, str]],
    parts: Sequence[tuple[ObjectVersion, int]],
) -> bool:
    """Record a manifest; False when it was there already."""
    key: dict[str, object] = {"table": table, "snapshot": str(snapshot)}
    values: dict[str, object] = {
        "source_rows": stated.source_rows,
        "rows": stated.rows,
        "columns": Jsonb(columns),
        "source_modified": stated.source_modified,
        "started": stated.started,
        "exported": stated.exported,
        "profile": as_json(stated.profile),
    }
    if _run(connection, "record_snapshot", key | values) == 0:
        return False
    for version, rows in parts:
        _run(connection, "record_snapshot_part", key | _object(version) | {"rows": rows})
    return True


def snapshot(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> Snapshot | None:
    """What the manifest states; None before it came."""
    row = _row(connection, "snapshot", {"table": table, "snapshot": str(snapshot)})
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


def exported_types(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> dict[str, str] | None:
    """The columns and PostgreSQL types of the catalog that the snapshot was exported for; None where nobody knows, or
    before its manifest came.
    """
    columns = cast(
        Sequence[Mapping[str, str]] | None,
        _one(connection, "columns_of_snapshot", {"table": table, "snapshot": str(snapshot)}),
    )
    if not columns or "exported_as" not in columns[0]:
        return None
    return {column["name"]: column["exported_as"] for column in columns}


def named_parts(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> list[NamedPart]:
    """The parts that the snapshot's manifest names."""
    rows = connection.execute(_query("parts_of_snapshot"), {"table": table, "snapshot": str(snapshot)}).fetchall()
    return [
        NamedPart(ObjectVersion(bucket, name, gen), n, id_, staged, as_profile(parquet), as_profile(postgresql))
        for bucket, name, gen, n, id_, staged, parquet, postgresql in rows
    ]


def object_of_part(connection: psycopg.Connection, part_id: int) -> ObjectVersion | None:
    """The object that a part was staged from; None of rows that came from no file."""
    bucket, name, generation = _row(connection, "object_of_part", {"id": part_id}) or (None, None, None)
    return ObjectVersion(cast(str, bucket), cast(str, name), cast(int, generation)) if bucket else None


def claim_part(connection: psycopg.Connection, table: str, snapshot: SnapshotId, version: ObjectVersion) -> int | None:
    """A new id for a part; None when it is staged already."""
    values = {"table": table, "snapshot": str(snapshot)} | _object(version)
    return cast(int | None, _one(connection, "claim_part", values))


def part_is_staged(connection: psycopg.Connection, version: ObjectVersion) -> bool:
    return bool(_one(connection, "part_is_staged", _object(version)))


def finish_part(
    connection: psycopg.Connection, part_id: int, seconds: float, parquet: Profile | None, postgresql: Profile
) -> None:
    """Note what was staged. `parquet` is None of rows that came from no file."""
    values = {"id": part_id, "rows": postgresql.rows, "seconds": seconds}
    _run(connection, "finish_part", values | {"parquet": as_json(parquet), "postgresql": as_json(postgresql)})


def drop_part(connection: psycopg.Connection, part_id: int) -> None:
    """Note that a part's table is no more."""
    _run(connection, "drop_part", {"id": part_id})


def published(connection: psycopg.Connection, table: str) -> Publication | None:
    """What readers see now."""
    row = _row(connection, "published", {"table": table})
    return None if row is None else Publication(cast(int, row[0]), SnapshotId.parse(cast(str, row[1])))


def published_for(connection: psycopg.Connection, table: str) -> timedelta | None:
    """For how long readers have seen what they see now."""
    return cast(timedelta | None, _one(connection, "published_for", {"table": table}))


def was_published(connection: psycopg.Connection, table: str, snapshot: SnapshotId) -> bool:
    """Whether readers see the snapshot or have seen it."""
    return bool(_one(connection, "was_published", {"table": table, "snapshot": str(snapshot)}))


def published_as(connection: psycopg.Connection, table: str, snapshot: SnapshotId, rows: int, cause: Cause) -> sql.SQL:
    """The statement that takes the next publication number of the table, and returns it: milliseconds since 1970, or
    one more than the last. Its message is owed from then on. The seconds that it notes are the transaction's.
    """
    values = {"table": table, "snapshot": str(snapshot), "rows": rows, "cause": cause}
    return bound(connection, _query("publish"), values)


def unannounced(connection: psycopg.Connection, table: str) -> list[Publication]:
    """The publications whose completion message Pub/Sub has not taken yet."""
    rows = connection.execute(_query("unannounced"), {"table": table}).fetchall()
    return [Publication(number, SnapshotId.parse(snapshot)) for number, snapshot in rows]


def announced(connection: psycopg.Connection, table: str, publication: int) -> None:
    _run(connection, "announced", {"table": table, "publication": publication})


def view_builds(connection: psycopg.Connection, view: str) -> dict[str, ViewBuild]:
    """For each table, what the live view holds of it."""
    rows = connection.execute(_query("view_builds"), {"view": view}).fetchall()
    return {table: ViewBuild(publication, template) for table, publication, template in rows}


def record_view_build(
    connection: psycopg.Connection, view: str, builds: Mapping[str, ViewBuild], seconds: float
) -> None:
    for table, build in builds.items():
        values = {"view": view, "table": table, "publication": build.publication, "template": build.template}
        _run(connection, "record_view_build", values | {"seconds": seconds})


def start_building(connection: psycopg.Connection, build: str, view: str) -> None:
    _run(connection, "start_building", {"build": build, "view": view})


def leftover_builds(connection: psycopg.Connection, view: str) -> list[str]:
    return [name for (name,) in connection.execute(_query("leftover_builds"), {"view": view}).fetchall()]


def forget_building(connection: psycopg.Connection, build: str) -> None:
    _run(connection, "forget_building", {"build": build})


def record_failure(
    connection: psycopg.Connection,
    error: SyncError,
    subject: str,
    table: str | None,
    snapshot: SnapshotId | None,
    *,
    templates: str | None = None,
) -> None:
    """Keep a permanent failure where an operator finds it; of a refresh, with the digest of the templates.

    Raises ConfigurationError when the ledger was brought up to date under this call: then that is why it failed.
    """
    _refuse_newer(_version(connection))
    values = {
        "kind": type(error).__name__,
        "table": table,
        "snapshot": str(snapshot) if snapshot else None,
        "subject": subject,
        "message": str(error),
        "templates": templates,
    }
    _run(connection, "record_failure", values)


def refused(connection: psycopg.Connection, table: str, templates: str) -> str | None:
    """Why a refresh of what readers see failed for good, with these templates of the views; None if it did not."""
    return cast(str | None, _one(connection, "refused", {"table": table, "templates": templates}))


def as_json(profile: Profile | None) -> Jsonb | None:
    return Jsonb(profile.to_json()) if profile is not None else None


def as_profile(document: object) -> Profile | None:
    return None if document is None else Profile.from_json(document)


def _query(name: str) -> LiteralString:
    return queries.load("ledger")[name]


def _run(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> int:
    return connection.execute(_query(name), values).rowcount


def _row(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> tuple[object, ...] | None:
    return connection.execute(_query(name), values).fetchone()


def _one(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> object:
    row = _row(connection, name, values)
    return None if row is None else row[0]


def _object(version: ObjectVersion) -> dict[str, object]:
    return {"bucket": version.bucket, "name": version.name, "generation": version.generation}
