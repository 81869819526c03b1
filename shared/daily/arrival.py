"""What a finalized object means: a part to stage, a manifest to complete a snapshot by, or nothing to us.

Events come doubled, late, lost and in any order. Nothing here depends on their order: whoever completes the set
publishes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime

import psycopg

from shared import log, trace
from shared.catalog import Table
from shared.daily import lineage
from shared.daily import manifest as manifests
from shared.daily.context import DailyRun, TableRun
from shared.daily.manifest import Manifest
from shared.daily.names import ManifestName, PartName, SnapshotFolder, parse_object_name
from shared.daily.publish import EventOutcome, announce, publish
from shared.daily.stage import stage
from shared.db.locks import Lock
from shared.db.postgres import connect, translated
from shared.errors import BusyError, CatalogError, DataError, IncompleteError, PermanentError, UnlikeCatalogError
from shared.gcp.storage import refuse_large
from shared.ledger import attempts, failing, failures, migrations, snapshots, standing
from shared.ledger.attempts import Work
from shared.ledger.failures import PermanentFailure
from shared.ledger.snapshots import Snapshot
from shared.ledger.standing import SnapshotStanding, SnapshotState
from shared.names import AHEAD, ObjectVersion
from shared.services import Services
from shared.settings import CommonSettings
from shared.target import columns, tables
from shared.words import quantity

#: What gives a connection for a purpose.
type Sessions = Callable[[CommonSettings, str], AbstractContextManager[psycopg.Connection]]

#: The share of the function's time after which a manifest's call takes on no further part. The retry goes on there.
STAGING_SHARE = 0.4


def handle(services: Services, version: ObjectVersion, size: int, session: Sessions = connect) -> str:
    """Do what the object asks for; a word or two for what that was. `session` gives the connection to PostgreSQL.

    Raises RetryableError where a redelivery may complete the work. Raises PermanentError, already recorded in the
    ledger, for other failures.
    """
    settings = services.settings
    name = parse_object_name(version.name, settings.prefix) if version.bucket == settings.bucket else None
    if name is None:
        return "foreign"
    if size == 0:
        return "zero-byte"
    folder = name.folder
    with (
        log.bound(table=folder.table, snapshot=folder.snapshot, object=version),
        session(settings, "gcs_import") as connection,
    ):
        run = DailyRun(services, connection)
        migrations.prepare(connection, migrates=services.migrates)
        try:
            if isinstance(name, ManifestName):
                refuse_large(version, size)
            stands = standing.of(connection, folder.table, folder.snapshot)
            # Of a manifest, the event has told the trace already.
            with translated(f"importing {version}"), trace.bound(stands.traceparent, settings.project):
                outcome = _handle(run, name, version, stands)
        except PermanentError as e:
            with translated("recording a failure"):
                counts = _counts(connection, name, version)
                if _is_of_another_catalog(run, folder, e, counts=counts):
                    raise CatalogError(e.what, where=e.where, remedy=manifests.OTHER_CATALOG) from e
                # What no manifest names, such as a stray file, says nothing of its snapshot.
                snapshot = folder.snapshot if counts else None
                failures.record(connection, PermanentFailure(e, str(version), folder.table, snapshot))
            table = services.catalog.tables.get(folder.table)
            if snapshot is not None and table is not None:
                lineage.load(run.of(table), snapshot).fail(e)
            raise
        # Once all of it is published, no other object of it is missed.
        settled = None if outcome == EventOutcome.PUBLISHED else str(version)
        failing.settle(connection, "gcs_import", [folder.table], settled)
        return outcome


def _counts(connection: psycopg.Connection, name: PartName | ManifestName, version: ObjectVersion) -> bool:
    """Whether the snapshot can't do without the object: it is the manifest, or named by the one that came."""
    if isinstance(name, ManifestName):
        return True
    parts = snapshots.named_parts(connection, name.folder.table, name.folder.snapshot)
    return any(part.version == version for part in parts)


def _is_of_another_catalog(run: DailyRun, folder: SnapshotFolder, e: PermanentError, *, counts: bool) -> bool:
    """Whether a failure may come of another catalog than this deployment's, which its redeploy mends.

    What our own export wrote for other columns or types is that for certain. Of a part that others wrote, nobody knows
    until a manifest names it: that one has the catalog's columns, so from then on a part without them is a mistake.
    """
    table = run.catalog.tables.get(folder.table)
    exported = snapshots.exported_types(run.connection, folder.table, folder.snapshot)
    if table is None or not isinstance(e, DataError):
        return False
    if exported is not None:
        return exported != columns.of_catalog(table)
    return isinstance(e, UnlikeCatalogError) and not counts


def stage_all(services: Services, table: Table, manifest: ObjectVersion) -> None:
    """Stage all of a snapshot for an operator who wants it, even if readers have a newer one, and publish nothing.

    Raises IncompleteError while others are at some parts.
    """
    name = parse_object_name(manifest.name, services.settings.prefix)
    if not isinstance(name, ManifestName):
        raise DataError("is no manifest", where=str(manifest))
    with (
        log.bound(table=table.name, snapshot=name.folder.snapshot),
        connect(services.settings, "import") as connection,
        translated(f"importing {manifest}"),
    ):
        run = TableRun(services, connection, table)
        migrations.prepare(connection, migrates=services.migrates)
        recorded = standing.of(connection, table.name, name.folder.snapshot).recorded
        if not _record(run, name.folder, manifest, recorded=recorded):
            raise DataError("was deleted meanwhile", where=str(manifest))
        tables.ensure(connection, run.schema, table)
        busy = _stage_parts(run, name.folder)
        if busy:
            raise IncompleteError(f"others are staging {quantity(busy, 'part')}", where=name.folder.manifest)


def _handle(call: DailyRun, name: PartName | ManifestName, version: ObjectVersion, stands: SnapshotStanding) -> str:
    folder = name.folder
    run = _of_catalog(call, folder, version)
    if (stale := _stale(stands)) is not None:
        announce(run)  # what readers have seen since may be owed
        return stale
    if isinstance(name, ManifestName) and not _record(run, folder, version, recorded=stands.recorded):
        return "gone"
    if stands.state in (SnapshotState.FAILED, SnapshotState.OPEN):  # else nothing of it is to be published
        tables.ensure(run.connection, run.schema, run.table)
    if isinstance(name, ManifestName):
        return _stage_missing(run, folder)
    return publish(run, folder.snapshot) if _staged(run, folder, version) else "gone"


def _of_catalog(run: DailyRun, folder: SnapshotFolder, version: ObjectVersion) -> TableRun:
    """The run over the object's table. Raises CatalogError of an unknown one, DataError of an impossible snapshot."""
    table = run.catalog.tables.get(folder.table)
    if table is None:
        raise CatalogError(
            "belongs to a table that the catalog of this deployment does not have",
            where=str(version),
            remedy="Deploy the functions with a catalog that has it, or delete the object",
        )
    if folder.snapshot.at > datetime.now(UTC) + AHEAD:
        raise DataError(
            "has a snapshot id in the future: no later snapshot would be published",
            where=str(version),
            remedy="Write it again under the time at which it was made",
        )
    return run.of(table)


def _stale(stands: SnapshotStanding) -> str | None:
    """Why an event has nothing to do for a snapshot, not even to stage it; None when it has."""
    match stands.state:
        case SnapshotState.PUBLISHED | SnapshotState.LEFT:
            return EventOutcome.REPEATED
        case SnapshotState.PASSED_OVER:
            return "stale"
        case SnapshotState.REJECTED:
            return EventOutcome.REJECTED
        case SnapshotState.HELD | SnapshotState.PINNED | SnapshotState.FAILED | SnapshotState.OPEN:
            return None


def _record(run: TableRun, folder: SnapshotFolder, version: ObjectVersion, *, recorded: bool) -> bool:
    """Record the manifest, unless one is `recorded`: the first one stands. False when that version of it is gone."""
    connection, table, services = run.connection, run.table, run.services
    work = Work(f"manifest {version}", "Write the snapshot again, as fewer parts")
    with attempts.alone(connection, services.settings, Lock.manifest(version), work):
        content = services.storage.read(version)
        if content is None:
            return False
        manifest = manifests.parse(content, folder, [column.name for column in table.columns])
        if not recorded:
            _compare(run, manifest, folder, version.bucket)
        parts = manifest.versions(version.bucket)
        if snapshots.record(connection, table.name, folder.snapshot, _stated(manifest, table), parts):
            log.info("manifest recorded", parts=len(parts), rows=manifest.rows)
            lineage.load(run, folder.snapshot).start()
        else:
            named = snapshots.named_parts(connection, table.name, folder.snapshot)
            if {(part.version, part.rows) for part in named} != set(parts):
                raise DataError(
                    "differs from the manifest that is recorded for this snapshot",
                    where=str(version),
                    remedy="Write corrected parts and their manifest as a new snapshot",
                )
        return True


def _compare(run: TableRun, manifest: Manifest, folder: SnapshotFolder, bucket: str) -> None:
    """Raises DataError where a part has not the bytes that the manifest says. A version never changes, so that once is
    enough; one that is not there is noticed when its turn comes.
    """
    named = {version: part for (version, _), part in zip(manifest.versions(bucket), manifest.parts, strict=True)}
    for stored in run.services.storage.objects(bucket, f"{folder}/"):
        part = named.get(stored.version)
        if part is not None and (part.bytes, part.crc32c) != (stored.bytes, stored.crc32c):
            raise DataError(
                f"has {stored.bytes} bytes with the crc32c {stored.crc32c}, and by the manifest {part.bytes} with"
                f" {part.crc32c}",
                where=str(stored.version),
                remedy="Write the parts, then a correct manifest, as a new snapshot",
            )


def _stated(manifest: Manifest, table: Table) -> Snapshot:
    origin = manifest.origin
    exported = origin.types if origin else None
    found = [
        {"name": name, "type": type_, "postgresql": column.type.sql}
        | ({} if exported is None else {"exported_as": exported.get(name, "")})
        for (name, type_), column in zip(manifest.columns, table.columns, strict=True)
    ]
    stated = Snapshot(manifest.source_rows, manifest.rows, columns=found, traceparent=trace.current())
    if origin is None:
        return stated
    return replace(
        stated,
        profile=origin.profile,
        source_modified=origin.source_modified,
        started=origin.started,
        exported=origin.exported,
    )


def _stage_missing(run: TableRun, folder: SnapshotFolder) -> EventOutcome:
    """Stage what nobody has staged (its event may be lost) and publish.

    Raises IncompleteError while others are at some parts: the redelivery makes up for them, should they die.
    """
    busy = _stage_parts(run, folder)
    outcome = publish(run, folder.snapshot)
    if outcome is EventOutcome.INCOMPLETE:
        raise IncompleteError(f"others are staging {quantity(busy, 'part')}", where=folder.manifest)
    return outcome


def _stage_parts(run: TableRun, folder: SnapshotFolder) -> int:
    """Stage the parts that nobody has staged; how many others are at."""
    deadline = time.monotonic() + run.settings.function_timeout * STAGING_SHARE
    busy = 0
    for part in snapshots.named_parts(run.connection, run.table.name, folder.snapshot):
        if part.staged_rows is not None:
            continue
        if time.monotonic() > deadline:
            raise IncompleteError("more parts than one call can stage", where=folder.manifest)
        try:
            if not _staged(run, folder, part.version):
                raise DataError(
                    "is named by the manifest but gone from the bucket",
                    where=str(part.version),
                    remedy="Export the table again",
                )
        except BusyError:
            busy += 1
    return busy


def _staged(run: TableRun, folder: SnapshotFolder, version: ObjectVersion) -> bool:
    """Stage a part; False when that version of it is gone, which is asked only where it can't be read."""
    try:
        stage(run, folder.snapshot, version)
    except DataError:
        if run.services.storage.find(version.bucket, version.name, version.generation) is None:
            return False
        raise
    return True
