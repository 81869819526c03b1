"""Backfill: a range of hours, through as many runs of the hourly flow as it takes.

Each run holds the log's lock only while it works, so that the hourly function gets its turn in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from shared.errors import BadRequestError, SyncError
from shared.hourly import request as requests
from shared.hourly import run as hourly
from shared.hourly.answer import FailedHour, HourlyAnswer, ToldHour
from shared.hourly.manifest import State
from shared.hourly.request import HourlyRequest
from shared.names import Hour, format_day
from shared.operate.patience import Tell, while_busy
from shared.services import HourlyServices


def parse(services: HourlyServices, log: str, first: Hour, until: Hour, *, delete: bool) -> HourlyRequest:
    """The request for a range. Raises BadRequestError for unknown logs and for hours that have not ended."""
    if log in services.catalog.tables:
        # A table's source has no past that could be exported by days.
        raise BadRequestError(
            "is a daily table, and its source has only today's rows",
            where=log,
            remedy=f"recosync export {log} brings them; recosync import {log} --date brings a snapshot that stands",
        )
    body = {
        "table_name": log,
        "date": format_day(first.day),
        "hour": first.number,
        "until": str(until),
        "delete_from_source": delete,
        "recover_missed": False,
    }
    return requests.parse(services, body, None, datetime.now(UTC))


def run(services: HourlyServices, request: HourlyRequest, done: Callable[[int], None], tell: Tell) -> dict[str, object]:
    """Work until nothing remains, and what was asked to go has left PostgreSQL, or an hour fails in a way that a later
    call may mend; the answers of all runs as one.

    `done` is told after each run how many hours are through, `tell` whom the command waits for. If a run fails as a
    whole, its first hour is told as failed. If that is the first run, there is nothing else to tell of, and its failure
    is raised.
    """
    asked, gone = request.hours, -1
    hours: dict[str, ToldHour] = {}
    failed: list[FailedHour] = []
    answer: HourlyAnswer | None = None
    while True:
        try:
            answer, status = while_busy(partial(hourly.run, services, request), tell)
        except SyncError as e:
            if answer is None:
                raise
            failed.append({"hour": str(request.hours[0]), "error": str(e), "retryable": e.retryable})
            hours.pop(str(request.hours[0]), None)
            return {**answer, "hours": [*hours.values()], "failed": failed}
        for told in answer["hours"]:
            before = hours.get(told["hour"])
            hours[told["hour"]] = _as_one(before, told) if before else told
        failed += answer["failed"]
        remaining = answer["remaining"]
        done(len(asked) - remaining)
        for failure in answer["failed"]:
            hours.pop(failure["hour"], None)
        left = tuple(hour for hour in asked if str(hour) in _in(State.DELETING, hours))
        if status == 200 and remaining:
            request = replace(request, hours=request.hours[-remaining:])
        elif status == 200 and request.delete and left and len(_in(State.DELETED, hours)) > gone:
            # A run deletes after its exports, for as long as it may; what was asked for before goes first.
            request, gone = replace(request, hours=left), len(_in(State.DELETED, hours))
        else:
            return {**answer, "hours": [*hours.values()], "failed": failed}


def _as_one(first: ToldHour, last: ToldHour) -> ToldHour:
    """What became of an hour that two runs tell of: all that was new, and how far the last came."""
    rounded = Counter(first["rounded"]) + Counter(last["rounded"])
    status = first["status"] if first["new_rows"] else last["status"]
    return {**last, "status": status, "new_rows": first["new_rows"] + last["new_rows"], "rounded": dict(rounded)}


def _in(state: State, hours: Mapping[str, ToldHour]) -> set[str]:
    return {hour for hour, told in hours.items() if told["state"] == state}
