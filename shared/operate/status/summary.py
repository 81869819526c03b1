"""The first line of the report, and whether anything in it waits for a human."""

from __future__ import annotations

from shared.names import Hour
from shared.operate.status.report import TROUBLE, HourState, LogStatus, Report
from shared.operate.status.words import ago

_VERIFIED = (HourState.DONE, HourState.LATE, HourState.EMPTY, HourState.DELETED)


def needs_attention(report: Report) -> bool:
    """Whether anything waits for a human."""
    tables = report.tables or ()
    return bool(
        report.problems
        or any(not table.fresh or table.held or table.drift or table.trouble for table in tables)
        or any(view.overdue or view.outdated for view in report.views or ())
        or any(hour.state in TROUBLE for log in report.logs for hour in log.hours)
    )


def sentence(report: Report) -> str:
    """The state of everything in a line: `All 4 tables fresh; 2 held; last hour done 12 min ago`."""
    told = [*_tables(report), *_views(report), *(text for log in report.logs for text in _log(log, report))]
    told += [f"the hours of {problem.log} can't be read" for problem in report.problems if problem.section == "hours"]
    if report.failures is not None and report.failures.total:
        count = report.failures.total
        told.append(f"{count} permanent {'error' if count == 1 else 'errors'} in 14 days")
    return "; ".join(told)


def _tables(report: Report) -> list[str]:
    if report.tables is None:
        return ["The ledger can't be read"]
    fresh, count = sum(table.fresh for table in report.tables), len(report.tables)
    told = [f"All {count} tables fresh" if fresh == count else f"{fresh} of {count} tables fresh"]
    held = sum(len(table.held) + (table.drift is not None) for table in report.tables)
    pinned = sum(table.pin is not None for table in report.tables)
    trouble = sum(bool(table.trouble) for table in report.tables)
    counts = ((held, "held"), (pinned, "pinned"), (trouble, "in trouble"))
    return told + [f"{number} {word}" for number, word in counts if number]


def _views(report: Report) -> list[str]:
    overdue = sum(bool(view.overdue) for view in report.views or ())
    outdated = sum(bool(view.outdated) for view in report.views or ())
    counts = ((overdue, "behind"), (outdated, "of another template"))
    return [f"{number} {'view' if number == 1 else 'views'} {what}" for number, what in counts if number]


def _log(log: LogStatus, report: Report) -> list[str]:
    name = f" of {log.name}" if len(report.logs) > 1 else ""
    last = max((hour for hour in log.hours if hour.state in _VERIFIED), key=lambda hour: hour.hour, default=None)
    told = [f"no hour done yet{name}"]
    if last is not None:
        told = [f"last hour{name} done {ago(last.verified_at or Hour.parse(last.hour).end, report.made_at)}"]
    for state, one, many in (
        (HourState.GAP, "gap", "gaps"),
        (HourState.FAILED, "hour failed", "hours failed"),
        (HourState.DAMAGED, "hour with an unreadable manifest", "hours with an unreadable manifest"),
    ):
        count = sum(hour.state is state for hour in log.hours)
        if count:
            told.append(f"{count} {one if count == 1 else many}{name}")
    return told
