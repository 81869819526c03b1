"""Gather the report: read each system once, and put together what belongs together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import log
from shared.errors import SyncError
from shared.operate.status import hours, ledger_rows, tables
from shared.operate.status.report import LogStatus, Problem, Report
from shared.operate.status.summary import summarized
from shared.services import HourlyServices


def gather(services: HourlyServices, now: datetime | None = None, severity: int = logging.ERROR) -> Report:
    """The status as of now. What can't be read is told under `problems`, and logged; nothing is ever written."""
    now = now or datetime.now(UTC)
    problems = _Problems(severity)
    rows: ledger_rows.LedgerRows | None = None
    try:
        rows = ledger_rows.read(services.settings, services.catalog, now)
    except SyncError as e:
        problems.add(Problem("ledger", str(e)), e)
    logs = tuple(_logs(services, now, problems))
    report = Report(
        made_at=now,
        environment=services.settings.environment,
        summary="",
        attention=False,
        problems=tuple(problems.found),
        tables=None if rows is None else tables.statuses(services.catalog, rows, now),
        views=None if rows is None else tables.view_statuses(services.catalog, rows, now),
        failures=None if rows is None else tables.failures(services.catalog, rows),
        logs=logs,
        failing=None if rows is None else tables.failing(rows, now),
        orphans=None if rows is None else tables.orphans(rows),
    )
    return summarized(report)


def _logs(services: HourlyServices, now: datetime, problems: _Problems) -> Iterator[LogStatus]:
    for name, table in services.catalog.hourly.items():
        try:
            yield hours.read(services, table, now)
        except SyncError as e:
            problems.add(Problem("hours", str(e), log=name), e)


@dataclass
class _Problems:
    """What could not be read so far."""

    severity: int
    found: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem, cause: SyncError) -> None:
        tell = log.error if self.severity >= logging.ERROR else log.warning
        tell(f"the status page lacks a part: {problem.message}", cause)
        self.found.append(problem)
