"""A run of the hourly flow: the gaps before the hours that were asked for, these hours, and late rows behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from shared import log
from shared.catalog import HourlyTable
from shared.db import locks, postgres
from shared.errors import SyncError
from shared.hourly import audit, recover, schema
from shared.hourly.answer import Answer, HourlyAnswer
from shared.hourly.context import LogRun
from shared.hourly.hours import delete_asked, load_exported, settle
from shared.hourly.manifest import HourRecord
from shared.hourly.names import LogFolder
from shared.hourly.objects import BatchObjects
from shared.hourly.raw_table import RawTable, reference
from shared.hourly.rebuild import open_day
from shared.hourly.request import HourlyRequest
from shared.hourly.store import Store
from shared.hourly.tell import tell_done
from shared.ledger import attempts, failing
from shared.names import Hour
from shared.rows.log_table import LogTable
from shared.services import HourlyServices

#: The share of a function's life after which no further hour is begun.
BEGIN_WITHIN = 0.6


def run(services: HourlyServices, request: HourlyRequest) -> tuple[HourlyAnswer, int]:
    """Work on the request; the JSON answer and its HTTP status.

    500 when a repeated call may go on; else 200, with hours that failed for good under `failed`. Raises BusyError while
    another run is at the same log.
    """
    with opened(services, request.table) as run:
        answer, status = _work(run, request).response()
    if status == 200:
        failing.settle_all(services.settings, "hourly_export", [request.table.name])
    return answer, status


def nothing(services: HourlyServices) -> tuple[HourlyAnswer, int]:
    """The answer of a call for no log at all, as `run` answers."""
    failing.settle_all(services.settings, "hourly_export", [])
    return Answer(None).response()


def load(services: HourlyServices, request: HourlyRequest) -> tuple[HourlyAnswer, int]:
    """Load and verify what was exported of the asked hours, and export nothing; answers as `run` does.

    Raises BusyError while another run is at the same log.
    """
    with opened(services, request.table) as run:
        answer = Answer(request.table.name)
        for number, hour in enumerate(request.hours):
            if answer.retryable:
                answer.remaining = request.hours[number:]
                break
            _take(run, hour, load_exported, answer)
        return answer.response()


@contextmanager
def opened(services: HourlyServices, table: HourlyTable, *, anew: bool = False) -> Iterator[LogRun]:
    """The only run over a log at a time: it holds the log's lock. What is owed at its end is sent, unless it fails.

    `anew` makes BigQuery's table where it is gone, though it was used, if it is the suite's own.
    """
    settings = services.settings
    target = reference(settings, table)
    deadline = time.monotonic() + settings.function_timeout * 0.9
    with (
        log.bound(table=table.name),
        postgres.connect(settings, "hourly export") as connection,
        locks.session_locks(connection),
    ):
        locks.lock_or_busy(connection, locks.Lock.hourly(table.name), session=True)
        log_table = LogTable(connection, services.catalog.schema, table)
        log_table.check()
        folder = LogFolder(settings.prefix, table.name)
        store = Store(services.storage, settings.bucket, folder)
        start = recover.first_owned(store, settings, table)
        known = (lambda: False) if anew and table.target.ours else partial(recover.was_loaded, store)
        location = schema.ensure(services.bigquery, target, table, known).location
        raw_table = RawTable(services.bigquery, target, location, table)
        counts = attempts.kept(connection)
        run = LogRun(services, log_table, BatchObjects(services, folder), raw_table, store, start, deadline, counts)
        yield run
        tell_done(run)


def _work(run: LogRun, request: HourlyRequest) -> Answer:
    """Gaps and the asked hours, then late rows, then deletions, then the day's audit."""
    answer = Answer(run.table.name)
    asked = [hour for hour in request.hours if request.explicit or hour >= run.start]
    gaps = recover.unsettled(run, request.hours[0]) if request.recover else []
    todo = [*gaps, *asked]
    worked, began = 0, time.monotonic()
    look = partial(settle, delete=False, again=False)
    # After an outage, nobody has looked for late rows since before it. However many gaps there are, that is first: the
    # next call's gaps begin later.
    first = _window(run, todo, [gap for gap in gaps if gap.plus(-1) not in gaps])
    for hour in first:
        if not answer.retryable and not _is_late(run, began) and not _take(run, hour, look, answer):
            answer.keep_back(hour)
    for number, hour in enumerate(todo):
        if worked >= run.services.settings.max_hours or _is_late(run, began) or answer.retryable:
            answer.remaining = todo[number:]
            break
        again = request.explicit and hour in asked
        worked += _take(run, hour, partial(settle, delete=request.delete, again=again), answer)
    if request.recover and todo and not answer.remaining:
        answer.tell_all()
        for hour in _window(run, [*todo, *first], [min(todo), max(todo)]):
            if not answer.retryable:
                _take(run, hour, look, answer)
    complete = not answer.remaining and not answer.retryable
    if request.delete:
        _delete(run, answer)
    if complete and request.recover and request.newest:
        _audit(run, request.end, answer)
    return answer


def _take(
    run: LogRun, hour: Hour, step: Callable[[LogRun, Hour, HourRecord | None], HourRecord], answer: Answer
) -> bool:
    """Take one hour as far as it goes; whether it moved. The hours after a permanent failure go on."""
    try:
        before = open_day(run, hour.day).record(hour)
        after = step(run, hour, before)
    except SyncError as e:
        answer.fail(hour, e)
        return False
    answer.tell(hour, before, after)
    return after != before


def _delete(run: LogRun, answer: Answer) -> None:
    """Delete what was asked to go, by this call or by one that was cut short, until one fails or time is up."""
    for hour, record in recover.undeleted(run):
        if answer.retryable or time.monotonic() > run.deadline:
            break
        try:
            answer.tell(hour, record, delete_asked(run, hour, record))
        except SyncError as e:
            answer.fail(hour, e)


def _audit(run: LogRun, end: Hour, answer: Answer) -> None:
    """Count the source, if nobody has today. A failure spoils no hour: the next call tries again."""
    try:
        answer.audited = audit.audit(run, end)
    except SyncError as e:
        log.error("audit failed", e)


def _is_late(run: LogRun, began: float) -> bool:
    """Whether no further hour is begun."""
    return time.monotonic() - began > run.services.settings.function_timeout * BEGIN_WITHIN


def _window(run: LogRun, todo: Sequence[Hour], ends: Sequence[Hour]) -> list[Hour]:
    """The hours before those ends in which rows may have come late, without those that the call works on anyway."""
    back = range(1, run.services.settings.late_hours + 1)
    hours = {end.plus(-n) for end in ends for n in back} - set(todo)
    return sorted(hour for hour in hours if hour >= run.start)
