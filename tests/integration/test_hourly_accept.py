"""What BigQuery holds of an hour is the truth once an operator says so. What comes after that is exported as ever."""

import json

import pytest

from shared.operate.status import collect
from tests.kit.commands import recosync
from tests.kit.logs import at, named

NAME = "raw_local.past_offer_context"
REASON = "rows of a test were deleted by hand"


@pytest.fixture(autouse=True)
def start(monkeypatch):
    monkeypatch.setenv("HOURLY_START", "20260310T10")


def accept(log, *options, code=0):
    reason = () if "--reason" in options else ("--reason", REASON)
    ran = recosync("accept", log.name, "--date", "20260310", "--json", *reason, *options)
    assert ran.code == code, ran.err
    return ran.json


@pytest.fixture
def corrected(log):
    """Hour 10, of which somebody has deleted a row in BigQuery on purpose: its deletion from PostgreSQL fails."""
    log.keys = log.add(10, 3)
    log.done(11)
    log.here.bigquery_client.query(f"DELETE FROM {NAME} WHERE id = {log.keys[0]}").result()
    log.failures(12, **named(10), delete_from_source=True)
    assert log.state(10) == "failed"
    return log


def test_an_accepted_hour_fails_no_longer_and_says_who_and_why(corrected):
    (told,) = accept(corrected, "--hour", 10)["hours"]
    assert (told["status"], told["rows"]) == ("accepted", 2)
    accepted = corrected.entry(10)["accepted"]
    assert (accepted["reason"], accepted["content"]["rows"], accepted["source"]["rows"]) == (REASON, 2, 3)
    assert corrected.done(12, **named(10)) == {10: "done already"}
    (log,) = collect.gather(corrected.services, at(15)).logs
    (hour,) = [hour for hour in log.hours if hour.hour == "20260310T10"]
    assert (hour.state, hour.rows, hour.accepted.reason) == ("accepted", 2, REASON)
    assert hour.accepted.by == accepted["by"]


def test_no_row_of_an_accepted_hour_is_deleted_from_the_source(corrected):
    accept(corrected, "--hour", 10)
    corrected.call(12, **named(10), delete_from_source=True)
    assert (corrected.state(10), corrected.source()) == ("done", corrected.keys)
    (late,) = corrected.add(10)
    corrected.call(13, delete_from_source=True)
    assert (corrected.state(10), corrected.source()) == ("done", [*corrected.keys, late])


def test_what_comes_late_to_an_accepted_hour_is_exported_and_nothing_else_of_it(corrected):
    accept(corrected, "--hour", 10)
    late = corrected.add(10, 2)
    assert corrected.done(12)[10] == "late rows exported"
    assert corrected.bigquery()[10] == [*corrected.keys[1:], *late]
    assert corrected.done(13).get(10, "done already") == "done already"


def test_rows_that_come_late_to_an_hour_that_was_accepted_without_any(log):
    log.add(10)
    log.done(11)
    log.database.execute("DELETE FROM past_offer_context")
    for name in log.parts(10) + log.parts(10, "keys"):
        log.blob(name).delete()
    accept(log, "--hour", 10)
    late = log.add(10, 2)
    assert log.done(12)[10] == "late rows exported"
    assert set(late) < set(log.bigquery()[10])


def test_an_hour_with_neither_source_nor_objects_nor_manifest_is_accepted(log):
    """As after the bucket was emptied."""
    log.add(10, 3)
    log.done(11)
    log.database.execute("DELETE FROM past_offer_context")
    for name in log.objects():
        log.blob(name).delete()
    assert "recosync accept past_offer_context --date 20260310 --hour 10" in log.failures(12)[10]
    accept(log, "--hour", 10)
    assert (log.state(10), len(log.bigquery()[10]), log.done(24)[12]) == ("done", 3, "empty")
    assert recosync("verify", log.name, "--from", "20260310", "--to", "20260310").code == 0


def test_an_accepted_hour_is_not_restored_unless_it_is_to_be_replaced(corrected):
    accept(corrected, "--hour", 10)
    restore = ("restore", corrected.name, "--date", "20260310", "--hour", 10, "--json")
    assert recosync(*restore).json["hours"][0]["status"] == "stands already"
    corrected.erase_in_bigquery(10)
    ran = recosync(*restore)
    assert (ran.code, "was accepted by" in ran.json["failed"][0]["error"]) == (1, True)
    assert recosync(*restore, "--replace").json["hours"][0]["status"] == "restored"
    assert corrected.bigquery()[10] == corrected.keys
    assert "accepted" not in corrected.entry(10)


def test_an_hour_that_nobody_exported_is_not_accepted(log):
    log.done(11)
    log.add(12, 3)
    (failed,) = accept(log, "--hour", 12, code=1)["failed"]
    assert "was never exported, so there is nothing to accept. recosync hourly" in failed["error"]
    assert log.state(12) is None


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reason_is_given(corrected, reason):
    before = corrected.entry(10)
    assert "1 to 500 characters" in accept(corrected, "--hour", 10, "--reason", reason, code=2)["error"]
    assert corrected.entry(10) == before


def test_a_day_is_accepted_hour_by_hour(log):
    for hour in (10, 12):
        log.add(hour, 2)
    log.done(14)
    answer = accept(log, "--until", "20260310T14", "--hour", 10)
    assert [(hour["hour"][-2:], hour["rows"]) for hour in answer["hours"]] == [
        ("10", 2),
        ("11", 0),
        ("12", 2),
        ("13", 0),
    ]


def test_a_manifest_without_an_acceptance_is_as_code_of_before_reads_it(log):
    log.add(10)
    log.done(11)
    assert "accepted" not in json.dumps(log.document())
