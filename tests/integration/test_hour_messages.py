"""The message that an hour is done: owed with the swap that says so, and sent at least once."""

from __future__ import annotations

import signal
from datetime import datetime

import pytest

from shared.hourly.request import HourlyRequest
from shared.names import Hour
from shared.operate import mend
from tests.kit.logs import at
from tests.kit.messages import subscribed
from tests.kit.workers import worker

#: A worker that makes a call at 11:05, and dies where `{}` is called.
CALL = """
import os, signal
from dataclasses import replace
from datetime import datetime
from shared.gcp import pubsub
from shared.hourly import run
from shared.hourly.manifest import HourRecord
from shared.hourly.request import parse
from shared.names import Hour
from shared.services import HourlyServices
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
services = HourlyServices.from_environment()
services = replace(services, settings=replace(services.settings, start=Hour.parse("20260310T10")))
{} = die
run.run(services, parse(services, {{"table_name": "past_offer_context"}}, None, datetime.fromisoformat(sys.argv[1])))
"""


@pytest.fixture
def messages(log):
    with subscribed(log.here, log.here.hour_done_topic) as subscription:
        yield subscription.take


def told(taken):
    """For each message, the hour, its batch, the rows so far, those of the batch, and whether they are late."""
    names = ("batch", "rows", "new_rows", "late")
    return [(int(each.data["hour"][-2:]), *(each.data[name] for name in names)) for each in taken]


def test_each_hour_is_told_once_also_one_without_rows(log, messages):
    log.add(10, 3)
    log.done(12)
    taken = messages()
    assert told(taken) == [(10, 1, 3, 3, False), (11, 0, 0, 0, False)]
    first = taken[0]
    assert (first.data["table"], first.attributes["table"], first.order) == (log.name, log.name, log.name)
    assert first.data["hour"] == "20260310T10"
    assert first.data["verified_at"] == first.attributes["ce-time"] == log.entry(10)["batches"][0]["verified_at"]
    assert len({message.attributes["ce-id"] for message in taken}) == 2
    assert all("owed" not in log.entry(hour) for hour in (10, 11))
    log.done(12)
    assert messages() == []


def test_late_rows_are_told_as_such(log, messages):
    log.add(10, 2)
    log.done(11)
    log.add(10, 3)
    log.done(12)
    assert told(messages()) == [(10, 1, 2, 2, False), (10, 2, 5, 3, True), (11, 0, 0, 0, False)]


def test_rows_of_an_hour_that_was_told_to_have_none_are_late(log, messages):
    log.done(11)
    log.add(10, 2)
    log.done(12)
    assert told(messages()) == [(10, 0, 0, 0, False), (10, 1, 2, 2, True), (11, 0, 0, 0, False)]


def test_without_a_topic_nothing_is_owed_and_the_manifest_is_as_ever(log, messages):
    log.change(hour_done_topic=None)
    log.add(10)
    log.done(12)
    assert messages() == []
    fields = {"batches", "work", "deletion", "failure", "state"}
    assert log.entry(10).keys() == log.entry(11).keys() == fields


def test_what_a_call_that_died_after_it_verified_owed_is_sent_by_the_next(log, messages):
    log.add(10, 2)
    with worker(log.here.env, CALL.format("pubsub.Publisher.publish"), at(11).isoformat()) as process:
        assert process.wait() == -signal.SIGKILL
    assert (log.state(10), messages()) == ("done", [])
    assert [owed["batch"] for owed in log.entry(10)["owed"]] == [1]
    assert log.manifest().exists()
    log.change(late_hours=0)  # no run looks at the hour for another reason
    log.done(35)
    taken = told(messages())
    assert taken[0] == (10, 1, 2, 2, False)
    assert [hour for hour, *_ in taken] == [*range(10, 24), *range(11)]
    assert "owed" not in log.entry(10)


def test_a_call_that_died_before_it_noted_what_it_sent_sends_the_same_message_twice(log, messages):
    log.add(10, 2)
    with worker(log.here.env, CALL.format("HourRecord.told"), at(11).isoformat()) as process:
        assert process.wait() == -signal.SIGKILL
    log.done(11)
    first, second = messages()
    assert first == second


def test_a_topic_that_refuses_stops_no_hour_and_gets_all_later(log, messages):
    log.change(hour_done_topic="missing")
    log.add(10, 2)
    log.add(11)
    assert log.done(12) == {10: "exported", 11: "exported"}
    assert len(log.errors) == 1
    assert "messages that hours are done are owed" in log.errors[0]
    assert "publishing to missing" in log.errors[0]
    log.change(hour_done_topic=log.here.hour_done_topic.split("/")[-1])
    log.done(13)
    assert told(messages()) == [(10, 1, 2, 2, False), (11, 1, 1, 1, False), (12, 0, 0, 0, False)]


def test_an_hour_that_is_loaded_again_is_told_again(log, messages):
    log.add(10, 2)
    log.done(11)
    log.erase_in_bigquery(10)
    request = HourlyRequest(log.table, (Hour(at(10)),), explicit=True, delete=False, recover=False, newest=False)
    mend.restore(log.services, request, print, replace=True, by="test")
    first, again = messages()
    assert told([first, again]) == [(10, 1, 2, 2, False)] * 2
    assert datetime.fromisoformat(again.data["verified_at"]) > datetime.fromisoformat(first.data["verified_at"])
