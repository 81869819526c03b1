"""Mend: what an operator has done with hours that went wrong. They are loaded again, or what stands is accepted.

As in a backfill, each run holds the log's lock only while it works, so that the hourly function gets its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import batched
from typing import TypedDict

from shared import log
from shared.errors import SyncError
from shared.hourly import accept, run
from shared.hourly.answer import FailedHour
from shared.hourly.context import LogRun
from shared.hourly.manifest import HourRecord
from shared.hourly.request import HourlyRequest
from shared.hourly.restore import Restore
from shared.names import Hour
from shared.operate.patience import Tell, while_busy
from shared.services import HourlyServices


class MendedHour(TypedDict):
    """An hour that was mended. BigQuery held `before` of its rows, and holds `rows` now."""

    hour: str
    status: str
    rows: int
    before: int


class Mended(TypedDict):
    """The answer of a command, as JSON."""

    table: str
    hours: list[MendedHour]
    failed: list[FailedHour]


type Step = Callable[[LogRun, Hour], tuple[str, HourRecord | None, int]]


def restore(services: HourlyServices, request: HourlyRequest, tell: Tell, *, replace: bool, by: str) -> Mended:
    """Load the hours into BigQuery again. Its table is made where it is gone, if it is the suite's own."""

    def step(of: LogRun, hour: Hour) -> tuple[str, HourRecord | None, int]:
        restored = Restore(of, hour, by, replace).go()
        return restored.status, restored.record, restored.before

    return _each(services, request, step, tell, anew=True)


def accept_all(services: HourlyServices, request: HourlyRequest, tell: Tell, *, reason: str, by: str) -> Mended:
    """Record what BigQuery holds of the hours as the truth."""

    def step(of: LogRun, hour: Hour) -> tuple[str, HourRecord | None, int]:
        record = accept.accept(of, hour, by, reason)
        return "accepted", record, record.content.rows

    return _each(services, request, step, tell, anew=False)


def _each(services: HourlyServices, request: HourlyRequest, step: Step, tell: Tell, *, anew: bool) -> Mended:
    """Take the step for each hour, until one fails in a way that a later call may mend. Raises what fails as a whole
    before the first of them.
    """
    answer: Mended = {"table": request.table.name, "hours": [], "failed": []}

    def some(hours: tuple[Hour, ...]) -> bool:
        with run.opened(services, request.table, anew=anew) as of:
            return all(_taken(of, hour, step, answer) for hour in hours)

    for number, hours in enumerate(batched(request.hours, services.settings.max_hours)):
        try:
            if not while_busy(lambda hours=hours: some(hours), tell):  # type: ignore[misc]
                break
        except SyncError as e:
            if not number:
                raise
            answer["failed"].append({"hour": str(hours[0]), "error": str(e), "retryable": e.retryable})
            break
    return answer


def _taken(of: LogRun, hour: Hour, step: Step, answer: Mended) -> bool:
    """Take the step; whether the next hour may follow."""
    with log.bound(hour=hour):
        try:
            status, record, before = step(of, hour)
        except SyncError as e:
            answer["failed"].append({"hour": str(hour), "error": str(e), "retryable": e.retryable})
            return not e.retryable
    if record is not None and record.failure is not None:
        answer["failed"].append({"hour": str(hour), "error": record.failure.error, "retryable": False})
    else:
        rows = record.content.rows if record else 0
        answer["hours"].append({"hour": str(hour), "status": status, "rows": rows, "before": before})
    return True
