"""An hour that fails for good: recorded, alerted, stepped over, and taken up again when somebody asks for it."""

import pytest

from tests.hourly import named


@pytest.fixture
def failed(log):
    """The log after a call for hours 10 to 12, of which 11 has a row that can't leave: its key is 2."""
    log.add(10)
    log.add(11, offer_stock_price="NaN")
    log.add(12)
    log.answer = log.call(13, delete_from_source=True)
    return log


def mend(log):
    log.database.execute("UPDATE past_offer_context SET offer_stock_price = 1 WHERE id = 2")


def test_it_is_recorded_and_alerted_and_the_hours_after_it_go_on(failed):
    assert [hour["hour"][-2:] for hour in failed.answer["hours"]] == ["10", "12"]
    (failure,) = failed.answer["failed"]
    assert (failure["hour"], failure["retryable"]) == ("20260310T11", False)
    record = failed.entry(11)
    assert (record["state"], record["failure"]["error"]) == ("failed", failure["error"])
    assert "past_offer_context.offer_stock_price of the row with id 2: " in failure["error"]
    (alert,) = failed.errors
    assert failure["error"] in alert
    assert (failed.bigquery(), failed.source()) == ({10: [1], 12: [3]}, [2])


def test_later_calls_tell_of_it_again_but_neither_alert_nor_work_on_it(failed):
    mend(failed)
    failed.errors.clear()
    answer = failed.call(14)
    assert answer["failed"] == failed.answer["failed"]
    assert "20260310T13" in [hour["hour"] for hour in answer["hours"]]
    assert (failed.state(11), failed.errors) == ("failed", [])


def test_asked_for_by_its_name_it_completes_once_the_row_is_mended(failed):
    assert failed.failures(14, **named(11), recover_missed=False) == {11: failed.answer["failed"][0]["error"]}
    assert (failed.state(11), failed.source()) == ("failed", [2])
    mend(failed)
    assert failed.done(14, **named(11), recover_missed=False, delete_from_source=True) == {11: "exported"}
    assert failed.bigquery() == {10: [1], 11: [2], 12: [3]}
    assert (failed.state(11), failed.source(), len(failed.parts(11))) == ("deleted", [], 1)


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
    mend(log)
    assert log.done(13, **named(10)) == {10: "late rows exported"}
    assert log.bigquery() == {10: [1, 2]}
