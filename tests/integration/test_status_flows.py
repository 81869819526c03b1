"""The status report of what the flows themselves leave behind."""

from __future__ import annotations

import json
from datetime import timedelta

from shared.daily import refresh
from shared.operate import decisions
from shared.operate.status import gather
from shared.operate.status.report import HourState
from shared.services import HourlyServices
from tests.kit.answer_schemas import checked
from tests.kit.logs import at
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive


def status(table=TABLE):
    report = gather(HourlyServices.from_environment(), day(1).at + timedelta(hours=5))
    checked("status", json.loads(report.to_json()))
    assert report.problems == ()
    seen = next(each for each in report.tables if each.name == table)
    views = [view for view in report.views if view.name == "non_recommendable_items_mv"]
    return seen, views[0]


def test_a_snapshot_that_was_published_and_refreshed(services):
    publish(services, 1, ["a", "b"], ["c"])
    seen, view = status()
    assert (seen.fresh, seen.published.snapshot, seen.published.rows) == (True, str(day(1)), 3)
    assert seen.published.receipt.postgresql_rows == seen.published.receipt.parquet_rows == 3
    assert (view.reads, view.missing) == ((), (TABLE,))
    refresh.refresh(services, TABLE, 1)
    seen, view = status()
    (run,) = seen.runs
    # Another uploader wrote it: nobody knows when its export began.
    assert [stage.seconds is None for stage in run.stages] == [True, False, False, False]
    assert [(source.snapshot, source.current) for source in view.reads] == [(str(day(1)), True)]
    publish(services, 2, ["a"])
    assert not status()[1].reads[0].current


def test_a_view_that_is_built_again_was_refreshed_when_it_held_the_snapshot_first(services):
    publish(services, 1, ["a", "b"])
    refresh.refresh(services, TABLE, 1)
    seen, view = status()
    refresh.rebuild(services, services.catalog.views[view.name])
    again, rebuilt = status()
    assert again.runs == seen.runs
    assert rebuilt.reads[0].built_at > view.reads[0].built_at
    assert rebuilt.reads[0].current


def test_what_arrives_while_a_table_is_pinned_and_what_becomes_of_it_after(services):
    for number in (1, 2):
        publish(services, number, ["a"])
    decisions.rollback(services, TABLE, None, "ana")
    for number in (3, 4):
        assert arrive(services, upload(services, number, ["a", "b"]).manifest()) == ["pinned"]
    seen, _ = status()
    assert [run.outcome for run in seen.runs] == ["kept back by the pin"] * 2 + ["published"] * 2
    decisions.unpin(services, TABLE, "ana")
    seen, _ = status()
    assert [run.outcome for run in seen.runs[:2]] == ["waits to be published", "passed over"]
    assert seen.waiting.snapshot == str(day(4))
    assert arrive(services, upload(services, 5, ["a", "b"]).manifest()) == ["published"]
    seen, _ = status()
    assert [run.outcome for run in seen.runs[:3]] == ["published", "passed over", "passed over"]
    assert seen.waiting is None


def states(log, now):
    report = gather(log.services, at(now))
    checked("status", json.loads(report.to_json()))
    (told,) = report.logs
    day_of = told.days[0].hours
    return {n: day_of[n].state for n in range(24) if day_of[n].state not in (HourState.NOT_OWNED, HourState.TO_COME)}


def test_hours_as_the_hourly_flow_leaves_them(log):
    log.add(10)
    log.add(12, offer_stock_price="NaN")
    log.call(13)
    assert states(log, 13.2) == {10: "done", 11: "empty", 12: "failed"}
    log.add(10)
    log.call(14)
    assert states(log, 14.5) == {10: "late rows", 11: "empty", 12: "failed", 13: "empty"}
    assert states(log, 15.5) == {10: "late rows", 11: "empty", 12: "failed", 13: "empty", 14: "due"}
    assert states(log, 16.5)[14] == "gap"
    log.call(15, date="20260310", hour=10, delete_from_source=True)
    assert states(log, 15.2)[10] == "deleted"
