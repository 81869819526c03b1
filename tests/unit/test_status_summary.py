"""The first line of the report: it agrees with the page below it, whatever stands there."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.operate.status import page
from shared.operate.status.report import (
    AuditStatus,
    Difference,
    Drift,
    HourState,
    Pin,
    Problem,
    Report,
    Standing,
    Undeleted,
    ViewSource,
    ViewStatus,
)
from shared.operate.status.summary import summarized
from tests.kit.reports import NOW, SNAPSHOT, failure, failures, held, log, report, table

PIN = Pin(SNAPSHOT, NOW, "ana", "recosync rollback enriched_user --unpin")

TABLES = st.builds(
    table,
    fresh=st.booleans(),
    trouble=st.sampled_from([(), ("its export failed",)]),
    drift=st.sampled_from([None, Drift(NOW, "venue_id is STRING")]),
    held=st.sampled_from([(), (held(),)]),
    pin=st.sampled_from([None, PIN]),
) | st.just(table(published=None, fresh=False))

VIEWS = st.builds(
    lambda current, overdue, outdated: ViewStatus(
        "a_mv", (ViewSource("a", SNAPSHOT, NOW, 1, current),), (), ("a",) if overdue and not current else (), outdated
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "was built from another template"]),
)

#: What an hour may be without anybody having to do something.
QUIET = set(HourState) - {HourState.GAP, HourState.FAILED, HourState.DAMAGED}

AUDITS = st.builds(
    AuditStatus,
    st.just(NOW),
    st.sampled_from([(), (Difference("20261120T05", 9, 8),)]),
    st.just(5),
    st.sampled_from([0, 3, None]),
    st.sampled_from([0, 3, None]),
)

FAILURES = st.lists(
    st.builds(failure, st.sampled_from(["its owner is another", "a part is gone"]), over=st.booleans()), max_size=4
).map(lambda found: failures(*found))


EMPTY = replace(log(), days=())

#: A day whose hours are all the same, for each state.
DAYS = {state: log(state=state).days[0] for state in HourState}

#: A log of one day, whose manifest may be damaged, with a count of the source that may be odd.
LOGS = st.builds(
    lambda state, damaged, audit: replace(EMPTY, days=(replace(DAYS[state], damaged=damaged),), audit=audit),
    st.sampled_from(list(HourState)),
    st.sampled_from([None, "was cut off"]),
    st.none() | AUDITS,
)


REPORTS = st.builds(
    report,
    tables=st.lists(TABLES, min_size=1, max_size=4).map(tuple),
    views=st.lists(VIEWS, max_size=2).map(tuple),
    failures=FAILURES,
    logs=st.lists(LOGS, max_size=2).map(tuple),
    problems=st.sampled_from([(), (Problem("hours", "the bucket is closed", "another_log"),)]),
).map(summarized)


def needs_somebody(told: Report) -> bool:
    """Whether there is anything on the page about which somebody should do something."""
    assert told.tables is not None
    assert told.views is not None
    assert told.failures is not None
    audits = [log.audit for log in told.logs if log.audit]
    return bool(
        told.problems
        or any(not it.fresh or it.trouble or it.drift or it.held or it.pin for it in told.tables)
        or any(view.overdue or view.outdated for view in told.views)
        or any(not it.over for it in told.failures.newest)
        or any(hour.state not in QUIET for log in told.logs for hour in log.hours)
        or any(day.damaged for log in told.logs for day in log.days)
        or any(it.differences or it.later_rows != 0 or it.rows_without_time != 0 for it in audits)
    )


@given(REPORTS)
def test_all_is_said_to_be_well_when_nothing_is_wrong_and_only_then(told):
    assert told.attention == needs_somebody(told)
    assert told.summary.startswith(("All ", "The one table fresh")) != told.attention
    title = re.search("<title>(.*)</title>", page.render(told))
    assert title is not None
    assert title[1].endswith("attention" if told.attention else "all well")


@given(REPORTS)
def test_each_table_is_counted_once(told):
    first = told.summary.split(";")[0]
    if told.attention:
        well, of = map(int, re.match(r"(\d+) of (\d+) tables fresh", first).groups())
        assert of == len(told.tables)
        assert well + sum(map(int, re.findall(r", (\d+) ", first))) == of


@given(REPORTS)
def test_each_badge_of_a_table_is_in_the_line(told):
    """A table that waits for something else is stale because of that."""
    badges = [re.findall(r'class="badge \w+">([^<]+)<', card) for card in _cards(told)]
    assert badges == [list(table.standings) for table in sorted(told.tables, key=lambda table: table.badness)]
    counted = Counter(chain.from_iterable(it[:-1] or it for it in badges))
    said = told.summary.split(";")[0]
    for standing in set(Standing) - {Standing.FRESH}:
        parts = [part for part in said.split(", ")[1:] if standing in part.split(" ", 1)[1].split(" and ")]
        assert sum(int(part.split()[0]) for part in parts) == counted[standing]


def _cards(told):
    return re.findall(r"<article.*?</article>", page.render(told), re.DOTALL)


@given(REPORTS)
def test_failures_that_are_over_are_in_no_count(told):
    current = [it for it in told.failures.newest if not it.over]
    said = re.search(r"(\d+) permanent errors?(?: of (\d+) cause)?", told.summary)
    assert (int(said[1]) if said else 0) == len(current)
    if said and said[2]:
        assert int(said[2]) == len({it.message for it in current}) < len(current)
    assert sum(cause.count for cause in told.failures.causes) == len(told.failures.newest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "All 2 tables fresh; last hour done just now"),
        ({"tables": (table(), table(trouble=("cut off",)))}, "1 of 2 tables fresh and well, 1 in trouble"),
        ({"tables": (table(), table(drift=Drift(NOW, "x")))}, "1 of 2 tables fresh and well, 1 drifted"),
        ({"tables": (table(fresh=False, held=(held(), held())), table())}, "1 of 2 tables fresh and well, 1 held"),
        ({"tables": (table(fresh=False), table(pin=PIN))}, "0 of 2 tables fresh and well, 1 pinned, 1 stale"),
        ({"tables": (table(published=None, fresh=False),)}, "0 of 1 tables fresh and well, 1 never published"),
        ({"tables": (table(),)}, "The one table fresh"),
        ({"tables": None}, "The ledger can't be read"),
        ({"failures": failures(*[failure("gone")] * 11)}, "2 of 2 tables fresh"),
    ],
)
def test_the_tables_come_first(changes, said):
    told = summarized(report(**{"tables": (table(), table()), "logs": (log(),), **changes}))
    assert f"{told.summary};".startswith(f"{said};")


def test_many_failures_of_one_cause_are_said_to_be_that():
    told = summarized(report(failures=failures(*[failure("gone")] * 11)))
    assert told.summary.endswith("; 11 permanent errors of 1 cause")
    told = summarized(report(failures=failures(failure("gone"), failure("another owner"))))
    assert told.summary.endswith("; 2 permanent errors")


def test_a_log_says_what_its_hours_lack():
    base = log(state=HourState.FAILED)
    damaged = replace(base.days[0], damaged="was cut off")
    audit = AuditStatus(NOW, (Difference("20261120T05", 9, 8),), 0, 2, 0)
    undeleted = Undeleted(("20261120T04",), "recosync backfill")
    told = summarized(report(logs=(replace(base, days=(damaged,), audit=audit, undeleted=undeleted),)))
    assert told.summary.split("; ")[1:] == [
        "no hour done yet",
        "24 hours failed",
        "1 day with an unreadable manifest",
        "rows of 1 hour still to be deleted",
        "1 hour with another count in the source",
        "rows without a time, or of the future",
    ]
