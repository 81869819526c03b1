"""Which hours a call works on: gaps before the one that was asked for, and no more than it may."""

import hashlib
import json
from dataclasses import replace

import pytest

from local.proxy import standing_before
from shared.errors import ConfigurationError
from shared.gcp.storage import Storage
from shared.names import Hour
from tests.kit.logs import START, at, named


def test_gaps_are_filled_in_order_before_the_hour_that_was_asked_for(log):
    keys = {hour: log.add(hour) for hour in (10, 12)}
    assert list(log.done(13).items()) == [(10, "exported"), (11, "empty"), (12, "exported")]
    assert log.bigquery() == keys
    assert [log.state(hour) for hour in (10, 11, 12)] == ["done", "empty", "done"]


def test_an_empty_hour_is_recorded_and_is_no_gap_later(log):
    log.change(late_hours=0)
    assert log.done(12) == {10: "empty", 11: "empty"}
    assert log.done(13) == {12: "empty"}
    assert log.bigquery() == {}
    assert log.objects() == {"manifests/20260310.json"}


def test_a_call_works_on_as_many_hours_as_it_may_and_the_next_goes_on(log):
    log.change(max_hours=3)
    (key,) = log.add(16)
    answer = log.call(17)
    assert [hour["hour"][-2:] for hour in answer["hours"]] == ["10", "11", "12"]
    assert (answer["remaining"], answer["next"]) == (4, "20260310T13")
    answer = log.call(17)
    assert [hour["hour"][-2:] for hour in answer["hours"]] == ["13", "14", "15"]
    assert (answer["remaining"], answer["next"]) == (1, "20260310T16")
    answer = log.call(17)
    assert (answer["hours"][0]["hour"], answer["remaining"], answer["next"]) == ("20260310T16", 0, None)
    assert log.bigquery() == {16: [key]}


def test_a_call_lists_the_manifests_once_however_many_steps_need_to_know_of_them(cloud, log, monkeypatch):
    asked = []

    def note(request, forward):
        asked.append(str(request))
        return forward(request)

    log.add(10)
    with standing_before(cloud.storage.url) as proxy, proxy.fault(note):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        log.services = replace(log.services, storage=Storage(log.here.project))
        assert log.done(12, delete_from_source=True) == {10: "exported", 11: "empty"}
    assert log.state(10) == "deleted"
    assert len([request for request in asked if "prefix=" in request and "/manifests/" in request]) == 1


def test_a_range_is_bounded_like_gaps_and_can_be_asked_for_from_where_it_stopped(log):
    log.change(max_hours=2)
    body = named(-5, -1) | {"recover_missed": False}
    answer = log.call(11, **body)
    assert (answer["remaining"], answer["next"]) == (2, "20260309T21")
    again = named(-3, -1) | {"recover_missed": False}
    assert log.done(11, **again).keys() == {-3, -2}


def test_without_recovery_only_the_hour_that_was_asked_for_is_touched(log):
    keys = {hour: log.add(hour) for hour in (10, 12)}
    answer = log.call(13, recover_missed=False)
    assert [hour["hour"][-2:] for hour in answer["hours"]] == ["12"]
    assert (answer["audit"], log.state(10), log.state(11)) == (None, None, None)
    assert log.bigquery() == {12: keys[12]}
    assert log.done(13).keys() == {10, 11, 12}
    assert log.bigquery() == keys


def test_a_date_is_its_hours_that_have_ended(log):
    keys = log.add(0) + log.add(2)
    assert list(log.done(3, date="20260310")) == [0, 1, 2]
    assert log.bigquery() == {0: keys[:1], 2: keys[1:]}


def test_without_a_start_and_manifests_nobody_guesses_where_to_begin(log):
    log.change(start=None)
    before = log.everything()
    with pytest.raises(ConfigurationError, match="HOURLY_START is not set: it should be the first hour to export") as e:
        log.ask(11)
    assert e.value.retryable
    assert log.everything() == before


def test_the_manifests_remember_the_start(log):
    log.change(start=Hour(at(22)), late_hours=0)
    log.done(23)
    log.change(start=None)
    assert list(log.done(26)) == [23, 24, 25]
    assert log.document(0)["start"] == log.document(1)["start"] == "20260310T22"


@pytest.mark.parametrize("forged", ["99991231T23", "00010101T00", "secret"])
def test_what_an_object_says_of_itself_moves_no_start(log, forged):
    log.done(11)
    blob = log.manifest()
    blob.metadata = {"settled": "false", "start": forged}
    blob.patch()
    (key,) = log.add(11)
    log.change(start=None)
    assert log.done(12) == {10: "empty", 11: "exported"}
    assert log.bigquery() == {11: [key]}


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("99991231T23", "the manifests say that the log begins at 99991231T23, which lies ahead"),
        ("00010101T00", "was written by another version of this system: start is before 1970"),
    ],
)
def test_a_start_that_cannot_be_stops_no_log_in_silence(log, start, told):
    log.done(11)
    blob = log.manifest()
    document = json.loads(blob.download_as_bytes()) | {"start": start}
    del document["checksum"]
    body = json.dumps(document).encode().removeprefix(b"{")
    blob.upload_from_string(b'{\n "checksum": "sha256:%s",\n' % hashlib.sha256(body).hexdigest().encode() + body)
    log.change(start=None)
    before = log.everything()
    with pytest.raises(ConfigurationError, match=told):
        log.ask(12)
    assert log.everything() == before


def test_a_start_that_disagrees_with_the_manifests_is_a_wrong_configuration(log):
    log.done(11)
    before = log.everything()
    for other in (9, 11):
        log.change(start=Hour(at(other)))
        with pytest.raises(
            ConfigurationError, match=f"HOURLY_START says {Hour(at(other))}, the manifests say 20260310T10"
        ):
            log.ask(12)
    assert log.everything() == before


def test_a_backlog_of_years_is_counted_and_exported_only_when_it_is_asked_for(log, caplog):
    log.add(-20_000, 3)
    (last,) = log.add(9)
    with caplog.at_level("WARNING", "recosync"):
        assert log.call(11)["earlier_rows"] == 4
    assert "rows of hours before 20260310T10, exported only when they are asked for by date: 4" in caplog.text
    assert (log.bigquery(), log.errors) == ({}, [])
    assert log.done(11, **named(9)) == {9: "exported"}
    assert log.bigquery() == {9: [last]}
    assert log.document(0)["start"] == "20260310T10"


def test_a_call_before_the_first_owned_hour_has_ended_exports_nothing(log):
    log.add(START - 1)
    log.call(START)
    assert log.bigquery() == {}
    assert log.source() == [1]


@pytest.mark.parametrize(("hour", "state"), [(5, None), (START + 1, "failed")])
def test_an_hour_that_somebody_else_brought_to_bigquery_is_refused_until_that_is_mended(log, hour, state):
    log.done(11)
    (key,) = log.add(hour)
    log.load_by_hand(hour, 77)
    body = named(hour) | {"recover_missed": False}
    failed = log.failures(20, **body, delete_from_source=True)
    assert "BigQuery holds 1 row of it, 0 of which this system brought there" in failed[hour]
    assert (log.bigquery(), log.source(), log.parts(hour), log.state(hour)) == ({hour: [77]}, [key], [], state)
    log.erase_in_bigquery(hour)
    assert log.done(20, **body) == {hour: "exported"}
    assert log.bigquery() == {hour: [key]}


def test_an_hour_that_only_bigquery_holds_is_refused_too(log):
    log.done(11)
    log.load_by_hand(5, 77)
    assert 5 in log.failures(12, **named(5), recover_missed=False)


def test_strange_rows_beside_our_own_are_found_before_late_rows_join_them(log):
    keys = log.add(10)
    log.done(11)
    log.load_by_hand(10, 77)
    log.add(10)
    failed = log.failures(12)
    assert "BigQuery holds 2 rows of it, 1 of which this system brought there" in failed[10]
    assert log.bigquery() == {10: [*keys, 77]}
