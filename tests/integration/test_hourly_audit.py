"""The daily count of the source: what no call looked for any more, and what belongs to no hour."""

from datetime import timedelta

import pytest

from shared.hourly import audit
from shared.names import Hour
from shared.operate.status import collect
from shared.rows.log_table import LogTable
from tests.kit import clocks
from tests.kit.commands import recosync
from tests.kit.logs import at, named


@pytest.fixture
def yesterday(log):
    """The log after the first day: hours 22 and 23 are settled, and 22 is behind the window."""
    log.change(start=Hour(at(22)), late_hours=1)
    log.done(24)
    return log


def difference(hour, expected, found):
    return {"hour": str(Hour(at(hour))), "expected": expected, "found": found}


def test_rows_that_came_later_than_anybody_looked_are_reported_and_not_exported(yesterday, monkeypatch):
    monkeypatch.setenv("HOURLY_START", "20260310T22")
    yesterday.add(22, 2)
    answer = yesterday.call(25)
    assert answer["audit"] == [difference(22, 0, 2)]
    export = "recosync hourly --table-name past_offer_context --date 20260310 --hour 22"
    assert yesterday.errors == [f"the source holds 2 rows of an hour, 0 were expected. To export them: {export}"]
    assert yesterday.bigquery() == {}
    assert yesterday.document(1)["audit"]["differences"] == answer["audit"]
    report = collect.gather(yesterday.services, at(26))
    assert "1 hour with another count in the source" in report.summary
    assert recosync(*report.logs[0].audit.export.split()[1:]).code == 0
    assert yesterday.bigquery() == {22: [1, 2]}
    report = collect.gather(yesterday.services, at(26))
    assert ("another count" in report.summary, report.logs[0].audit.export) == (False, None)


def test_they_are_reported_until_they_are_exported_however_old_they_are(yesterday, monkeypatch):
    monkeypatch.setattr(audit, "DAYS", 1)
    yesterday.add(22, 2)
    assert yesterday.call(25)["audit"] == [difference(22, 0, 2)]
    for day in (2, 3):
        assert yesterday.call(24 * day + 1)["audit"] == [difference(22, 0, 2)]
    yesterday.done(74, **named(22))
    assert yesterday.call(97)["audit"] == []


def test_what_the_next_call_exports_is_no_difference(yesterday):
    yesterday.change(late_hours=3)
    yesterday.add(22, 2)
    assert yesterday.call(25)["audit"] == []
    assert yesterday.bigquery() == {22: [1, 2]}


def test_rows_of_a_deleted_hour_that_are_back_are_told_for_a_week_and_not_exported(yesterday, monkeypatch):
    monkeypatch.setattr(audit, "DAYS", 1)
    yesterday.add(23, 2)
    yesterday.done(24, **named(23), delete_from_source=True)
    yesterday.change(late_hours=0)
    yesterday.add(23, id=1)
    assert yesterday.call(25)["audit"] == [difference(23, 0, 1)]
    assert yesterday.errors == ["the source holds 1 row of an hour, 0 were expected"]
    assert collect.gather(yesterday.services, at(26)).logs[0].audit.export is None
    assert yesterday.call(49)["audit"] == []


def test_an_hour_that_fails_meanwhile_is_told_of_again_later(yesterday, monkeypatch):
    monkeypatch.setattr(audit, "DAYS", 1)
    yesterday.add(22, 2)
    assert yesterday.call(25)["audit"] == [difference(22, 0, 2)]
    yesterday.add(22, offer_stock_price="NaN")
    assert len(yesterday.failures(26, **named(22))) == 1
    assert yesterday.call(49)["audit"] == [difference(22, 0, 2)]


def test_that_nobody_could_count_for_days_is_an_error(yesterday, monkeypatch):
    monkeypatch.setattr(LogTable, "rows_of", lambda *_: None)
    assert (yesterday.call(25)["audit"], yesterday.errors) == (None, [])
    monkeypatch.setattr(audit, "datetime", clocks.later(timedelta(days=3)))
    assert yesterday.call(26)["audit"] is None
    (told,) = yesterday.errors
    assert told.startswith("no time to count the source since 20")


def test_it_is_made_once_a_day(yesterday):
    assert yesterday.document(0)["audit"]["differences"] == []
    assert yesterday.call(25)["audit"] == []
    yesterday.add(22)
    assert yesterday.call(26)["audit"] is None
    assert yesterday.errors == []


def test_whoever_asks_for_the_newest_hour_by_its_name_has_it_made_too(yesterday):
    assert yesterday.call(25, **named(23))["audit"] is None
    yesterday.add(22)
    assert yesterday.call(25, **named(24))["audit"] == [difference(22, 0, 1)]
    assert yesterday.call(26, **named(25))["audit"] is None


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


def test_rows_that_bigquery_has_lost_are_reported_and_told_until_they_are_back(log, monkeypatch):
    monkeypatch.setenv("HOURLY_START", "20260310T22")
    log.change(start=Hour(at(22)), late_hours=0)
    for hour in (22, 23):
        log.add(hour, 3)
    log.done(24)
    log.erase_in_bigquery(22)
    answer = log.call(25)
    assert (answer["audit"], answer["audit_bigquery"]) == ([], [difference(22, 3, 0)])
    restore = "recosync restore past_offer_context --date 20260310 --hour 22"
    assert log.errors == [f"BigQuery holds 0 rows of an hour, 3 were verified. To load it again: {restore}"]
    report = collect.gather(log.services, at(26))
    assert "1 hour with another count in BigQuery" in report.summary
    (told,) = report.logs
    assert told.audit.restore == f"{restore} --until 20260310T23"
    assert recosync(*told.audit.restore.split()[1:]).code == 0
    report = collect.gather(log.services, at(26))
    assert "another count" not in report.summary
    assert report.logs[0].audit.restore is None


def test_an_hour_of_other_keys_in_bigquery_is_reported(yesterday):
    yesterday.add(23)
    yesterday.done(24, **named(23))
    yesterday.erase_in_bigquery(23)
    yesterday.load_by_hand(23, 77)
    assert yesterday.call(25)["audit_bigquery"] == [difference(23, 1, 1)]


def test_an_audit_without_losses_is_as_code_of_before_reads_it(yesterday):
    assert yesterday.call(25)["audit_bigquery"] == []
    assert "in_bigquery" not in yesterday.document(1)["audit"]
