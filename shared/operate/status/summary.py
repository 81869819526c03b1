"""The first line of the report, and whether anything in it waits for a human."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.names import Hour
from shared.operate.status.report import (
    Failing,
    Failures,
    HourState,
    LogStatus,
    Report,
    Standing,
    TableStatus,
    ViewStatus,
)
from shared.operate.status.words import ago
from shared.words import quantity

_VERIFIED = (HourState.DONE, HourState.LATE, HourState.ACCEPTED, HourState.EMPTY, HourState.DELETED)


class _Clause(NamedTuple):
    """A part of the line; `waits` says whether a human has to do something about it."""

    text: str
    waits: bool = True


def summarized(report: Report) -> Report:
    """The report with its first line: `All 4 tables fresh; last hour done 12 min ago`.

    The line begins with `All` when nothing waits for a human, and only then. It counts each table once.
    """
    clauses = list(_beside_tables(report))
    waits = report.tables is None or not _is_well(report.tables) or any(clause.waits for clause in clauses)
    first = "The ledger can't be read" if report.tables is None else _tables(report.tables, all_well=not waits)
    return report.told("; ".join((first, *(clause.text for clause in clauses))), waits)


def _is_well(tables: tuple[TableStatus, ...]) -> bool:
    return all(table.standings == (Standing.FRESH,) for table in tables)


def _tables(tables: tuple[TableStatus, ...], *, all_well: bool) -> str:
    """How many stand well, and how the others stand."""
    if not tables:
        return "No tables in the catalog"
    if all_well:
        return f"All {len(tables)} tables fresh" if len(tables) > 1 else "The one table fresh"
    labels = Counter(_label(table) for table in sorted(tables, key=lambda table: table.badness))
    well = labels.pop(Standing.FRESH.value, 0)
    others = [f"{count} {label}" for label, count in labels.items()]
    return ", ".join((f"{well} of {len(tables)} tables fresh{' and well' if others else ''}", *others))


def _label(table: TableStatus) -> str:
    """What the line says of a table. Whatever else a table waits for, it ages meanwhile: its age is not told beside
    that.
    """
    *others, age = table.standings
    return " and ".join(others) or age


def _beside_tables(report: Report) -> Iterator[_Clause]:
    yield from _views(report.views or ())
    yield from _failing(report.failing or ())
    for log in report.logs:
        yield from _log(log, report)
    for problem in report.problems:
        if problem.section == "hours":
            yield _Clause(f"the hours of {problem.log} can't be read")
    if report.failures is not None:
        yield from _failures(report.failures)


def _views(views: tuple[ViewStatus, ...]) -> Iterator[_Clause]:
    if gone := sum(bool(view.gone) for view in views):
        yield _Clause(f"{quantity(gone, 'view')} gone")
    if overdue := sum(bool(view.overdue) and not view.gone for view in views):
        yield _Clause(f"{quantity(overdue, 'view')} overdue")
    if outdated := sum(bool(view.outdated) for view in views):
        yield _Clause(f"{quantity(outdated, 'view')} of another template")


def _failing(failing: Iterable[Failing]) -> Iterator[_Clause]:
    """`hourly_export fails for past_offer_context`, `gcs_import fails for 3`, `bq_export fails`."""
    names: dict[str, list[str]] = {}
    for each in failing:
        if each.attention:
            names.setdefault(each.function, []).append(each.name or "")
    for function, of in names.items():
        told = [name for name in of if name]
        yield _Clause(f"{function} fails" + (f" for {told[0] if len(told) == 1 else len(told)}" if told else ""))


def _log(log: LogStatus, report: Report) -> Iterator[_Clause]:
    name = f" of {log.name}" if len(report.logs) > 1 else ""
    last = max((hour for hour in log.hours if hour.state in _VERIFIED), key=lambda hour: hour.hour, default=None)
    if last is None:
        yield _Clause(f"no hour done yet{name}", waits=False)
    else:
        at = last.verified_at or Hour.parse(last.hour).end
        yield _Clause(f"last hour{name} done {ago(at, report.made_at)}", waits=False)
    if gaps := log.count(HourState.GAP):
        yield _Clause(f"{quantity(gaps, 'gap')}{name}")
    if failed := log.count(HourState.FAILED):
        yield _Clause(f"{quantity(failed, 'hour')} failed{name}")
    if damaged := sum(day.damaged is not None for day in log.days):
        yield _Clause(f"{quantity(damaged, 'day')} with an unreadable manifest{name}")
    if log.undeleted is not None:
        yield _Clause(f"rows of {quantity(len(log.undeleted.hours), 'hour')} still to be deleted{name}")
    if log.audit is None:
        return
    if differing := len(log.audit.differences):
        yield _Clause(f"{quantity(differing, 'hour')} with another count in the source{name}")
    if lost := len(log.audit.lost):
        yield _Clause(f"{quantity(lost, 'hour')} with another count in BigQuery{name}")
    if log.audit.later_rows != 0 or log.audit.rows_without_time != 0:
        yield _Clause(f"rows without a time, or of the future{name}")


def _failures(failures: Failures) -> Iterator[_Clause]:
    """What failed for good and is not over. Many failures may have one cause."""
    if count := sum(cause.count for cause in failures.current):
        of = f" of {quantity(len(failures.current), 'cause')}" if count > len(failures.current) else ""
        yield _Clause(f"{quantity(count, 'permanent error')}{of}")
