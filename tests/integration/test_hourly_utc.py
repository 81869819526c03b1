"""To which hour a row belongs: UTC throughout, whatever the database, the role and daylight saving say."""

from datetime import datetime, timedelta

import psycopg
import pytest

from tests.kit.logs import Log, at, open_log


@pytest.fixture
def paris(here):
    """The log in a database and for a role whose clocks are those of Paris, and whose dates are written day first."""
    with here.cloud.postgres.superuser(here.name) as connection:
        for scope in (f"DATABASE {here.name}", f"ROLE recosync IN DATABASE {here.name}"):
            connection.execute(f"ALTER {scope} SET timezone TO 'Europe/Paris'")
            connection.execute(f"ALTER {scope} SET datestyle TO 'SQL, DMY'")
    with psycopg.connect(here.dsn, autocommit=True) as database, open_log(here, database) as log:
        assert database.execute("SHOW timezone").fetchone() == ("Europe/Paris",)
        yield log


@pytest.mark.parametrize("day", ["20260329", "20261025"], ids=["spring", "autumn"])
def test_an_hour_that_paris_skips_or_repeats_is_an_hour_like_any_other(paris: Log, day: str):
    hour = datetime.strptime(day, "%Y%m%d") + timedelta(hours=2)
    last, next_ = timedelta(minutes=59, seconds=59, microseconds=999_999), timedelta(hours=1)
    times = [hour - timedelta(microseconds=1), hour, hour + timedelta(minutes=30), hour + last, hour + next_]
    for time in times:
        paris.add(0, date=time, offer_creation_date=time)
    answer = paris.call(6000, date=day, hour=2, recover_missed=False)
    assert [(done["hour"], done["rows"]) for done in answer["hours"]] == [(f"{day}T02", 3)]
    rows = paris.rows()
    assert [(row["id"], row["import_date"], row["import_hour"]) for row in rows] == [
        (key, hour.date(), 2) for key in (2, 3, 4)
    ]
    for column in ("date", "offer_creation_date"):
        assert [row[column].replace(tzinfo=None) for row in rows] == times[1:4]


def test_a_row_belongs_to_the_hour_whose_first_instant_it_has(log):
    times = [at(10), at(11) - timedelta(microseconds=1), at(11), at(12) - timedelta(microseconds=1), at(12)]
    for time in times:
        log.add(0, date=time.replace(tzinfo=None))
    assert log.done(12) == {10: "exported", 11: "exported"}
    assert log.bigquery() == {10: [1, 2], 11: [3, 4]}
