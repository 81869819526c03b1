"""The status report on a terminal: the same that the page shows, in a few tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from shared.operate.cli.output import Output
from shared.operate.status import Report
from shared.operate.status.report import (
    Accepted,
    Acknowledgement,
    Cause,
    Failing,
    Failures,
    LogStatus,
    TableStatus,
    ViewStatus,
)
from shared.operate.status.words import ago
from shared.words import quantity

#: Days of a log that are shown.
DAYS = 7

#: A line, and the commands that there are for it.
type Told = tuple[str, tuple[str, ...]]

#: Causes of failures that are shown, and tables or hours that are named for each.
CAUSES, NAMED = 5, 8


def show(output: Output, report: Report) -> None:
    """Print the report."""
    output.line(f"{report.environment}: {report.summary}.")
    for problem in report.problems:
        output.problem(f"recosync: {problem.message}")
    output.line("")
    _tell(output, [_failing(failing, report) for failing in report.failing or ()])
    output.table(
        "Tables",
        ["Table", "Fresh", "Snapshot", "Rows", "Last run", "Published (UTC)", "Publication"],
        [_table(table) for table in report.tables or ()],
    )
    _tell(output, [told for table in report.tables or () for told in _waiting(table)])
    output.table("Views", ["View", "State", "Built (UTC)", "Seconds"], [_view(view) for view in report.views or ()])
    _tell(output, [(f"{it.name} was dropped by hand:", (it.gone,)) for it in report.views or () if it.gone is not None])
    _tell(output, [(view.outdated, ()) for view in report.views or () if view.outdated is not None])
    _tell(
        output,
        [(f"{o.kind} {o.name} left the catalog, and readers keep it until:", (o.drop,)) for o in report.orphans or ()],
    )
    for log in report.logs:
        output.table(f"{log.name}, hours in UTC", ["Day", "Rows", "Hours"], _days(log))
        _tell(output, [_failed(cause) for cause in log.causes])
        _tell(output, [_accepted(it, hours) for it, hours in log.accepted])
        _tell(output, [*_lost(log), *_late(log), *_undeleted(log)])
    if report.failures is not None:
        _failures(output, report.failures)


def _table(table: TableStatus) -> list[object]:
    published, last = table.published, table.runs[0].outcome if table.runs else None
    if published is None:
        return [table.name, "no", None, None, last, None, None]
    at = f"{published.published_at:%Y-%m-%d %H:%M}"
    # An id, not a count.
    publication = str(published.publication)
    return [table.name, _yes(table.fresh), published.snapshot, published.rows, last, at, publication]


def _failures(output: Output, failures: Failures) -> None:
    """What failed for good and is not over, by cause."""
    if failures.current:
        output.table(
            "Permanent failures",
            ["Last (UTC)", "Times", "Of", "What"],
            [[f"{it.last_at:%Y-%m-%d %H:%M}", it.count, _named(it), it.message] for it in failures.current[:CAUSES]],
        )
        _tell(
            output,
            [
                (f"Once that of {_named(cause)} is dealt with:", (cause.acknowledge,))
                for cause in failures.current[:CAUSES]
                if cause.acknowledge is not None
            ],
        )
    for cause in failures.acknowledged[:CAUSES]:
        times = quantity(cause.count, "permanent failure")
        output.line(f"{times} of {_named(cause)}: {cause.message}{_said(cause.acknowledged)}")
    if past := sum(cause.count for cause in failures.past):
        output.line(
            f"{quantity(past, 'permanent failure')} of the last 14 days that {'is' if past == 1 else 'are'} over"
        )


def _named(cause: Cause) -> str:
    return _some(cause.subjects)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _said(acknowledged: Acknowledgement | None) -> str:
    """Who dealt with it, on a line of its own."""
    if acknowledged is None:
        return ""
    return f"\n  acknowledged {acknowledged.at:%Y-%m-%d %H:%M} UTC by {acknowledged.by}: {acknowledged.reason}"


def _waiting(table: TableStatus) -> Iterator[Told]:
    """What waits for a human, with the commands that decide."""
    for hold in table.held:
        reasons = "".join(f"\n  - {reason}" for reason in hold.reasons)
        yield f"{table.name} {hold.snapshot} is held:{reasons}", (hold.approve, hold.reject)
    if table.drift is not None:
        yield f"{table.name} drifted: {table.drift.message}", ()
    for what in table.trouble:
        yield what if what.startswith(table.name) else f"{table.name}: {what}", ()
    if table.acknowledge is not None:
        yield f"Once {table.name} is dealt with:", (table.acknowledge,)
    if table.pin is not None:
        yield f"{table.name} stays at {table.pin.snapshot}, by {table.pin.pinned_by}, until:", (table.pin.unpin,)


def _failing(failing: Failing, report: Report) -> Told:
    """What a function's last answer told as failed."""
    of = f" {failing.name}" if failing.name else ""
    times = "once" if failing.times == 1 else f"{failing.times} times since {failing.first_at:%Y-%m-%d %H:%M} UTC"
    told = f"{failing.function}{of} failed {ago(failing.last_at, report.made_at)}, {times}: {failing.message}"
    if failing.acknowledge is None:
        return f"{told}{_said(failing.acknowledged)}", ()
    return f"{told}\n  Once it is dealt with:", (failing.acknowledge,)


def _failed(cause: Cause) -> Told:
    """Why hours failed, with the command that asks for them again."""
    commands = (cause.repeat,) if cause.repeat else ()
    return f"{quantity(cause.count, 'hour')} failed, {_named(cause)}: {cause.message}", commands


def _accepted(it: Accepted, hours: Sequence[str]) -> Told:
    return f"{quantity(len(hours), 'hour')} accepted by {it.by}, {_some(hours)}: {it.reason}", ()


def _lost(log: LogStatus) -> Iterator[Told]:
    if log.audit is not None and log.audit.restore is not None:
        hours = _some([f"{it.hour} ({it.found:,} rows, {it.expected:,} verified)" for it in log.audit.lost])
        yield f"BigQuery no longer holds what was verified of {hours}. To load it again:", (log.audit.restore,)


def _late(log: LogStatus) -> Iterator[Told]:
    if log.audit is not None and log.audit.export is not None:
        found = [it for it in log.audit.differences if it.found > it.expected]
        hours = _some([f"{it.hour} ({it.found:,}, {it.expected:,} expected)" for it in found])
        yield f"the source holds rows that came too late for any call, {hours}. To export them:", (log.audit.export,)


def _undeleted(log: LogStatus) -> Iterator[Told]:
    if log.undeleted is not None:
        told = f"rows of {_some(log.undeleted.hours)} were asked to leave PostgreSQL, and no call has them go:"
        yield told, (log.undeleted.delete,)


def _tell(output: Output, told: Sequence[Told]) -> None:
    for text, commands in told:
        output.line(text)
        for command in commands:
            output.command(command)
    if told:
        output.line("")


def _view(view: ViewStatus) -> list[object]:
    if view.gone is not None:
        return [view.name, "gone", None, None]
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
