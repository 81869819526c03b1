"""A day of each log, played hour by hour with what can go wrong in one: the hourly half of `make demo`.

One hour is empty. In one, the function is killed at work, and a later call recovers the hour. In one, a transaction is
still open when the hour is exported, and a later call finds what it wrote.
"""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from local import hours, logs
from local.cloud import Deployment
from local.demo_common import FailedError, call, new_table, verdict
from local.hours import Hour
from local.logs import Log
from shared import catalog
from shared.catalog import HourlyTable
from shared.words import quantity

#: The rows of each hour: young people sleep, are bored after lunch, and look for something to do in the evening.
_RHYTHM = (
    *(2300, 1100, 500, 200, 0, 300, 900, 2400, 4000, 4300, 4600, 5000),
    *(6500, 6200, 5400, 5200, 5900, 7000, 7600, 7900, 8200, 7500, 5000, 2000),
)
_KILLED, _LATE = 13, 15
_LATE_ROWS = 40
_HOUR = timedelta(hours=1)
#: How long after an hour Cloud Scheduler calls.
_PAUSE = timedelta(minutes=5)
#: What the manifest says of an hour that is begun and not done.
_BEGUN = ("exporting", "exported", "loaded")
_POLL = 0.003


def run(console: Console, here: Deployment, fewer: int = 1) -> bool:
    """Play the day, log by log, with so many times fewer rows; whether all systems have the same rows in the end."""
    agree: list[bool] = []
    for log in catalog.load(here.place).hourly.values():
        if agree:
            console.print()
        agree.append(_play(console, here, log, fewer))
    return all(agree)


def _play(console: Console, here: Deployment, log: HourlyTable, fewer: int) -> bool:
    start = datetime.strptime(here.env["HOURLY_START"], "%Y%m%dT%H").replace(tzinfo=UTC)
    called = "the API's log" if len(catalog.load(here.place).hourly) == 1 else log.name
    console.print(f"Writing {called} of {start:%Y-%m-%d}, and calling hourly_export after each hour of it.")
    began = time.monotonic()
    with console.status("") as status:
        day = _Day(here, log, logs.create(here, log), start, fewer)
        for number in range(len(_RHYTHM)):
            status.update(f"{number:02} h of the day, {time.monotonic() - began:.1f} s")
            for event in day.play(number):
                console.print(f"{number:02} h: {event}", soft_wrap=True)
    took = time.monotonic() - began
    found = hours.ask(here, log, map(day.at, range(len(_RHYTHM))))
    console.print(_table(day, found), "")
    agree = all(hour.agree and hour.settled for hour in found)
    rows = sum(len(hour.postgres) for hour in found)
    console.print(verdict(agree, f"{quantity(rows, 'row')}, id by id, in {took:.1f} s."))
    return agree


@dataclass
class _Day:
    """The day as it goes. `mended` has, for each hour that a later call worked on, the hour whose call it was."""

    here: Deployment
    log: HourlyTable
    rows: Log
    start: datetime
    fewer: int
    mended: dict[datetime, int] = field(default_factory=dict)

    def at(self, number: int) -> datetime:
        return self.start + number * _HOUR

    def play(self, number: int) -> Iterator[str]:
        """Write an hour's rows as the API does, and make the call that follows; yields what is out of the ordinary."""
        api = self.here.cloud.postgres.dsn(self.here.name, "api")
        rows = _RHYTHM[number] // self.fewer - (_LATE_ROWS if number == _LATE else 0)
        self.rows.write(api, self.at(number), self.at(number + 1), rows)
        if number == _KILLED:
            yield self._kill(number)
        elif number == _LATE:
            with psycopg.connect(api) as late:
                # Their ids come before those of the hours that follow, and nobody sees them before the block ends.
                self.rows.insert(late, self.at(number) + _HOUR / 2, self.at(number + 1), _LATE_ROWS)
                self._call(number)
                if (state := self._state(number)) != "done":
                    raise FailedError(f"{number:02} h is {state} after its call.")
            yield f"{_LATE_ROWS} more rows were not committed before it was done."
        else:
            self._call(number)

    def _call(self, number: int) -> None:
        answer: Any = call(self.here, "hourly_export", self.at(number + 1) + _PAUSE, {"table_name": self.log.name})
        for entry in answer.get("hours", []):
            hour = datetime.strptime(entry["hour"], "%Y%m%dT%H").replace(tzinfo=UTC)
            if hour != self.at(number) and entry["status"] != "done already":
                self.mended.setdefault(hour, number)

    def _kill(self, number: int) -> str:
        """Make the call, and end the process that is at work on it while the manifest says that it is."""
        (instance,) = self.here.instances["hourly_export"]
        with ThreadPoolExecutor(1) as caller:
            calling = caller.submit(self._call, number)
            while (before := self._state(number)) not in _BEGUN:
                if calling.done():
                    calling.result()
                    raise FailedError(f"{number:02} h was over before its worker could be killed: it is {before}.")
                time.sleep(_POLL)
            worker = instance.worker_pid
            instance.kill_worker()
            try:
                calling.result()
            except (http.client.HTTPException, OSError) as error:
                broken = type(error).__name__
            else:
                raise FailedError(f"{number:02} h was {before} when its worker was killed, and answered all the same.")
        after = self._state(number)
        if after not in _BEGUN:
            raise FailedError(f"{number:02} h was {before} when its worker was killed, and is {after}: that was late.")
        return (
            f"the worker, process {worker}, got SIGKILL while the manifest said {before}."
            f" The call broke off ({broken}), and the manifest still says {after}."
        )

    def _state(self, number: int) -> str | None:
        return hours.entry(self.here, self.log, self.at(number)).get("state")


def _table(day: _Day, found: list[Hour]) -> Table:
    """What each system has of each hour, asked of itself."""
    table = new_table("Hour (UTC)", "PostgreSQL", "Parquet", "BigQuery", "Note", text=("Note",))
    for hour in found:
        counts = (f"{len(ids):,}" for ids in (hour.postgres, hour.parquet, hour.bigquery))
        style = None if hour.agree and hour.settled else "red"
        table.add_row(f"{hour.at:%Y-%m-%d %H} h", *counts, _note(day, hour), style=style)
    totals = (sum(map(len, ids)) for ids in zip(*((h.postgres, h.parquet, h.bigquery) for h in found), strict=True))
    table.add_row("In all", *(f"{total:,}" for total in totals))
    return table


def _note(day: _Day, hour: Hour) -> str:
    by = f" by {day.mended[hour.at]:02} h" if hour.at in day.mended else ""
    state = hour.entry.get("state", "not begun")
    notes = []
    if hour.at == day.at(_KILLED):
        notes.append(f"killed, recovered{by}" if by else "killed")
    if hour.late_batches:
        notes.append(f"{hour.late_batches} late batch{'es' if hour.late_batches > 1 else ''}, found{by}")
    if state != "done":
        notes.append(state)
    if not hour.agree and len(hour.postgres) == len(hour.parquet) == len(hour.bigquery):
        notes.append("other ids")
    return ", ".join(notes)
