"""Export: one snapshot per table, all tables at once, from BigQuery to Snappy Parquet in Cloud Storage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime

from shared import log
from shared.catalog import Table
from shared.daily.extract import Extraction, check_source
from shared.daily.manifest import Manifest
from shared.db import ledger, runs
from shared.db.postgres import connect, translated
from shared.db.runs import Latest
from shared.errors import BadRequestError, DriftError, RetryableError, SyncError
from shared.gcp.bigquery import TableInfo
from shared.names import SnapshotId, parse_day
from shared.services import Services

#: The fields of the request's body and their JSON types.
FIELDS: Mapping[str, type] = {"tables": list, "date": str, "force": bool}

#: Seconds that one call follows its jobs; the next call attaches to what still runs.
PATIENCE = 1500

_EPOCH = date(1970, 1, 1)


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

    `held_for` says why that snapshot still waits for a human.
    """

    table: str
    snapshot: SnapshotId
    held_for: tuple[str, ...] = ()


type Result = Exported | Unchanged | SyncError


def parse(services: Services, body: Mapping[str, object], scheduled: datetime | None, now: datetime) -> ExportRequest:
    """The request that a body of FIELDS makes. Raises BadRequestError for unknown tables and impossible days."""
    known = services.catalog.tables
    asked = body.get("tables", list(known))
    names = [str(name) for name in asked] if isinstance(asked, list) else []
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise BadRequestError(f"tables should list some of {', '.join(known)}; got {', '.join(unknown) or 'none'}")
    day = None
    if "date" in body:
        try:
            day = parse_day(str(body["date"]))
        except ValueError:
            raise BadRequestError("date should be a day written YYYYMMDD") from None
        if not _EPOCH <= day <= now.date():
            raise BadRequestError("date is in the future, or before 1970")
    force = bool(body.get("force", False))
    return ExportRequest(
        tables=tuple(known[name] for name in dict.fromkeys(names)),
        at=now if force or scheduled is None else scheduled,
        day=None if force else day,
        force=force,
    )


def run(services: Services, request: ExportRequest) -> tuple[Mapping[str, object], int]:
    """Export the tables side by side; the JSON answer and its HTTP status.

    500 while a table failed in a way that a repeated call may mend; else 200, with what failed for good under `failed`.
    """
    started = datetime.now(UTC)
    with connect(services.settings, "bq_export") as connection, translated("reading the ledger"):
        ledger.migrate(connection)
        latest = {table.name: runs.latest(connection, table.name) for table in request.tables}
    with ThreadPoolExecutor(len(request.tables)) as executor:
        futures = {
            table.name: log.submit(executor, _export_logged, services, table, request, started, latest[table.name])
            for table in request.tables
        }
    results = {name: future.result() for name, future in futures.items()}
    with connect(services.settings, "bq_export") as connection, translated("recording the exports"):
        runs.record(connection, [_recorded(name, result, started) for name, result in results.items()])
    failures = {name: result for name, result in results.items() if isinstance(result, SyncError)}
    body = {
        "tables": [_answer(result) for result in results.values() if not isinstance(result, SyncError)],
        "failed": [
            {"table": name, "error": str(error), "retryable": error.retryable} for name, error in failures.items()
        ],
    }
    return body, 500 if any(error.retryable for error in failures.values()) else 200


def export(services: Services, table: Table, snapshot: SnapshotId, as_of: datetime, deadline: float) -> Exported:
    """Make the snapshot stand in Cloud Storage, manifest and all. `deadline` is of time.monotonic.

    Raises SourceError when the source is not what the catalog says, RetryableError when a later call may complete it.
    """
    manifest, new = Extraction(services, table, snapshot, as_of, deadline).run()
    return _exported(manifest, new=new)


def _export_logged(
    services: Services, table: Table, request: ExportRequest, started: datetime, latest: Latest | None
) -> Result:
    """One table's export, its failure as a value: it leaves the other tables alone."""
    with log.bound(table=table.name):
        try:
            snapshot = _snapshot(services, table, request)
            unchanged = _unchanged(services, table, request, snapshot, latest)
            if unchanged is not None:
                return unchanged
            with log.bound(snapshot=snapshot):
                clock = time.monotonic()
                exported = export(services, table, snapshot, started, clock + PATIENCE)
                log.info(
                    "snapshot exported" if exported.new else "snapshot was exported already",
                    rows=exported.rows,
                    parts=exported.parts,
                    bytes=exported.bytes,
                    seconds=round(time.monotonic() - clock, 3),
                )
                return exported
        except SyncError as e:
            log.error(f"export failed: {e}", e)
            return e
        except Exception as e:  # noqa: BLE001 - a bug; its text may quote a row, so it stays out
            log.error(f"export crashed: {type(e).__name__}", e)
            return RetryableError("crashed; the log says where", where=table.name)


def _snapshot(services: Services, table: Table, request: ExportRequest) -> SnapshotId:
    """The request's snapshot of the table: for a day, the latest that exists, else that day's midnight."""
    if request.day is None:
        return SnapshotId(request.at)
    prefix = f"{services.settings.prefix}/{table.name}/{request.day:%Y%m%d}T"
    for name in reversed(services.storage.folders(services.settings.bucket, prefix)):
        try:
            return SnapshotId.parse(name.rstrip("/").rpartition("/")[2])
        except ValueError:
            continue
    return SnapshotId.midnight(request.day)


def _unchanged(
    services: Services, table: Table, request: ExportRequest, snapshot: SnapshotId, latest: Latest | None
) -> Unchanged | None:
    """What is known already, when the source has not changed since; None when there is something to export."""
    if request.force or request.day is not None or latest is None or latest.snapshot >= snapshot or latest.failed:
        return None
    if not is_unchanged(table, check_source(services, table), latest):
        return None
    undecided = latest.held_for if latest.decision is None else ()
    log.info("source unchanged", since=str(latest.snapshot), held=bool(undecided))
    return Unchanged(table.name, latest.snapshot, undecided)


def is_unchanged(table: Table, source: TableInfo, latest: Latest) -> bool:
    """Whether an export would bring what the newest snapshot has: the same rows, of the same columns."""
    types = {field.name: field.type for field in source.fields}
    columns = tuple((column.name, types[column.name], column.type.sql) for column in table.columns)
    known = source.modified is not None and source.modified == latest.source_modified
    return known and columns == latest.columns


def _recorded(table: str, result: Result, started: datetime) -> runs.Run:
    match result:
        case Exported():
            outcome: runs.Outcome = "exported" if result.new else "exported already"
            return runs.Run(table, started, outcome, result.snapshot, None)
        case Unchanged():
            held = "; ".join(result.held_for)
            return runs.Run(table, started, "held" if held else "confirmed unchanged", result.snapshot, held or None)
        case DriftError():
            return runs.Run(table, started, "held", None, str(result))
        case _:
            return runs.Run(table, started, "to be retried" if result.retryable else "failed", None, str(result))


def _exported(manifest: Manifest, *, new: bool) -> Exported:
    size = sum(part.bytes for part in manifest.parts)
    return Exported(manifest.table, manifest.snapshot, manifest.rows, len(manifest.parts), size, new)


def _answer(exported: Exported | Unchanged) -> Mapping[str, object]:
    if isinstance(exported, Unchanged):
        state = {"status": "held", "reasons": exported.held_for} if exported.held_for else {"status": "unchanged"}
        return {"table": exported.table, "snapshot_id": str(exported.snapshot), **state}
    return {
        "table": exported.table,
        "snapshot_id": str(exported.snapshot),
        "status": "exported" if exported.new else "exported already",
        "rows": exported.rows,
        "parts": exported.parts,
        "bytes": exported.bytes,
    }
