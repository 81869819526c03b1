"""Gather the report: read each system once, and put together what belongs together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from shared import log
from shared.errors import SyncError
from shared.operate.status import hours, ledger_rows, tables
from shared.operate.status.report import LogStatus, Problem, Report
from shared.operate.status.summary import summarized
from shared.services import HourlyServices


def gather(services: HourlyServices, now: datetime | None = None) -> Report:
    """The status as of now. What can't be read is told under `problems`; nothing is ever written."""
    now = now or datetime.now(UTC)
    problems: list[Problem] = []
    rows: ledger_rows.LedgerRows | None = None
    try:
        rows = ledger_rows.read(services.settings, services.catalog, now)
    except SyncError as e:
        problems.append(_problem(Problem("ledger", str(e)), e))
    logs = tuple(_logs(services, now, problems))
    report = Report(
        made_at=now,
        environment=services.settings.environment,
        summary="",
        attention=False,
        problems=tuple(problems),
        tables=None if rows is None else tables.statuses(services.catalog, rows, now),
        views=None if rows is None else tables.view_statuses(services.catalog, rows, now),
        failures=None if rows is None else tables.failures(services.catalog, rows),
        logs=logs,
        failing=None if rows is None else tables.failing(rows, now),
        orphans=None if rows is None else tables.orphans(rows),
    )
    return summarized(report)


def _logs(services: HourlyServices, now: datetime, problems: list[Problem]) -> Iterator[LogStatus]:
    for name, table in services.catalog.hourly.items():
        try:
            yield hours.read(services, table, now)
        except SyncError as e:
            problems.append(_problem(Problem("hours", str(e), log=name), e))


def _problem(problem: Problem, cause: SyncError) -> Problem:
    log.error(f"the status page lacks a part: {problem.message}", cause)
    return problem
