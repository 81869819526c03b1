"""What hourly_export writes for the alerts: it says that something waits until that has ended."""

from datetime import UTC, datetime, timedelta

import pytest

from local import context
from shared.names import Hour, SnapshotId
from tests.kit.commands import recosync
from tests.kit.snapshots import TABLE, bookings
from tests.kit.uploads import Upload, arrive

#: A table is older than that it was never published only after a year.
TWO_DAYS_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)


@pytest.fixture
def told(here, services, database, monkeypatch):
    """Call the function; what it has written last of a metric."""
    from functions.hourly_export.main import _tell_gauges
    from shared.services import HourlyServices

    monkeypatch.setenv("HOURLY_START", "20260310T10")

    def told(name):
        _tell_gauges(HourlyServices.from_environment())
        return here.cloud.monitoring.series.last(here.project, name)

    return told


def snapshot(services, number, users):
    made = Upload(services, TABLE, SnapshotId(TWO_DAYS_AGO + timedelta(hours=number)))
    made.part(bookings(services, [str(user) for user in range(users)]))
    return arrive(services, made.manifest())


def test_a_snapshot_is_held_until_somebody_decides(services, told):
    assert snapshot(services, 1, 1) == ["published"]
    assert told("table_held")[TABLE] == 0
    assert snapshot(services, 2, 1_500) == ["held"]
    assert told("table_held")[TABLE] == told("table_held")[TABLE] == 1
    assert recosync("reject", TABLE).code == 0
    assert told("table_held")[TABLE] == 0


def test_a_failure_waits_until_it_is_acknowledged(services, database, told):
    assert snapshot(services, 1, 1) == ["published"]
    assert told("failures")[""] == 0
    database.execute(
        "INSERT INTO recosync.failure (kind, table_name, snapshot_id, subject, message)"
        " VALUES ('DataError', %s, %s, 'part', 'a part is gone')",
        [TABLE, str(SnapshotId(TWO_DAYS_AGO + timedelta(hours=2)))],
    )
    assert told("failures")[""] == told("failures")[""] == 1
    assert recosync("acknowledge", TABLE, "--reason", "it was exported again").code == 0
    assert told("failures")[""] == 0


def test_a_table_ages_and_one_that_was_never_published_is_older_than_any_limit(services, told):
    assert snapshot(services, 1, 1) == ["published"]
    ages = told("table_age_seconds")
    assert 86_400 < ages[TABLE] < min(age for table, age in ages.items() if table != TABLE)


def test_before_the_first_import_nobody_is_woken_for_what_can_not_be_read(told, caplog):
    caplog.set_level("WARNING", logger="recosync")
    assert told("failures") == {}
    assert {record.levelname for record in caplog.records if "lacks a part" in record.getMessage()} == {"WARNING"}


def test_an_hour_fails_until_it_is_mended(here, database, told, monkeypatch):
    hour = Hour(datetime.now(UTC)).plus(-1)
    monkeypatch.setenv("HOURLY_START", str(hour))
    context.create(here.dsn)
    at = (hour.start + timedelta(minutes=30)).replace(tzinfo=None)
    database.execute("INSERT INTO past_offer_context (date, offer_stock_price) VALUES (%s, 'NaN')", [at])
    asked = ("hourly", "--date", f"{hour.start:%Y%m%d}", "--hour", hour.number)
    assert recosync(*asked).code == 1
    assert (told("log_hours_failed"), told("log_gaps")) == ({"past_offer_context": 1}, {"past_offer_context": 0})
    assert told("log_age_seconds")["past_offer_context"] > 86_400
    database.execute("UPDATE past_offer_context SET offer_stock_price = 1")
    assert recosync(*asked).code == 0
    assert told("log_hours_failed") == {"past_offer_context": 0}
    assert told("log_age_seconds")["past_offer_context"] < 7_200
