"""Audit: once a day, the source and BigQuery are counted hour by hour and compared with the manifests of the last week.

The audit finds rows that came later than any run looked for, and hours of which somebody else deleted rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from msgspec import UNSET

from shared import log
from shared.hourly.context import LogRun
from shared.hourly.manifest import NOTHING, Audit, DamagedError, Difference, OtherVersionError
from shared.hourly.rebuild import open_day
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.words import quantity

#: Days that are counted.
DAYS = 7

#: Manifests in which the audit before is looked for.
LOOK_BACK = 30

#: How long nobody is told that there was no time for a count.
UNCOUNTED = timedelta(days=2)

#: Seconds that one count may take.
PATIENCE = 30

#: Hours that the clocks of those who write may be ahead.
AHEAD = 1


def audit(run: LogRun, end: Hour) -> Audit | None:
    """Count the hours of the last days before `end`, and older ones of which the audit before found rows that were not
    exported, unless that was done today. A difference is an ERROR.

    None when the count was done already, or when there was no time to count all hours: the next call tries again.
    """
    last = end.plus(-1)
    manifest = run.store.read(last.day)
    if manifest is None or manifest.audit is not None:
        return None
    differences: list[Difference] = []
    first, before = max(run.start, end.plus(-24 * DAYS)), _before(run, last.day)
    carried = _unexported(run, before, first)
    hours = [*carried, *first.until(end)]
    looked_at = end.plus(-run.services.settings.late_hours)
    for hour in hours:
        expected = _expected(run, hour)
        if expected is None:
            # A gap or a failure speaks for itself, but not of rows that came late before it.
            differences += [carried[hour]] if hour in carried else []
            continue
        found = run.log_table.rows_of(hour, PATIENCE) if time.monotonic() < run.deadline else None
        if found is None:
            _tell_uncounted(before, hour)
            return None
        if found > expected and hour >= looked_at:
            continue  # the next call takes them up
        if found != expected:
            late = found > expected and not _is_deleted(run, hour)
            ask = f". To export them: {Remedies(run.table.name, hour).ask}" if late else ""
            log.error(
                f"the source holds {quantity(found, 'row')} of an hour, {expected:,} were expected{ask}", hour=str(hour)
            )
            differences.append(Difference(str(hour), expected, found))
    lost = tuple(_lost(run, hours))
    now = datetime.now(UTC)
    done = Audit(
        now,
        tuple(differences),
        earlier_rows=run.log_table.rows_before(run.start, PATIENCE),
        rows_without_time=run.log_table.rows_without_time(PATIENCE),
        later_rows=run.log_table.rows_from(max(end, Hour(now)).plus(1 + AHEAD), PATIENCE),
        in_bigquery=lost or UNSET,
    )
    _report_strays(run, done)
    run.store.audited(last.day, done)
    return done


def _before(run: LogRun, day: date) -> Audit | None:
    """The newest audit of an earlier day; None where the last manifests have none that can be read."""
    for earlier in sorted((each for each in run.store.listing() if each < day), reverse=True)[:LOOK_BACK]:
        with suppress(DamagedError, OtherVersionError):
            manifest = run.store.read(earlier)
            if manifest is not None and manifest.audit is not None:
                return manifest.audit
    return None


def _unexported(run: LogRun, before: Audit | None, end: Hour) -> dict[Hour, Difference]:
    """The hours before `end`, in order, of which that audit found rows in the source that nobody exports unless the
    hour is asked for.
    """
    found = {Hour.parse(each.hour): each for each in before.differences if each.found > each.expected} if before else {}
    return {hour: found[hour] for hour in sorted(found) if hour < end and not _is_deleted(run, hour)}


def _is_deleted(run: LogRun, hour: Hour) -> bool:
    """Whether rows of the hour were exported before they left the source: more there may be those, brought back."""
    record = open_day(run, hour.day).record(hour)
    return record is not None and record.deletion is not None


def _tell_uncounted(before: Audit | None, hour: Hour) -> None:
    """That there was no time for a count is an ERROR once nobody has counted for days."""
    if before is None or datetime.now(UTC) - before.at < UNCOUNTED:
        log.warning("no time to count the source: the next call tries again", hour=str(hour))
    else:
        log.error(
            f"no time to count the source since {before.at:%Y-%m-%d %H:%M} UTC: rows that come very late are not found",
            hour=str(hour),
        )


def _lost(run: LogRun, hours: Sequence[Hour]) -> Iterator[Difference]:
    """The hours of which BigQuery no longer holds what was verified, or accepted."""
    for day, of_day in groupby(hours, key=lambda hour: hour.day):
        held, manifest = run.raw_table.of_day(day), open_day(run, day)
        for hour in of_day:
            record = manifest.record(hour)
            if record is None or record.failure is not None or record.work is not None:
                continue  # a gap or a failure speaks for itself
            found = held.get(hour, NOTHING)
            if found != record.content:
                others = " (other keys)" if found.rows == record.content.rows else ""
                log.error(
                    f"BigQuery holds {quantity(found.rows, 'row')}{others} of an hour, {record.content.rows:,} were"
                    f" verified. To load it again: {Remedies(run.table.name, hour).restore}",
                    hour=str(hour),
                )
                yield Difference(str(hour), record.content.rows, found.rows)


def _expected(run: LogRun, hour: Hour) -> int | None:
    """How many rows the source should hold of the hour; None while that is open."""
    record = open_day(run, hour.day).record(hour)
    if record is None or record.failure is not None or record.work is not None or record.source_content is None:
        return None
    return record.source_content.rows


def _report_strays(run: LogRun, found: Audit) -> None:
    column = run.table.time
    if found.earlier_rows != 0:
        told = f"rows of hours before {run.start}, exported only when they are asked for by date"
        log.warning(f"{told}: {_count(found.earlier_rows)}")
    if found.later_rows != 0:
        told = f"rows whose {column} is in the future, which no run exports before that"
        log.error(f"{told}: {_count(found.later_rows)}")
    if found.rows_without_time != 0:
        log.error(f"rows without a time in {column}, which belong to no hour: {_count(found.rows_without_time)}")


def _count(rows: int | None) -> str:
    return "too many to count" if rows is None else str(rows)
