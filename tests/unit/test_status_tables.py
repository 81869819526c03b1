"""The runs of a table, put together from snapshots and calls."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared import catalog
from shared.operate.status import tables
from shared.operate.status.ledger_rows import (
    CallRow,
    FailedRow,
    FailureRow,
    HoldRow,
    LedgerRows,
    PinRow,
    PublishedRow,
    SnapshotRow,
    ViewRow,
)
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
    counted=None,
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


def look(snapshots=(), calls=(), published=(STANDS,), holds=(), failed=(), pins=()):
    rows = LedgerRows(*map(list, (published, snapshots, calls, failed, holds, pins, (), ())))
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
        ({"snapshot": "20200101T000000Z"}, "passed over"),
    ],
)
def test_what_became_of_a_snapshot(changes, outcome):
    assert look([replace(ARRIVED, **changes)]).runs[0].outcome == outcome


PIN = PinRow(TABLE, OLDER, NOW, "ana")

#: All of the snapshot is in PostgreSQL.
COMPLETE = replace(ARRIVED, counted=NOW + timedelta(seconds=12))


def outcomes(*snapshots, **rows):
    return [run.outcome for run in look([replace(COMPLETE, snapshot=name) for name in snapshots], **rows).runs]


def test_what_arrives_at_a_pinned_table_is_kept_back_and_not_under_way():
    assert outcomes(NEWER, SNAPSHOT, pins=[PIN]) == ["kept back by the pin"] * 2
    assert look([ARRIVED], pins=[PIN]).runs[0].outcome == "under way"


def test_of_a_table_that_was_unpinned_the_newest_snapshot_waits_and_the_others_are_passed_over():
    seen = look([replace(COMPLETE, snapshot=NEWER), COMPLETE])
    assert [run.outcome for run in seen.runs] == ["waits to be published", "passed over"]
    assert seen.waiting.snapshot == NEWER
    assert seen.standings == ("fresh",)
    # What is not all there yet may still come before it.
    assert [run.outcome for run in look([replace(ARRIVED, snapshot=NEWER), COMPLETE]).runs] == [
        "under way",
        "waits to be published",
    ]


def test_a_pin_does_not_hide_what_else_became_of_a_snapshot():
    held_one, rejected = replace(COMPLETE, held=NOW), replace(COMPLETE, held=NOW, decision="rejected")
    seen = [replace(COMPLETE, published=NOW, cause="event"), held_one, rejected]
    assert [look([row], pins=[PIN]).runs[0].outcome for row in seen] == ["published", "held", "rejected"]
    assert look([COMPLETE], pins=[PIN], failed=[failed(SNAPSHOT)]).runs[0].outcome == "failed"


def test_the_standings_of_a_table_are_told_the_worst_first():
    hold = HoldRow(TABLE, SNAPSHOT, 1, NOW, ["odd"])
    seen = look([replace(ARRIVED, held=NOW)], [call("held")], holds=[hold], pins=[PIN])
    assert seen.standings == ("drifted", "held", "pinned", "fresh")
    assert look(published=()).standings == ("never published",)
    assert look(published=[replace(STANDS, export_started_at=NOW - timedelta(days=2))]).standings == ("stale",)
    assert look(calls=[call("failed")]).standings == ("in trouble", "fresh")


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


def failures(*rows, views=()):
    return tables.failures(catalog.load(), LedgerRows([], [], [], [], [], [], list(views), list(rows)))


def failure(table=TABLE, message="was cut off", publication=None, passed=False, age=0):
    at = NOW - timedelta(hours=age)
    return FailureRow(at, "DataError", table, SNAPSHOT, f"{table}/part", message, publication, passed, 3)


def test_a_failure_is_over_once_its_table_has_come_through_or_is_no_more():
    found = failures(failure(), failure(passed=True), failure("a_table_of_before"))
    assert [it.over for it in found.newest] == [False, True, True]
    assert [(cause.count, cause.subjects) for cause in found.current] == [(1, (TABLE,))]
    assert {cause.subjects for cause in found.past} == {(TABLE, "a_table_of_before")}


def test_a_failed_refresh_is_over_once_every_view_of_the_table_holds_that_publication():
    offers, build = (
        "recommendable_offers_raw",
        ViewRow("item_ids_mv", "recommendable_offers_raw", 7, SNAPSHOT, NOW, 1, None),
    )
    other = replace(build, name="recommendable_offers_raw_mv")
    for built, over in (
        ([], False),
        ([build], False),
        ([build, other], True),
        ([build, replace(other, publication=6)], False),
        ([replace(build, publication=8), replace(other, publication=9)], True),
    ):
        # Whatever became of the table itself.
        (found,) = failures(failure(offers, publication=7, passed=True), views=built).newest
        assert found.over == over


def test_a_failed_rebuild_by_another_template_is_not_over_while_the_view_is_of_the_old_one():
    # It is rebuilt of the publication that it holds.
    old = ViewRow("iris_france_mv", TABLE, 7, SNAPSHOT, NOW, 1, "the digest of before")
    assert not failures(failure(publication=7), views=[old]).newest[0].over
    assert failures(failure(publication=6), views=[old]).newest[0].over
    assert failures(failure(publication=7), views=[replace(old, publication=8)]).newest[0].over
    assert failures(failure(publication=7), views=[replace(old, template=None)]).newest[0].over


def test_one_mistake_that_many_tables_meet_is_one_cause():
    said = "public.{0}: must be owner of table {0} (42501). ALTER TABLE {0} OWNER TO loader; recosync import {0}"
    names = list(catalog.load().tables)
    found = failures(*(failure(name, said.format(name), age=age) for age in range(3) for name in names))
    (cause,) = found.causes
    assert (cause.kind, cause.count, set(cause.subjects)) == ("DataError", 3 * len(names), set(names))
    assert cause.message == said.format(cause.subjects[0])
    assert (cause.first_at, cause.last_at) == (NOW - timedelta(hours=2), NOW)
    assert len(found.newest) == 3 * len(names)


def test_parts_that_differ_in_their_counts_have_one_cause_and_another_remedy_is_another():
    said = f"gs://b/{TABLE}/{SNAPSHOT}/2/part-{{0:012}}.parquet: counts {{0}} rows, the manifest {{1}}. Export again"
    parts = [failure(message=said.format(n, n + 1), age=n) for n in range(9)]
    other = failure(message="counts 1 rows, the manifest 2. Ask somebody", age=20)
    assert [cause.count for cause in failures(*parts, other).causes] == [9, 1]
    over = [replace(part, passed=True) for part in parts[4:]]
    assert [(cause.count, cause.over) for cause in failures(*parts[:4], *over).causes] == [(4, False), (5, True)]
