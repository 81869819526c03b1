"""The daily count of the source: what no call looked for any more, and what belongs to no hour."""

import pytest

from shared.names import Hour
from tests.kit.logs import at, named


@pytest.fixture
def yesterday(log):
    """The log after the first day: hours 22 and 23 are settled, and 22 is behind the window."""
    log.change(start=Hour(at(22)), late_hours=1)
    log.done(24)
    return log


def difference(hour, expected, found):
    return {"hour": str(Hour(at(hour))), "expected": expected, "found": found}


def test_rows_that_came_later_than_anybody_looked_are_reported_and_not_exported(yesterday):
    yesterday.add(22, 2)
    answer = yesterday.call(25)
    assert answer["audit"] == [difference(22, 0, 2)]
    assert yesterday.errors == ["the source holds 2 rows of an hour, 0 were expected"]
    assert yesterday.bigquery() == {}
    assert yesterday.document(1)["audit"]["differences"] == answer["audit"]


def test_it_is_made_once_a_day(yesterday):
    assert yesterday.document(0)["audit"]["differences"] == []
    assert yesterday.call(25)["audit"] == []
    yesterday.add(22)
    assert yesterday.call(26)["audit"] is None
    assert yesterday.errors == []


def test_rows_that_were_deleted_as_asked_are_not_missed_and_others_are(log):
    log.change(start=Hour(at(22)), late_hours=0)
    for hour in (22, 23):
        log.add(hour)
    log.done(24)
    log.done(24, **named(22), delete_from_source=True)
    log.database.execute("DELETE FROM past_offer_context WHERE id = 2")
    assert log.call(25)["audit"] == [difference(23, 1, 0)]
    assert len(log.errors) == 1


def test_rows_without_an_hour_are_reported(log):
    for time in (None, "infinity", "-infinity"):
        log.add(0, date=time)
    answer = log.call(11)
    assert (answer["rows_without_time"], answer["earlier_rows"]) == (3, 0)
    assert log.errors == ["rows without a time in date, which belong to no hour: 3"]
    assert log.bigquery() == {}


def test_rows_of_the_future_are_reported(log):
    for time in ("2099-01-01 00:00:00", "9999-12-31 23:59:59"):
        log.add(0, date=time)
    answer = log.call(11)
    assert (answer["later_rows"], log.bigquery()) == (2, {})
    assert log.errors == ["rows whose date is in the future, which no run exports before that: 2"]
    assert log.document()["audit"]["later_rows"] == 2


def test_a_failed_hour_speaks_for_itself(log):
    log.add(10, offer_stock_price="NaN")
    answer = log.call(11)
    assert (answer["audit"], len(log.errors), len(answer["failed"])) == ([], 1, 1)


def test_a_damaged_manifest_of_a_settled_day_is_rebuilt_when_its_hours_are_counted(yesterday):
    yesterday.add(23)
    yesterday.done(24, **named(23))
    yesterday.done(26)
    blob = yesterday.manifest(0)
    blob.reload()
    settled = blob.metadata
    blob = yesterday.manifest(0)
    blob.metadata = settled
    blob.upload_from_string(b"{}")
    yesterday.done(50)
    assert yesterday.state(23) == "done"
