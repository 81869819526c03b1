"""The report as numbers that an alert can watch until they end: each has its point whenever the report is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.operate.status.report import HourState, LogStatus, Report, TableStatus

#: The age of what has never been there: more than any limit of an alert.
NEVER = timedelta(days=366).total_seconds()

_SETTLED = {HourState.DONE, HourState.LATE, HourState.ACCEPTED, HourState.EMPTY, HourState.DELETED}


@dataclass(frozen=True)
class Gauge:
    """One number, as of the report. Names end in their unit where they count seconds."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def gauges(report: Report) -> list[Gauge]:
    """Every number that the report knows, zeros among them. What could not be read has none: no zero is guessed."""
    found = [gauge for table in report.tables or () for gauge in _of_table(table, report.made_at)]
    found += [gauge for log in report.logs for gauge in _of_log(log, report.made_at)]
    if report.failures is not None and report.failing is not None:
        waiting = sum(cause.count for cause in report.failures.current)
        waiting += sum(one.attention for one in report.failing)
        found.append(Gauge("failures", waiting))
    return found


def _of_table(table: TableStatus, now: datetime) -> Iterator[Gauge]:
    labels = {"table": table.name}
    fresh_at = table.published.fresh_at if table.published else None
    yield Gauge("table_age_seconds", NEVER if fresh_at is None else _since(fresh_at, now), labels)
    yield Gauge("table_held", len(table.held), labels)


def _of_log(log: LogStatus, now: datetime) -> Iterator[Gauge]:
    if not log.days:
        return
    labels = {"log": log.name}
    settled = [_end(hour.hour) for hour in log.hours if hour.state in _SETTLED]
    yield Gauge("log_age_seconds", _since(max(settled), now) if settled else NEVER, labels)
    yield Gauge("log_hours_failed", log.count(HourState.FAILED) + log.count(HourState.DAMAGED), labels)
    yield Gauge("log_gaps", log.count(HourState.GAP), labels)


def _end(hour: str) -> datetime:
    return datetime.strptime(hour, "%Y%m%dT%H").replace(tzinfo=UTC) + timedelta(hours=1)


def _since(then: datetime, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds())
