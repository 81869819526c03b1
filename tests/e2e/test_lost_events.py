"""Events that nobody ever delivers: the hourly call finds what they left, and what it sends goes the usual way."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest

from local import context
from local.eventarc import Faults
from shared.services import Services
from shared.upkeep import housekeeping, reconcile
from tests.e2e.system import scheduled
from tests.e2e.test_faults import TABLES
from tests.kit.reference import names, table


@pytest.fixture
def day(emulated, system, days):
    """A day whose job loses events, and has come through in the end, once."""
    number = next(days)
    system.fill(number)
    yield number
    system.wait_refreshed(dict.fromkeys(TABLES, f"{scheduled(number):%Y%m%dT%H%M%SZ}"))
    emulated.eventarc.wait_idle()
    assert system.agrees(*TABLES)
    assert system.select("SELECT kind FROM recosync.failure") == []


@pytest.fixture
def services(emulated, monkeypatch):
    """The functions' own, in this process, to run a step at another time."""
    for name, value in emulated.env.items():
        monkeypatch.setenv(name, value)
    return Services.from_environment()


def lose(emulated, system, day, drop):
    """Run the day's job while events are lost."""
    emulated.eventarc.faults = Faults(drop=drop)
    system.schedule(scheduled(day), *TABLES)
    emulated.eventarc.wait_idle()
    emulated.eventarc.faults = Faults()


def reconciled(services):
    return [(each["table"], each["sent"]) for each in reconcile.run(services, datetime.now(UTC) + timedelta(hours=1))]


def test_every_event_of_a_snapshot_is_lost(emulated, system, services, day):
    lose(emulated, system, day, lambda event: True)
    assert reconciled(services) == [(table, "manifest") for table in TABLES]


def test_the_events_of_the_manifests_are_lost(emulated, system, services, day):
    lose(emulated, system, day, lambda event: "manifest" in str(event.subject))
    assert {what for _, what in reconciled(services)} == {"manifest"}


def test_the_completion_messages_are_lost(emulated, system, services, day):
    lose(emulated, system, day, lambda event: "messagePublished" in event.type)
    assert {what for _, what in reconciled(services)} == {"message"}


def test_the_daily_call_tells_what_it_dropped_and_the_hourly_one_what_it_sent_again(emulated, system, services, day):
    context.create(emulated.dsn)
    status, answer = system.call({"tables": TABLES}, {"X-CloudScheduler-ScheduleTime": scheduled(day).isoformat()})
    assert (status, json.loads(answer)["housekeeping"]["parts"]) == (200, 0)
    sent = emulated.call("hourly_export")
    assert sent["reconciled"] == []
    # No type tells what the functions themselves add to an answer: the unit tests of the reference check the rest.
    for function, body in (("bq_export", json.loads(answer)), ("hourly_export", sent)):
        documented = [names(field)[0] for field, *_ in table(f"Answer of {function}")]
        assert body.keys() == {field for field in documented if field.isidentifier()}


def test_housekeeping_leaves_readers_what_they_see_and_two_snapshots_to_go_back_to(system, services, days):
    for number in itertools.islice(days, 4):
        system.run(number, *TABLES)
    dropped = housekeeping.run(services, datetime.now(UTC) + timedelta(days=4))
    assert None not in dropped.values()
    assert dropped["parts"] > 0
    kept = "SELECT count(DISTINCT snapshot_id) FROM recosync.part WHERE dropped_at IS NULL GROUP BY table_name"
    assert {count for (count,) in system.select(kept)} == {3}
    assert system.agrees(*TABLES)
