"""The status report on a terminal: the same that the page shows, in a few tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from shared.operate.cli.output import Output
from shared.operate.status import Report
from shared.operate.status.report import LogStatus, TableStatus, ViewStatus
from shared.words import quantity

#: Days of a log, and failures, that are shown.
DAYS, FAILURES = 7, 5

#: A line, and the commands that there are for it.
type Told = tuple[str, tuple[str, ...]]


def show(output: Output, report: Report) -> None:
    """Print the report."""
    output.line(f"{report.environment}: {report.summary}.")
    for problem in report.problems:
        output.problem(f"recosync: {problem.message}")
    output.line("")
    output.table(
        "Tables",
        ["Table", "Fresh", "Snapshot", "Rows", "Last run", "Published (UTC)", "Publication"],
        [_table(table) for table in report.tables or ()],
    )
    _tell(output, [told for table in report.tables or () for told in _waiting(table)])
    output.table("Views", ["View", "State", "Built (UTC)", "Seconds"], [_view(view) for view in report.views or ()])
    _tell(output, [(view.outdated, ()) for view in report.views or () if view.outdated is not None])
    for log in report.logs:
        output.table(f"{log.name}, hours in UTC", ["Day", "Rows", "Hours"], _days(log))
        _tell(output, list(_failed(log))[:FAILURES])
    if report.failures is not None:
        newest = report.failures.newest[:FAILURES]
        shown = "" if len(newest) == report.failures.total else f", the newest {len(newest)}"
        output.table(
            f"{quantity(report.failures.total, 'permanent failure')} in 14 days{shown}",
            ["At (UTC)", "Table", "What"],
            [[f"{failure.at:%Y-%m-%d %H:%M}", failure.table, failure.message] for failure in newest],
        )


def _table(table: TableStatus) -> list[object]:
    published, last = table.published, table.runs[0].outcome if table.runs else None
    if published is None:
        return [table.name, "no", None, None, last, None, None]
    at = f"{published.published_at:%Y-%m-%d %H:%M}"
    # An id, not a count.
    publication = str(published.publication)
    return [table.name, _yes(table.fresh), published.snapshot, published.rows, last, at, publication]


def _waiting(table: TableStatus) -> Iterator[Told]:
    """What waits for a human, with the commands that decide."""
    for hold in table.held:
        reasons = "".join(f"\n  {reason}" for reason in hold.reasons)
        yield f"{table.name} {hold.snapshot} is held:{reasons}", (hold.approve, hold.reject)
    for what in (*([table.drift.message] if table.drift else ()), *table.trouble):
        yield what if what.startswith(table.name) else f"{table.name}: {what}", ()
    if table.pin is not None:
        yield f"{table.name} stays at {table.pin.snapshot}, by {table.pin.pinned_by}, until:", (table.pin.unpin,)


def _failed(log: LogStatus) -> Iterator[Told]:
    """Why hours failed."""
    for hour in log.hours:
        if hour.failure is not None:
            yield f"{log.name} {hour.hour} failed: {hour.failure}", ()


def _tell(output: Output, told: Sequence[Told]) -> None:
    for text, commands in told:
        output.line(text)
        for command in commands:
            output.command(command)
    if told:
        output.line("")


def _view(view: ViewStatus) -> list[object]:
    if view.missing or not view.reads:
        return [view.name, f"never built from {', '.join(view.missing)}", None, None]
    current = all(source.current for source in view.reads)
    newest = max(view.reads, key=lambda source: source.built_at)
    return [
        view.name,
        "behind" if not current else "of another template" if view.outdated else "current",
        f"{newest.built_at:%Y-%m-%d %H:%M}",
        round(newest.seconds, 1),
    ]


def _days(log: LogStatus) -> list[list[object]]:
    return [
        [
            day.date,
            day.rows,
            day.damaged
            or ", ".join(f"{state} {count}" for state, count in Counter(h.state for h in day.hours).items()),
        ]
        for day in log.days[:DAYS]
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
