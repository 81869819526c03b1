"""The runs of a table, put together from snapshots and calls."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared import catalog
from shared.operate.status import tables
from shared.operate.status.ledger import CallRow, HoldRow, LedgerRows, PublishedRow, SnapshotRow
from tests.reports import NOW, SNAPSHOT

TABLE = "iris_france"
OLDER, NEWER = "20261122T050000Z", "20261124T050000Z"

ARRIVED = SnapshotRow(
    name=TABLE,
    snapshot=SNAPSHOT,
    export_began=NOW,
    export_ended=NOW + timedelta(seconds=9),
    recorded=NOW + timedelta(seconds=10),
    stage_began=NOW + timedelta(seconds=8),
    stage_ended=NOW + timedelta(seconds=12),
    published=None,
    cause=None,
    seconds=None,
    refresh_ended=None,
    decision=None,
    held=None,
)
STANDS = PublishedRow(TABLE, OLDER, 1, 5, NOW, "event", None, NOW, None, None, None, None, None, 0, None)


def call(outcome, snapshot=None, age=0):
    at = NOW - timedelta(days=age)
    return CallRow(TABLE, at, at + timedelta(seconds=9), outcome, snapshot, "why")


def look(snapshots=(), calls=(), published=(STANDS,), holds=()):
    rows = LedgerRows(list(published), list(snapshots), list(calls), list(holds), [], [], [])
    return next(table for table in tables.statuses(catalog.load(), rows, NOW) if table.name == TABLE)


def test_an_export_that_has_not_arrived_is_under_way_and_then_its_snapshot_is_the_run():
    (run,) = look(calls=[call("exported", SNAPSHOT)]).runs
    assert (run.outcome, [stage.seconds for stage in run.stages]) == ("under way", [9, None, None, None])
    (run,) = look([ARRIVED], [call("exported", SNAPSHOT)]).runs
    assert [stage.seconds for stage in run.stages] == [9, 4, None, None]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "under way"),
        ({"held": NOW}, "held"),
        ({"held": NOW, "decision": "approved"}, "under way"),
        ({"held": NOW, "decision": "rejected"}, "rejected"),
        ({"published": NOW + timedelta(seconds=13), "cause": "event"}, "published"),
        ({"snapshot": OLDER}, "passed over"),
    ],
)
def test_what_became_of_a_snapshot(changes, outcome):
    assert look([replace(ARRIVED, **changes)]).runs[0].outcome == outcome


def test_a_publish_begins_when_the_last_part_is_staged_unless_a_human_decided():
    published = replace(ARRIVED, published=NOW + timedelta(seconds=13), cause="event", seconds=0.2)
    assert look([published]).runs[0].stages[2].seconds == 1
    approved = replace(published, cause="approval")
    assert look([approved]).runs[0].stages[2].seconds == 0.2
    assert look([replace(approved, seconds=None)]).runs[0].stages[2].seconds is None


def test_the_last_seven_runs_are_shown_the_newest_first():
    runs = look([ARRIVED], [call("confirmed unchanged", OLDER, age) for age in range(1, 9)]).runs
    assert len(runs) == 7
    assert [run.at for run in runs] == sorted((run.at for run in runs), reverse=True)
    assert runs[0].snapshot == SNAPSHOT


def test_a_source_that_drifted_is_held_with_the_message_of_the_last_call():
    assert look(calls=[call("held"), call("exported", OLDER, 1)]).drift.message == "why"
    assert look(calls=[call("to be retried"), call("held", None, 1)]).drift is not None
    assert look(calls=[call("confirmed unchanged", OLDER), call("held", None, 1)]).drift is None


def test_freshness_is_when_the_source_was_last_known_to_be_this():
    assert look(published=[replace(STANDS, export_started_at=NOW - timedelta(hours=25))]).fresh
    old = replace(STANDS, export_started_at=NOW - timedelta(hours=27))
    assert not look(published=[old]).fresh
    assert look(published=[replace(old, confirmed_at=NOW - timedelta(hours=1))]).fresh
    assert not look(published=[]).fresh


def test_a_command_quotes_what_a_shell_would_read():
    hold = HoldRow(TABLE, "x; rm -rf /", 1, NOW, ["odd"])
    assert look(holds=[hold]).held[0].approve == f"recosync approve {TABLE} 'x; rm -rf /'"
