"""Export: one snapshot per table, all tables at once, from BigQuery to Snappy Parquet in Cloud Storage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal, TypedDict

from shared import log
from shared.catalog import Source, Table
from shared.daily import lineage, newest
from shared.daily import source as sources
from shared.daily.breaker import stale
from shared.daily.context import DailyRun
from shared.daily.extract import Extraction
from shared.daily.manifest import Manifest
from shared.daily.names import snapshots_of
from shared.daily.newest import NewestSnapshot
from shared.db.postgres import connect, translated
from shared.errors import BadRequestError, ConfigurationError, DriftError, RetryableError, SyncError
from shared.ledger import calls, failing, migrations
from shared.ledger.calls import CallOutcome, ExportCall
from shared.names import AHEAD, EPOCH, SnapshotId, is_identifier, parse_day, planned
from shared.services import Services

#: The fields of the request's body and their JSON types.
FIELDS: Mapping[str, type] = {"tables": list, "date": str, "force": bool}

#: Seconds that one call follows its jobs; the next call attaches to what still runs.
PATIENCE = 1500


@dataclass(frozen=True)
class ExportRequest:
    """What to export. `at` is the planned instant of the call, `day` an older day that is asked for again."""

    tables: tuple[Table, ...]
    at: datetime
    day: date | None
    force: bool


@dataclass(frozen=True)
class Exported:
    """A snapshot that is complete in Cloud Storage; `new` says whether this call wrote its manifest."""

    table: str
    snapshot: SnapshotId
    rows: int
    parts: int
    bytes: int
    new: bool


@dataclass(frozen=True)
class Unchanged:
    """A table whose source has not changed since the newest snapshot: there is nothing to move.

    `held_for` says why that snapshot waits for a human, `stale` that the source is older than it should be. `seen` is
    the snapshot that readers see. It is an older one if the newest waits, was rejected, or an operator went back from
    it.
    """

    table: str
    snapshot: SnapshotId
    seen: SnapshotId | None
    held_for: tuple[str, ...] = ()
    stale: str | None = None


type Result = Exported | Unchanged | SyncError


class ExportedTable(TypedDict):
    """What the answer tells of an exported table; docs/reference.md#bq_export says what each field means."""

    table: str
    source: str
    snapshot_id: str
    status: Literal["exported", "exported already"]
    rows: int
    parts: int
    bytes: int


class UnchangedTable(TypedDict):
    """What the answer tells of a table that has nothing to move."""

    table: str
    source: str
    snapshot_id: str
    status: Literal["unchanged", "held"]
    published_snapshot_id: str | None
    reasons: list[str]


class FailedTable(TypedDict):
    """What the answer tells of a table that failed."""

    table: str
    error: str
    retryable: bool


class ExportAnswer(TypedDict):
    """The JSON of an answer: each table that was asked for, once."""

    tables: list[ExportedTable | UnchangedTable]
    failed: list[FailedTable]


def parse(services: Services, body: Mapping[str, object], scheduled: datetime | None, now: datetime) -> ExportRequest:
    """The request that a body of FIELDS makes. Raises BadRequestError for unknown tables and impossible days."""
    known = services.catalog.tables
    asked = body.get("tables", list(known))
    names = [str(name) for name in asked] if isinstance(asked, list) else []
    unknown = [name if is_identifier(name) else "…" for name in names if name not in known]
    # A catalog of logs alone has none to export.
    if unknown or (not names and "tables" in body):
        raise BadRequestError(f"tables should list some of {', '.join(known)}; got {', '.join(unknown) or 'none'}")
    day = None
    if "date" in body:
        try:
            day = parse_day(str(body["date"]))
        except ValueError:
            raise BadRequestError("date should be a day written YYYYMMDD") from None
        if not EPOCH <= day <= now.date():
            raise BadRequestError("date is in the future, or before 1970")
    if scheduled is not None and not (scheduled.date() > EPOCH and scheduled <= now + AHEAD):
        raise BadRequestError("the call is scheduled for the future, or before 1970")
    force = bool(body.get("force", False))
    return ExportRequest(
        tables=tuple(known[name] for name in dict.fromkeys(names)),
        at=now if force else planned(scheduled, now),
        day=None if force else day,
        force=force,
    )


def run(services: Services, request: ExportRequest) -> tuple[ExportAnswer, int]:
    """Export the tables side by side; the JSON answer and its HTTP status.

    500 while a table failed in a way that a repeated call may mend; else 200, with what failed for good under `failed`.
    """
    call = _Call(services, request, datetime.now(UTC))
    with connect(services.settings, "bq_export") as connection, translated("reading the ledger"):
        migrations.prepare(connection, migrates=services.migrates)
        DailyRun(services, connection).note_catalog()
        known = {table.name: newest.of(connection, table) for table in request.tables}
    with ThreadPoolExecutor(max(len(request.tables), 1)) as executor:
        futures = {
            table.name: log.submit(executor, _export_logged, call, table, known[table.name]) for table in request.tables
        }
    results = {name: future.result() for name, future in futures.items()}
    recorded = _record(services, [_recorded(name, result, call.started) for name, result in results.items()])
    failures = {name: result for name, result in results.items() if isinstance(result, SyncError)}
    body: ExportAnswer = {
        "tables": [
            _answer(result, services.catalog.tables[name].source)
            for name, result in results.items()
            if not isinstance(result, SyncError)
        ],
        "failed": [
            {"table": name, "error": str(error), "retryable": error.retryable} for name, error in failures.items()
        ],
    }
    retryable = not recorded or any(error.retryable for error in failures.values())
    return body, 500 if retryable else 200


@dataclass(frozen=True)
class _Call:
    """A call that began at `started`."""

    services: Services
    request: ExportRequest
    started: datetime


def export(services: Services, table: Table, snapshot: SnapshotId, as_of: datetime, deadline: float) -> Exported:
    """Make the snapshot stand in Cloud Storage, manifest and all. `deadline` is of time.monotonic.

    Raises SourceError when the source is not what the catalog says, RetryableError when a later call may complete it.
    """
    manifest, new = Extraction(services, table, snapshot, as_of, deadline).run()
    return _exported(manifest, new=new)


def _export_logged(call: _Call, table: Table, known: NewestSnapshot | None) -> Result:
    """One table's export, its failure as a value: it leaves the other tables alone."""
    with log.bound(table=table.name):
        try:
            snapshot = _snapshot(call, table, known)
            unchanged = _unchanged(call, snapshot, known) if known is not None else None
            if unchanged is not None:
                return unchanged
            if known is not None and call.request.day is None:
                _refuse_older(known, max(snapshot, SnapshotId(call.started)))
            with log.bound(snapshot=snapshot):
                clock, told = time.monotonic(), lineage.export(call.services, table, snapshot, call.started)
                told.start()
                try:
                    exported = export(call.services, table, snapshot, call.started, clock + PATIENCE)
                except Exception as e:
                    told.fail(e)
                    raise
                told.of(exported.rows).complete()
                log.info(
                    "snapshot exported" if exported.new else "snapshot was exported already",
                    rows=exported.rows,
                    parts=exported.parts,
                    bytes=exported.bytes,
                    seconds=round(time.monotonic() - clock, 3),
                )
                return exported
        except SyncError as e:
            log.error("export failed", e)
            return e
        except Exception as e:  # noqa: BLE001 - a bug; its text may quote a row, so it stays out
            log.error(f"export crashed: {type(e).__name__}", e)
            return RetryableError("crashed; the log says where", where=table.name)


def _snapshot(call: _Call, table: Table, known: NewestSnapshot | None) -> SnapshotId:
    """The request's snapshot of the table: for a day, the latest that exists, else that day's midnight. A planned call
    that comes again after somebody has exported by hand is of now, unless it has made its snapshot: by its plan, newer
    rows would be the older ones.
    """
    day, settings = call.request.day, call.services.settings
    if day is None:
        asked, now = SnapshotId(call.request.at), SnapshotId(call.started)
        passed = known is not None and asked < known.stands.snapshot < now
        if passed and Extraction(call.services, table, asked, call.started, 0).find_manifest() is None:
            return now
        return asked
    prefix = f"{settings.prefix}/{table.name}/{day:%Y%m%d}T"
    found = snapshots_of(call.services.storage.folders(settings.bucket, prefix))
    return found[-1] if found else SnapshotId.midnight(day)


def _unchanged(call: _Call, snapshot: SnapshotId, known: NewestSnapshot) -> Exported | Unchanged | None:
    """What the newest snapshot is, when the source has not changed since; None when there is something to export."""
    table, stands = known.table, known.stands
    if call.request.force or call.request.day is not None or stands.snapshot >= snapshot:
        return None
    if known.failed:
        return None
    source = sources.check(call.services, table)
    if not known.is_like(source):
        return None
    if known.awaited:
        # On its way to PostgreSQL, unless its objects were deleted before they came there.
        found = (Extraction(call.services, table, each, call.started, 0).find_manifest() for each in known.awaited)
        return next((_exported(manifest, new=False) for manifest in found if manifest is not None), None)
    undecided = stands.undecided.reasons if stands.undecided else ()
    aged = stale(table.limits, source.modified, call.started) if source.modified else None
    if aged:
        log.error(f"source is stale: {aged}")
    log.info("source unchanged", since=str(stands.snapshot), held=bool(undecided))
    seen = stands.published.snapshot if stands.published else None
    return Unchanged(table.name, stands.snapshot, seen, undecided, aged)


def _refuse_older(known: NewestSnapshot, now: SnapshotId) -> None:
    """Raise ConfigurationError where what is exported now would be the older one by its id, and never come to readers:
    the clock of this export is behind, or that of the newest one was ahead.
    """
    newest = known.stands.snapshot
    if newest > now:
        raise ConfigurationError(
            f"its newest snapshot, {newest}, is of a later time than now, {now}: the clock of one of the two exports is"
            " wrong, and no event publishes what is older",
            where=known.table.name,
            remedy=f"Set the clock right. If it was the other one, export again after {newest}",
        )


def _record(services: Services, found: Sequence[ExportCall]) -> bool:
    """Keep what was found; False when that failed, which a repeated call makes up for."""
    try:
        with connect(services.settings, "bq_export") as connection, translated("recording the exports"):
            calls.record(connection, found)
            well = [run.table for run in found if run.outcome != "to be retried"]
            failing.settle(connection, "bq_export", well)
    except SyncError as e:
        log.error("exports not recorded", e)
        return False
    return True


def _recorded(table: str, result: Result, started: datetime) -> ExportCall:
    match result:
        case Exported():
            outcome: CallOutcome = "exported" if result.new else "exported already"
            return ExportCall(table, started, outcome, result.snapshot, None)
        case Unchanged():
            message = "; ".join((*result.held_for, *([result.stale] if result.stale else ())))
            return ExportCall(table, started, "confirmed unchanged", result.snapshot, message or None)
        case DriftError():
            return ExportCall(table, started, "held", None, str(result))
        case _:
            return ExportCall(table, started, "to be retried" if result.retryable else "failed", None, str(result))


def _exported(manifest: Manifest, *, new: bool) -> Exported:
    size = sum(part.bytes for part in manifest.parts)
    return Exported(manifest.table, manifest.snapshot, manifest.rows, len(manifest.parts), size, new)


def _answer(exported: Exported | Unchanged, source: Source) -> ExportedTable | UnchangedTable:
    if isinstance(exported, Unchanged):
        return {
            "table": exported.table,
            "source": str(source),
            "snapshot_id": str(exported.snapshot),
            "status": "held" if exported.held_for else "unchanged",
            "published_snapshot_id": str(exported.seen) if exported.seen else None,
            "reasons": [*exported.held_for, *([exported.stale] if exported.stale else [])],
        }
    return {
        "table": exported.table,
        "source": str(source),
        "snapshot_id": str(exported.snapshot),
        "status": "exported" if exported.new else "exported already",
        "rows": exported.rows,
        "parts": exported.parts,
        "bytes": exported.bytes,
    }
