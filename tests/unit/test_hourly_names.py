"""Names of the hourly flow that parse and print."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hourly.names import BatchFile, Kind, LogFolder
from shared.names import BatchId, Hour, JobName, PartitionRef, TableRef

FOLDER = LogFolder("exports/hourly", "past_offer_context")
HOUR = Hour.parse("20260102T03")
BATCH = BatchId(HOUR, 2, "0a1b2c3d")

hours = st.builds(Hour, st.datetimes(timezones=st.just(UTC)))
days = st.dates(date(1970, 1, 1), date(9999, 12, 30))
batches = st.builds(BatchId, hours, st.integers(1, 10**6), st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
folders = st.builds(
    LogFolder,
    st.from_regex(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+){0,2}", fullmatch=True),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True),
)


@given(hours)
def test_an_hour_reads_back_as_it_prints(hour):
    assert Hour.parse(str(hour)) == hour
    assert len(str(hour)) == len("YYYYMMDDTHH")


@given(hours, hours)
def test_hours_order_as_their_texts(one, other):
    assert (one < other) == (str(one) < str(other))


def test_an_hour_is_in_utc_and_begins_on_the_hour():
    hour = Hour(datetime(2026, 7, 1, 0, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30))))
    assert (str(hour), hour.day, hour.number) == ("20260630T19", date(2026, 6, 30), 19)
    assert (hour.start, hour.end) == (datetime(2026, 6, 30, 19, tzinfo=UTC), datetime(2026, 6, 30, 20, tzinfo=UTC))


def test_hours_follow_each_other_across_midnight():
    assert [str(hour) for hour in HOUR.plus(-4).until(HOUR.plus(-2))] == ["20260101T23", "20260102T00"]
    assert HOUR.until(HOUR) == []


def test_an_hour_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        Hour(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260101",
        "20260101T24",
        "20260230T00",
        "20260101T000000Z",
        "20260101t00",
        "20260101T00\n",
        "00000101T00",
        "2026-01-01T00",
        "\uff12\uff10\uff12\uff160101T00",
    ],
)
def test_what_is_no_hour_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Hour.parse(text)


@given(days)
def test_a_partition_is_never_named_without_its_day(day):
    table = TableRef("my-project", "raw_dev", "past_offer_context")
    name = str(PartitionRef(table, day))
    assert name.startswith(f"{table}$")
    assert len(name) == len(f"{table}$YYYYMMDD")


def test_a_partition_is_decorated_with_its_day():
    assert str(PartitionRef(TableRef("p", "raw_dev", "t"), date(2026, 1, 2))) == "p.raw_dev.t$20260102"


def test_a_load_job_is_named_after_its_batch_and_attempt():
    assert str(JobName("load", "t", BATCH, 3)) == "recosync-load-t-20260102T03-2-0a1b2c3d-3"


@given(batches, batches, st.integers(1, 9), st.integers(1, 9))
def test_no_two_batches_or_attempts_share_a_job(one, other, attempt, later):
    names = {str(JobName("load", "t", batch, number)) for batch in (one, other) for number in (attempt, later)}
    assert len(names) == len({one, other}) * len({attempt, later})


@given(folders, st.sampled_from(Kind), batches, st.integers(0, 99))
def test_a_batch_file_reads_back_as_it_prints(folder, kind, batch, index):
    file = BatchFile(folder, kind, batch, index)
    assert BatchFile.parse(str(file), folder) == file
    assert str(file).startswith(folder.hour(batch.hour))
    assert folder.hour(batch.hour).startswith(folder.day(batch.hour.day))


def test_a_part_says_in_its_name_whose_it_is():
    assert str(BatchFile(FOLDER, Kind.PART, BATCH, 1)) == (
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-2-0a1b2c3d-1.parquet"
    )


@given(st.text())
def test_whatever_parses_prints_the_same_again(rest):
    file = BatchFile.parse(f"{FOLDER}/{rest}", FOLDER)
    assert file is None or str(file) == f"{FOLDER}/{rest}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "exports/hourly/past_offer_context",
        "exports/hourly/past_offer_context/",
        "exports/hourly/past_offer_contextdate=20260102/hour=03/part-1-0a-0.parquet",
        "exports/hourly/other/date=20260102/hour=03/part-1-0a-0.parquet",
        "exports/hourly/past_offer_context/manifests/20260102.json",
        "exports/hourly/past_offer_context/date=20260102/hour=24/part-1-0a-0.parquet",
        "exports/hourly/past_offer_context/date=20260230/hour=03/part-1-0a-0.parquet",
        "exports/hourly/past_offer_context/date=20260102/hour=3/part-1-0a-0.parquet",
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-01-0a-0.parquet",
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-1-0A-0.parquet",
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-1-0a.parquet",
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-1-0a-0.parquet.tmp",
        "exports/hourly/past_offer_context/date=20260102/hour=03/part-1-0a-0.parquet\n",
        "exports/hourly/past_offer_context/date=20260102/hour=03/rows-1-0a-0.parquet",
        "exports/hourly/past_offer_context/date=\uff12\uff10260102/hour=03/part-1-0a-0.parquet",
    ],
)
def test_a_foreign_object_means_nothing(name):
    assert BatchFile.parse(name, FOLDER) is None


@given(folders, days)
def test_a_manifest_is_named_after_its_day(folder, day):
    name = folder.manifest(day)
    assert folder.day_of(name) == day
    assert name.startswith(folder.manifests)


@pytest.mark.parametrize(
    "name",
    [
        "exports/hourly/past_offer_context/manifests/",
        "exports/hourly/past_offer_context/manifests/20260102",
        "exports/hourly/past_offer_context/manifests/20260230.json",
        "exports/hourly/past_offer_context/manifests/00010101.json",
        "exports/hourly/past_offer_context/manifests/99991231.json",
        "exports/hourly/past_offer_context/manifests/20260102.json.json",
        "exports/hourly/past_offer_context/manifests/old/20260102.json",
        "exports/hourly/past_offer_context/damaged/20260102-1.json",
        "exports/hourly/other/manifests/20260102.json",
        "20260102.json",
    ],
)
def test_any_other_object_is_no_manifest(name):
    assert FOLDER.day_of(name) is None


def test_a_damaged_manifest_is_kept_where_none_is_looked_for():
    name = FOLDER.damaged(date(2026, 1, 2), 17)
    assert name == "exports/hourly/past_offer_context/damaged/20260102-17.json"
    assert not name.startswith(FOLDER.manifests)
    assert BatchFile.parse(name, FOLDER) is None
