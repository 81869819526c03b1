"""The runs of a table, put together from snapshots and calls."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared import catalog
from shared.operate.status import tables
from shared.operate.status.ledger import CallRow, FailedRow, HoldRow, LedgerRows, PublishedRow, SnapshotRow
from tests.kit.reports import NOW, SNAPSHOT

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


def call(outcome, snapshot=None, age=0, message="why"):
    at = NOW - timedelta(days=age)
    return CallRow(TABLE, at, at + timedelta(seconds=9), outcome, snapshot, message)


def look(snapshots=(), calls=(), published=(STANDS,), holds=(), failed=()):
    rows = LedgerRows(list(published), list(snapshots), list(calls), list(failed), list(holds), [], [], [])
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


def failed(snapshot, at=NOW):
    return FailedRow(TABLE, snapshot, at, "cut off")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "failed"),
        ({"held": NOW}, "held"),
        ({"held": NOW, "decision": "approved"}, "failed"),
        ({"held": NOW, "decision": "rejected"}, "rejected"),
        ({"published": NOW, "cause": "event"}, "published"),
    ],
)
def test_a_snapshot_that_failed_is_not_under_way(changes, outcome):
    seen = look([replace(ARRIVED, **changes)], failed=[failed(SNAPSHOT)])
    assert seen.runs[0].outcome == outcome
    assert bool(seen.trouble) == (outcome == "failed")


def test_an_export_whose_snapshot_failed_before_it_was_recorded_is_not_under_way():
    seen = look(calls=[call("exported", SNAPSHOT)], failed=[failed(SNAPSHOT)])
    assert [(run.outcome, run.message) for run in seen.runs] == [("failed", "cut off")]
    assert seen.trouble == (f"snapshot {SNAPSHOT} failed: cut off",)


def test_only_the_newest_snapshot_and_the_last_export_need_somebody():
    assert look(failed=[failed(SNAPSHOT)]).trouble == (f"snapshot {SNAPSHOT} failed: cut off",)
    assert look([replace(ARRIVED, snapshot=NEWER)], failed=[failed(SNAPSHOT)]).trouble == ()
    assert look(calls=[call("exported", NEWER)], failed=[failed(SNAPSHOT)]).trouble == ()
    assert look(calls=[call("to be retried"), call("failed", age=1)]).trouble == ("its export failed: why",)
    assert look(calls=[call("confirmed unchanged", message=None), call("failed", age=1)]).trouble == ()


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


def test_a_source_past_its_age_limit_is_not_fresh_until_a_call_says_otherwise():
    aged = call("confirmed unchanged", OLDER, message="its source was last changed at 2026-01-01 05:00 UTC")
    seen = look(calls=[aged])
    assert (seen.fresh, seen.trouble) == (False, (aged.message,))
    assert look(calls=[call("to be retried"), aged]).trouble == (aged.message,)
    assert look(calls=[replace(aged, message=None), aged]).fresh
    # It was approved after that call, or the call spoke of a snapshot that waits.
    assert look(calls=[aged], published=[replace(STANDS, published_at=NOW + timedelta(minutes=1))]).fresh
    assert look(calls=[replace(aged, snapshot=SNAPSHOT)]).fresh


def test_a_call_that_found_a_held_snapshot_unchanged_is_no_drift():
    for outcome in ("held", "confirmed unchanged"):
        seen = look([replace(ARRIVED, held=NOW)], [call(outcome, SNAPSHOT)])
        assert (seen.drift, [(run.outcome, run.message) for run in seen.runs]) == (
            None,
            [("held", None), ("confirmed unchanged", "why")],
        )


def test_what_lies_in_the_future_is_not_fresh():
    assert look(published=[replace(STANDS, export_started_at=NOW + timedelta(minutes=4))]).fresh
    seen = look(published=[replace(STANDS, export_started_at=NOW + timedelta(hours=2))])
    assert (seen.fresh, "began in the future" in seen.trouble[0]) == (False, True)
    seen = look(published=[replace(STANDS, snapshot="20990101T000000Z", export_started_at=None)])
    assert (seen.fresh, "lies in the future" in seen.trouble[0]) == (False, True)


def test_a_command_quotes_what_a_shell_would_read():
    hold = HoldRow(TABLE, "x; rm -rf /", 1, NOW, ["odd"])
    assert look(holds=[hold]).held[0].approve == f"recosync approve {TABLE} 'x; rm -rf /'"
