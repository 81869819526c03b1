"""An hour that fails for good: recorded, alerted, stepped over, and taken up again when somebody asks for it."""

import pytest

from tests.kit.logs import named


@pytest.fixture
def failed(log):
    """The log after a call for hours 10 and 11, of which 10 has a row that can't leave: its key is 1."""
    log.add(10, offer_stock_price="NaN")
    log.add(11)
    log.answer = log.call(12, delete_from_source=True)
    return log


def mend(log, key=1):
    log.database.execute("UPDATE past_offer_context SET offer_stock_price = 1 WHERE id = %s", [key])


def test_it_is_recorded_and_alerted_once_and_later_hours_go_on(failed):
    assert [hour["hour"] for hour in failed.answer["hours"]] == ["20260310T11"]
    (failure,) = failed.answer["failed"]
    assert (failure["hour"], failure["retryable"]) == ("20260310T10", False)
    record = failed.entry(10)
    assert (record["state"], record["failure"]["error"]) == ("failed", failure["error"])
    assert "past_offer_context.offer_stock_price of the row with id 1: " in failure["error"]
    (alert,) = failed.errors
    assert failure["error"] in alert
    assert (failed.bigquery(), failed.source(), failed.objects("date=20260310/hour=10")) == ({11: [2]}, [1], set())
    mend(failed)
    answer = failed.call(13)
    assert "20260310T12" in [hour["hour"] for hour in answer["hours"]]
    assert (answer["failed"], failed.state(10), failed.errors) == ([failure], "failed", [alert])


def test_asked_for_by_its_name_it_completes_once_the_row_is_mended(failed):
    assert failed.failures(13, **named(10), recover_missed=False) == {10: failed.answer["failed"][0]["error"]}
    assert (failed.state(10), failed.source()) == ("failed", [1])
    mend(failed)
    assert failed.done(13, **named(10), recover_missed=False, delete_from_source=True) == {10: "exported"}
    assert failed.bigquery() == {10: [1], 11: [2]}
    assert (failed.state(10), failed.source(), len(failed.parts(10))) == ("deleted", [], 1)


def test_the_last_ended_hour_is_not_asked_for_by_name_so_a_repeated_call_only_tells_of_its_failure(log):
    log.add(10, offer_stock_price="NaN")
    error = log.failures(11)[10]
    mend(log)
    log.errors.clear()
    assert log.failures(11) == {10: error}
    assert log.errors == []


def test_late_rows_that_cannot_leave_fail_an_hour_that_was_done_and_its_batches_stand(log):
    log.add(10)
    log.done(11)
    log.add(10, offer_stock_price="NaN")
    log.call(12)
    assert (log.state(10), log.bigquery()) == ("failed", {10: [1]})
    assert len(log.errors) == 1
    mend(log, 2)
    assert log.done(13, **named(10)) == {10: "late rows exported"}
    assert log.bigquery() == {10: [1, 2]}
