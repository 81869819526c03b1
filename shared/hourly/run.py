"""A run of the hourly flow: what was asked, the gaps before it, late rows behind it, and the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from shared import log
from shared.catalog import HourlyTable
from shared.db import postgres
from shared.errors import BadRequestError, SyncError
from shared.hourly import audit, recover, schema
from shared.hourly.context import LogRun
from shared.hourly.hours import delete_asked, load_exported, settle
from shared.hourly.manifest import Audit, HourRecord, State
from shared.hourly.names import LogFolder
from shared.hourly.objects import BatchObjects
from shared.hourly.raw_table import RawTable
from shared.hourly.rebuild import open_day
from shared.hourly.store import Store
from shared.ledger import attempts, failing
from shared.names import EPOCH, Hour, TableRef, parse_day
from shared.rows.log_table import LogTable
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
    with opened(services, request.table) as run:
        answer, status = _work(run, request)
    if status == 200:
        failing.settle_all(services.settings, "hourly_export", [request.table.name])
    return answer, status


def load(services: HourlyServices, request: HourlyRequest) -> tuple[Mapping[str, object], int]:
    """Load and verify what was exported of the asked hours, and export nothing; answers as `run` does.

    Raises BusyError while another run is at the same log.
    """
    with opened(services, request.table) as run:
        answer = _Answer(run)
        for number, hour in enumerate(request.hours):
            if answer.stopped:
                answer.remaining = list(request.hours[number:])
                break
            answer.load(hour)
        return answer.body(), 500 if answer.retryable else 200


@contextmanager
def opened(services: HourlyServices, table: HourlyTable) -> Iterator[LogRun]:
    """The one run over a log that there may be at a time."""
    settings = services.settings
    target = TableRef(settings.project, settings.dataset, table.name)
    deadline = time.monotonic() + settings.function_timeout * 0.9
    with (
        log.bound(table=table.name),
        postgres.connect(settings, "hourly export") as connection,
        postgres.session_locks(connection),
    ):
        postgres.lock_or_busy(connection, postgres.Lock.hourly(table.name), session=True)
        log_table = LogTable(connection, services.catalog.schema, table)
        log_table.check()
        folder = LogFolder(settings.prefix, table.name)
        objects = BatchObjects(services.storage, services.parquet, settings.bucket, folder)
        store = Store(services.storage, settings.bucket, folder)
        start = recover.first_owned(store, settings)
        location = schema.ensure(services.bigquery, target, table, lambda: recover.was_loaded(store)).location
        raw_table = RawTable(services.bigquery, target, location, table)
        counts = attempts.kept(connection)
        yield LogRun(services, log_table, objects, raw_table, store, start, deadline, counts)


def _hours(body: Mapping[str, object], current: Hour) -> tuple[Hour, ...]:
    """The hours of an explicit request: one, a day's, or a range."""
    try:
        day = parse_day(str(body["date"]))
    except ValueError:
        raise BadRequestError("date should be a day written YYYYMMDD") from None
    number = body.get("hour", 0)
    if not isinstance(number, int) or not 0 <= number <= 23:
        raise BadRequestError("hour should be a whole number from 0 to 23")
    if day < EPOCH:
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
    if at.date() <= EPOCH:
        raise BadRequestError("the call is scheduled before 1970")
    last = Hour(at).plus(-1)
    if last >= current:
        raise BadRequestError(f"hour {last} has not ended yet")
    return (last,)


def _work(run: LogRun, request: HourlyRequest) -> tuple[Mapping[str, object], int]:
    """Gaps and the asked hours, then late rows, then deletions, then the day's audit."""
    answer = _Answer(run)
    asked = [hour for hour in request.hours if request.explicit or hour >= run.start]
    gaps = recover.unsettled(run, request.hours[0]) if request.recover else []
    todo = [*gaps, *asked]
    worked, began = 0, time.monotonic()
    # After an outage, nobody has looked for late rows since before it. However many gaps there are, that is first: the
    # next call's gaps begin later.
    first = _window(run, todo, [gap for gap in gaps if gap.plus(-1) not in gaps])
    for hour in first:
        if not answer.stopped and not _is_late(run, began):
            answer.look(hour)
    for number, hour in enumerate(todo):
        if worked >= run.services.settings.max_hours or _is_late(run, began) or answer.stopped:
            answer.remaining = todo[number:]
            break
        worked += answer.settle(hour, delete=request.delete, again=request.explicit and hour in asked)
    if request.recover and todo and not answer.remaining:
        answer.tell_looked()
        for hour in _window(run, [*todo, *first], [min(todo), max(todo)]):
            if not answer.stopped:
                answer.settle(hour, delete=False, again=False)
    if request.delete:
        answer.delete()
    if request.recover and not request.explicit and not answer.remaining and not answer.stopped:
        answer.audit(request.end)
    return answer.body(), 500 if answer.retryable else 200


def _is_late(run: LogRun, began: float) -> bool:
    """Whether no further hour is begun."""
    return time.monotonic() - began > run.services.settings.function_timeout * BEGIN_WITHIN


def _window(run: LogRun, todo: Sequence[Hour], ends: Sequence[Hour]) -> list[Hour]:
    """The hours before those ends in which rows may have come late, without those that the call works on anyway."""
    back = range(1, run.services.settings.late_hours + 1)
    hours = {end.plus(-n) for end in ends for n in back} - set(todo)
    return sorted(hour for hour in hours if hour >= run.start)


class _Answer:
    """What has come of the hours so far. `stopped` once one failed in a way that a later call may mend: hours go in
    order.
    """

    def __init__(self, run: LogRun) -> None:
        self._run = run
        self._before: dict[Hour, HourRecord | None] = {}
        self._looked: dict[Hour, HourRecord | None] = {}
        self._failed: list[Mapping[str, object]] = []
        self.remaining: list[Hour] = []
        self.audited: Audit | None = None
        self.stopped = False
        self.retryable = False

    def settle(self, hour: Hour, *, delete: bool, again: bool) -> bool:
        """Take one hour as far as it goes; whether it moved. The hours after a permanent failure go on."""
        return self._take(hour, lambda before: settle(self._run, hour, before, delete=delete, again=again))

    def look(self, hour: Hour) -> None:
        """Export an hour's late rows. Of one that has none, nothing is told before `tell_looked`."""
        if not self.settle(hour, delete=False, again=False) and not self.stopped:
            self._looked[hour] = self._before.pop(hour, None)

    def tell_looked(self) -> None:
        """Name the hours that had no late rows, behind those that were worked on."""
        self._before |= self._looked

    def load(self, hour: Hour) -> None:
        """Load what was exported of one hour. The hours after a permanent failure go on."""
        self._take(hour, lambda before: load_exported(self._run, hour, before))

    def _take(self, hour: Hour, step: Callable[[HourRecord | None], None]) -> bool:
        before = None
        try:
            before = open_day(self._run, hour.day).record(hour)
            step(before)
        except SyncError as e:
            self._fail(hour, e)
            self.stopped = e.retryable
        else:
            self._repeat_failure(hour)
        self._before.setdefault(hour, before)
        return self._record(hour) != before

    def delete(self) -> None:
        """Delete what was asked to go, by this call or by one that was cut short, until one fails or time is up."""
        for hour, record in recover.undeleted(self._run):
            if self.retryable or time.monotonic() > self._run.deadline:
                break
            self._before.setdefault(hour, record)
            try:
                delete_asked(self._run, hour, record)
            except SyncError as e:
                self._fail(hour, e)

    def audit(self, end: Hour) -> None:
        """Count the source, if nobody has today. A failure spoils no hour: the next call tries again."""
        try:
            self.audited = audit.audit(self._run, end)
        except SyncError as e:
            log.error(f"audit failed: {e}", e)

    def body(self) -> Mapping[str, object]:
        return {
            "table": self._run.table.name,
            "hours": [entry for hour, before in self._before.items() if (entry := self._entry(hour, before))],
            "failed": self._failed,
            "remaining": len(self.remaining),
            "next": str(self.remaining[0]) if self.remaining else None,
            "audit": self.audited
            and [{"hour": d.hour, "expected": d.expected, "found": d.found} for d in self.audited.differences],
            "earlier_rows": self.audited and self.audited.earlier_rows,
            "later_rows": self.audited and self.audited.later_rows,
            "rows_without_time": self.audited and self.audited.rows_without_time,
        }

    def _repeat_failure(self, hour: Hour) -> None:
        """Tell again of an hour that failed for good in an earlier call."""
        record = self._record(hour)
        if record is not None and record.failure is not None:
            self._failed.append({"hour": str(hour), "error": record.failure.error, "retryable": False})

    def _fail(self, hour: Hour, error: SyncError) -> None:
        log.error(f"hour failed: {error}", error, hour=str(hour))
        self._failed.append({"hour": str(hour), "error": str(error), "retryable": error.retryable})
        self.retryable = self.retryable or error.retryable

    def _record(self, hour: Hour) -> HourRecord | None:
        try:
            manifest = self._run.store.read(hour.day)
        except SyncError:
            return None  # whoever works on it tells
        return manifest.record(hour) if manifest else None

    def _entry(self, hour: Hour, before: HourRecord | None) -> Mapping[str, object] | None:
        """What the answer says of an hour; None when it is under `failed`, or nothing is known of it."""
        record = self._record(hour)
        failed = any(failure["hour"] == str(hour) for failure in self._failed)
        return None if record is None or failed else _entry(hour, before, record)


def _entry(hour: Hour, before: HourRecord | None, record: HourRecord) -> Mapping[str, object]:
    """What the answer says of an hour."""
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
