"""Audit: once a day, the source is counted hour by hour and compared with what the manifests say of the last week.

It finds what came later than any run looked for, and rows that somebody else deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from shared import log
from shared.hourly.context import Run
from shared.hourly.manifest import Audit, Difference
from shared.names import Hour

#: Days that are counted.
DAYS = 7

#: Seconds that a count may take that no index bounds; past that, it is left out.
PATIENCE = 60


def audit(run: Run, end: Hour) -> Audit | None:
    """Count the hours of the last days before `end`, unless that was done today. Differences are alerted."""
    last = end.plus(-1)
    manifest = run.store.read(last.day)
    if manifest is None or manifest.audit is not None:
        return None
    first = max(run.start, end.plus(-24 * DAYS))
    expected, found = _expected(run, first, end), run.source.per_hour(first, end)
    differences = tuple(
        Difference(str(hour), rows, found.get(hour, 0)) for hour, rows in expected.items() if rows != found.get(hour, 0)
    )
    for difference in differences:
        log.error(
            f"the source holds {difference.found} rows of an hour, {difference.expected} were expected",
            hour=difference.hour,
        )
    _report_strays(run)
    done = Audit(datetime.now(UTC), differences)
    run.store.audited(last.day, done)
    return done


def _expected(run: Run, first: Hour, end: Hour) -> Mapping[Hour, int]:
    """How many rows the source should hold of each hour that is settled and did not fail."""
    expected = {}
    for hour in first.until(end):
        manifest = run.store.read(hour.day)
        record = manifest.record(hour) if manifest else None
        if record is None or record.failure is not None or record.work is not None or record.source_content is None:
            continue  # a gap or a failure speaks for itself
        expected[hour] = record.source_content.rows
    return expected


def _report_strays(run: Run) -> None:
    """Rows that no run ever exports by itself: older than the first hour owned, or without a time."""
    older, timeless = run.source.rows_before(run.start, PATIENCE), run.source.rows_without_time(PATIENCE)
    if older is None or older:
        count = "too many to count" if older is None else str(older)
        log.warning(f"rows of hours before {run.start}, exported only by an explicit range: {count}")
    if timeless is None or timeless:
        count = "too many to count" if timeless is None else str(timeless)
        log.error(f"rows without a time in {run.table.time}, which belong to no hour: {count}")
