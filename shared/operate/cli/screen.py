"""The status report on a terminal: the same that the page shows, in a few tables."""

from __future__ import annotations

from collections import Counter

from shared.operate.cli.output import Output
from shared.operate.status import Report
from shared.operate.status.report import LogStatus, TableStatus, ViewStatus

#: Days of a log that are shown.
DAYS = 7


def show(output: Output, report: Report) -> None:
    """Print the report."""
    output.line(f"{report.environment}: {report.summary}.")
    for problem in report.problems:
        output.problem(f"recosync: {problem.message}")
    if report.tables is not None:
        output.table(
            "Tables",
            ["Table", "Fresh", "Snapshot", "Publication", "Rows", "Published (UTC)", "Last run"],
            [_table(table) for table in report.tables],
        )
        for table in report.tables:
            _waiting(output, table)
    if report.views is not None:
        output.table("Views", ["View", "State", "Built (UTC)", "Seconds"], [_view(view) for view in report.views])
    for log in report.logs:
        output.table(f"{log.name}, hours in UTC", ["Day", "Rows", "Hours"], _days(log))
    if report.failures is not None and report.failures.total:
        output.table(
            f"Permanent failures, {report.failures.total} in 14 days",
            ["At (UTC)", "Table", "What"],
            [
                [f"{failure.at:%Y-%m-%d %H:%M}", failure.table, failure.message]
                for failure in report.failures.newest[:5]
            ],
        )


def _table(table: TableStatus) -> list[object]:
    published, last = table.published, table.runs[0].outcome if table.runs else None
    if published is None:
        return [table.name, "no", None, None, None, None, last]
    at = f"{published.published_at:%Y-%m-%d %H:%M}"
    return [table.name, _yes(table.fresh), published.snapshot, published.publication, published.rows, at, last]


def _waiting(output: Output, table: TableStatus) -> None:
    """What waits for a human, with the commands that decide."""
    for hold in table.held:
        output.line(f"{table.name} {hold.snapshot} is held: {'; '.join(hold.reasons)}")
        output.line(f"  {hold.approve}\n  {hold.reject}")
    if table.drift is not None:
        output.line(f"{table.name} is held: {table.drift.message}")
    for what in table.trouble:
        output.line(f"{table.name}: {what}")
    if table.pin is not None:
        output.line(f"{table.name} stays at {table.pin.snapshot}, by {table.pin.pinned_by}\n  {table.pin.unpin}")


def _view(view: ViewStatus) -> list[object]:
    if view.missing or not view.reads:
        return [view.name, f"never built from {', '.join(view.missing)}", None, None]
    current = all(source.current for source in view.reads)
    newest = max(view.reads, key=lambda source: source.built_at)
    return [
        view.name,
        "current" if current else "behind",
        f"{newest.built_at:%Y-%m-%d %H:%M}",
        round(newest.seconds, 1),
    ]


def _days(log: LogStatus) -> list[list[object]]:
    return [
        [
            day.date,
            day.rows,
            day.damaged
            or ", ".join(f"{count} {state}" for state, count in Counter(h.state for h in day.hours).items()),
        ]
        for day in log.days[:DAYS]
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
