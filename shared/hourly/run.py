"""A run of the hourly flow: what was asked, the gaps before it, late rows behind it, and the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from shared import log
from shared.catalog import HourlyTable
from shared.db import postgres
from shared.db.source import Source
from shared.errors import BadRequestError, SyncError
from shared.hourly import audit, recover, schema
from shared.hourly.context import Run
from shared.hourly.hours import settle
from shared.hourly.manifest import HourRecord, State
from shared.hourly.names import LogFolder
from shared.hourly.store import Store
from shared.names import Hour, TableRef, parse_day
from shared.services import HourlyServices

#: The fields of the request's body and their JSON types.
FIELDS: Mapping[str, type] = {
    "table_name": str,
    "date": str,
    "hour": int,
    "until": str,
    "delete_from_source": bool,
    "recover_missed": bool,
}

DEFAULT_TABLE = "past_offer_context"

#: The share of a function's life after which no further hour is begun.
BEGIN_WITHIN = 0.6

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class HourlyRequest:
    """What to export: `hours`, in order; `explicit` when the caller named them. All of them have ended."""

    table: HourlyTable
    hours: tuple[Hour, ...]
    explicit: bool
    delete: bool
    recover: bool

    @property
    def end(self) -> Hour:
        return self.hours[-1].plus(1)


def parse(
    services: HourlyServices, body: Mapping[str, object], scheduled: datetime | None, now: datetime
) -> HourlyRequest:
    """The request that a body of FIELDS makes. Raises BadRequestError for unknown tables and impossible hours."""
    tables = services.catalog.hourly
    name = str(body.get("table_name", DEFAULT_TABLE))
    if name not in tables:
        raise BadRequestError(f"table_name should be one of {', '.join(tables)}")
    current = Hour(now)
    return HourlyRequest(
        table=tables[name],
        hours=_hours(body, current) if "date" in body else _last_complete(body, scheduled or now, current),
        explicit="date" in body,
        delete=bool(body.get("delete_from_source", False)),
        recover=bool(body.get("recover_missed", True)),
    )


def run(services: HourlyServices, request: HourlyRequest) -> tuple[Mapping[str, object], int]:
    """Work on the request; the JSON answer and its HTTP status.

    500 when a call that is repeated may go on; else 200, with hours that failed for good under `failed`. Raises
    BusyError while another run is at the same log.
    """
    settings, table = services.settings, request.table
    target = TableRef(settings.project, settings.dataset, table.name)
    deadline = time.monotonic() + settings.function_timeout * 0.9
    with (
        log.bound(table=table.name),
        postgres.connect(settings, "hourly export") as connection,
        postgres.session_locks(connection),
    ):
        postgres.lock_or_busy(connection, postgres.Lock.hourly(table.name), settings, session=True)
        source = Source(connection, services.catalog.schema, table)
        source.check()
        store = Store(services.storage, settings.bucket, LogFolder(settings.prefix, table.name))
        start = recover.first_owned(store, settings)
        location = schema.ensure(services.bigquery, target, table).location
        return _work(Run(services, source, store, start, target, location, deadline), request)


def _hours(body: Mapping[str, object], current: Hour) -> tuple[Hour, ...]:
    """The hours of an explicit request: one, a day's, or a range."""
    try:
        day = parse_day(str(body["date"]))
    except ValueError:
        raise BadRequestError("date should be a day written YYYYMMDD") from None
    number = body.get("hour", 0)
    if not isinstance(number, int) or not 0 <= number <= 23:
        raise BadRequestError("hour should be a whole number from 0 to 23")
    if day < _EPOCH:
        raise BadRequestError("date is before 1970")
    first = Hour.of_day(day, number)
    if first >= current:
        raise BadRequestError(f"hour {first} has not ended yet")
    if "until" in body:
        end = _until(str(body["until"]), first, current)
    elif "hour" in body:
        end = first.plus(1)
    else:
        end = min(first.plus(24), current)
    return tuple(first.until(end))


def _until(text: str, first: Hour, current: Hour) -> Hour:
    try:
        end = Hour.parse(text)
    except ValueError:
        raise BadRequestError("until should be an hour written YYYYMMDDTHH") from None
    if end <= first:
        raise BadRequestError(f"until should be after {first}: it is not among the hours itself")
    if end > current:
        raise BadRequestError(f"until should be {current} at most: later hours have not ended yet")
    return end


def _last_complete(body: Mapping[str, object], at: datetime, current: Hour) -> tuple[Hour, ...]:
    for field in ("hour", "until"):
        if field in body:
            raise BadRequestError(f"{field} needs a date")
    last = Hour(at).plus(-1)
    if last >= current:
        raise BadRequestError(f"hour {last} has not ended yet")
    return (last,)


def _work(run: Run, request: HourlyRequest) -> tuple[Mapping[str, object], int]:
    gaps = recover.unsettled(run, request.hours[0]) if request.recover else []
    todo = [*gaps, *request.hours]
    limit = run.services.settings.max_hours
    results = _Results()
    began = time.monotonic()
    for number, hour in enumerate(todo):
        late = time.monotonic() - began > run.services.settings.function_timeout * BEGIN_WITHIN
        if number >= limit or late or results.stopped:
            results.remaining = todo[number:]
            break
        _settle(run, request, hour, results)
    if request.recover and not results.remaining and not results.stopped:
        for hour in _window(run, request, set(todo)):
            _settle(run, request, hour, results)
    if request.recover and not results.remaining and not results.stopped:
        audited = audit.audit(run, request.end)
        if audited is not None:
            results.audit = [{"hour": d.hour, "expected": d.expected, "found": d.found} for d in audited.differences]
    return results.answer(run), 500 if results.stopped else 200


def _window(run: Run, request: HourlyRequest, seen: set[Hour]) -> Sequence[Hour]:
    """The hours before the request's in which rows may have come late."""
    first = request.hours[0]
    earliest = max(run.start, first.plus(-run.services.settings.late_hours))
    return [hour for hour in earliest.until(first) if hour not in seen] if earliest < first else []


class _Results:
    """What has come of the hours so far. `stopped` once one failed in a way that a repeated call may mend."""

    def __init__(self) -> None:
        self.hours: list[Mapping[str, object]] = []
        self.failed: list[Mapping[str, object]] = []
        self.remaining: list[Hour] = []
        self.audit: list[dict[str, object]] | None = None
        self.stopped = False

    def answer(self, run: Run) -> Mapping[str, object]:
        return {
            "table": run.table.name,
            "hours": self.hours,
            "failed": self.failed,
            "remaining": len(self.remaining),
            "next": str(self.remaining[0]) if self.remaining else None,
            "audit": self.audit,
        }


def _settle(run: Run, request: HourlyRequest, hour: Hour, results: _Results) -> None:
    """One hour; its failure as an entry of the answer. The hours after a permanent one go on."""
    before = _recorded(run, hour)
    try:
        asked = hour in request.hours
        # An hour that is only looked at for late rows keeps its others, unless its deletion was asked for before.
        delete = request.delete and (asked or before is None or before.work is not None or before.deletion is not None)
        record = settle(run, hour, delete=delete, again=request.explicit and asked)
    except SyncError as e:
        log.error(f"hour failed: {e}", e, hour=str(hour))
        results.failed.append({"hour": str(hour), "error": str(e), "retryable": e.retryable})
        results.stopped = e.retryable
        return
    if record.failure is not None:
        if hour in request.hours:
            results.failed.append({"hour": str(hour), "error": record.failure.error, "retryable": False})
        return
    entry = _entry(hour, before, record)
    if entry is not None:
        results.hours.append(entry)


def _recorded(run: Run, hour: Hour) -> HourRecord | None:
    try:
        manifest = run.store.read(hour.day)
    except SyncError:
        return None
    return manifest.record(hour) if manifest else None


def _entry(hour: Hour, before: HourRecord | None, record: HourRecord) -> Mapping[str, object]:
    """What the answer says of an hour that is settled."""
    known = len(before.batches) if before else 0
    new = record.batches[known:]
    rounded: dict[str, int] = {}
    for batch in new:
        for column, count in (batch.export.rounded or {}).items():
            rounded[column] = rounded.get(column, 0) + count
    if not new:
        status = "empty" if record.state == State.EMPTY else "done already"
    else:
        status = "late rows exported" if known else "exported"
    return {
        "hour": str(hour),
        "status": status,
        "state": str(record.state),
        "rows": record.content.rows,
        "new_rows": sum(batch.export.content.rows for batch in new),
        "rounded": rounded,
        "deleted": record.deletion.rows if record.deletion else 0,
        "kept": record.deletion.kept.rows if record.deletion else 0,
    }
