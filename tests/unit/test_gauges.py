"""What alerts watch is true of the report, and is zero again once it has ended."""

from __future__ import annotations

import datetime as dt
from datetime import UTC, datetime, timedelta

import pytest

from shared.operate.status.gauges import NEVER, gauges
from shared.operate.status.report import (
    Cause,
    DayStatus,
    Failing,
    Failures,
    Held,
    HourState,
    HourStatus,
    LogStatus,
    Problem,
    Published,
    Report,
    TableStatus,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOLD = Held("20260302T040000Z", 1, NOW, ("fewer rows",), "approve", "reject")


def table(fresh_at=None, held=()):
    published = Published("20260302T040000Z", 1, 1, NOW, "export", None, fresh_at, None) if fresh_at else None
    return TableStatus("offers", "source", bool(fresh_at), published, held, None, None, (), ())


def log(**states):
    hours = tuple(HourStatus(hour=f"20260302T{hour[1:]}", state=state) for hour, state in states.items())
    return LogStatus("clicks", None, (DayStatus(dt.date(2026, 3, 2), hours),), None)


def cause(over):
    return Cause("PermanentError", "broken", 3, ("offers",), NOW, NOW, over=over)


def failing(attention):
    return Failing("bq_export", "offers", "refused", False, NOW, NOW, 1, attention=attention)


def numbers(**parts):
    known = {"tables": (), "views": (), "failures": Failures(0, ()), "logs": (), "problems": ()}
    report = Report(made_at=NOW, environment="dev", summary="", attention=False, **{**known, **parts})
    return {gauge.name: gauge.value for gauge in gauges(report)}


def test_a_table_has_the_age_of_the_last_time_that_it_was_known_fresh():
    assert numbers(tables=(table(NOW - timedelta(hours=8)),))["table_age_seconds"] == 8 * 3600


def test_a_table_that_was_never_published_is_older_than_any_limit():
    assert numbers(tables=(table(),))["table_age_seconds"] == NEVER


@pytest.mark.parametrize(("held", "count"), [((), 0), ((HOLD,), 1), ((HOLD, HOLD), 2)])
def test_a_hold_counts_until_it_is_decided(held, count):
    assert numbers(tables=(table(NOW, held),))["table_held"] == count


def test_a_failure_counts_until_it_is_over():
    assert numbers(failures=Failures(3, (), (cause(over=False),)))["failures"] == 3
    assert numbers(failures=Failures(3, (), (cause(over=True),)))["failures"] == 0


def test_a_function_that_fails_counts_when_a_human_has_to_look():
    assert numbers(failing=(failing(attention=True), failing(attention=False)))["failures"] == 1


@pytest.mark.parametrize("state", [HourState.DONE, HourState.LATE, HourState.EMPTY, HourState.DELETED])
def test_a_log_has_the_age_of_the_end_of_its_last_settled_hour(state):
    assert numbers(logs=(log(h09=HourState.DONE, h10=state, h11=HourState.FAILED),))["log_age_seconds"] == 3600


def test_a_log_without_a_settled_hour_is_older_than_any_limit():
    assert numbers(logs=(log(h11=HourState.DUE),))["log_age_seconds"] == NEVER


def test_hours_that_failed_and_gaps_count():
    found = numbers(logs=(log(h09=HourState.FAILED, h10=HourState.DAMAGED, h11=HourState.GAP),))
    assert (found["log_hours_failed"], found["log_gaps"]) == (2, 1)


def test_what_could_not_be_read_has_no_number():
    """A zero would end an alert."""
    unread = LogStatus("clicks", None, (), None)
    lacking = numbers(tables=None, failures=None, failing=None, logs=(unread,), problems=(Problem("ledger", "down"),))
    assert lacking == {}
