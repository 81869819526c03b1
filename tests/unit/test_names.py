"""Names that parse and print."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.daily.names import ManifestName, PartName, SnapshotFolder, SnapshotTable, parse_object_name, snapshots_of
from shared.hourly.names import BatchTable
from shared.names import (
    ADOPTED,
    BatchId,
    Hour,
    JobName,
    SnapshotId,
    TableRef,
    is_identifier,
    parse_day,
)

instants = st.datetimes(timezones=st.just(UTC))
snapshots = st.builds(SnapshotId, instants)
exports = snapshots.filter(lambda snapshot: snapshot != ADOPTED)
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True)
PREFIX = "exports/daily"
FOLDER = SnapshotFolder(PREFIX, "iris_france", SnapshotId.parse("20260102T030405Z"))


@given(snapshots)
def test_a_snapshot_id_reads_back_as_it_prints(snapshot):
    assert SnapshotId.parse(str(snapshot)) == snapshot
    assert len(str(snapshot)) == len("YYYYMMDDTHHMMSSZ")


@given(snapshots, snapshots)
def test_snapshot_ids_order_as_their_texts(one, other):
    assert (one < other) == (str(one) < str(other))


@given(snapshots)
def test_no_snapshot_is_older_than_the_adopted_one(snapshot):
    assert snapshot >= ADOPTED
    assert str(ADOPTED) == "00010101T000000Z"


def test_a_snapshot_id_is_in_utc_and_whole_seconds():
    paris = timezone(timedelta(hours=2))
    assert str(SnapshotId(datetime(2026, 7, 1, 0, 30, 15, 999_999, tzinfo=paris))) == "20260630T223015Z"


def test_a_snapshot_id_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        SnapshotId(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260101",
        "20260101T000000",
        "20260101T000000z",
        "20260230T000000Z",
        "20260101T240000Z",
        "00000101T000000Z",
        "20260101T000000Z\n",
        "\uff12\uff10\uff12\uff160101T000000Z",
    ],
)
def test_what_is_no_snapshot_id_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        SnapshotId.parse(text)


def test_a_day_is_read_and_its_snapshot_is_its_midnight():
    day = parse_day("20240229")
    assert day == date(2024, 2, 29)
    assert str(SnapshotId.midnight(day)) == "20240229T000000Z"


@pytest.mark.parametrize("text", ["2026-01-01", "20260230", "260101", "", "\uff12\uff10\uff12\uff160101"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_day(text)


@given(identifiers, exports, st.integers(1, 10**6), st.from_regex(r"part-[0-9A-Za-z._ -]*\.parquet", fullmatch=True))
def test_a_part_prints_what_it_parsed(table, snapshot, attempt, file):
    folder = SnapshotFolder(PREFIX, table, snapshot)
    name = f"{folder.attempt(attempt)}{file}"
    parsed = parse_object_name(name, PREFIX)
    assert parsed == PartName(folder, str(attempt), file)
    assert str(parsed) == name


@given(identifiers, exports)
def test_a_manifest_prints_what_it_parsed(table, snapshot):
    name = SnapshotFolder(PREFIX, table, snapshot).manifest
    parsed = parse_object_name(name, PREFIX)
    assert parsed == ManifestName(SnapshotFolder(PREFIX, table, snapshot))
    assert str(parsed) == name


@given(st.text())
def test_whatever_parses_prints_the_same_again(rest):
    parsed = parse_object_name(f"{PREFIX}/{rest}", PREFIX)
    assert parsed is None or str(parsed) == f"{PREFIX}/{rest}"


@pytest.mark.parametrize(
    "name",
    [
        "other/daily/iris_france/20260102T030405Z/manifest.json",
        "exports/dailyiris_france/20260102T030405Z/manifest.json",
        "exports/daily/20260102T030405Z/manifest.json",
        "exports/daily/iris_france/20260102/manifest.json",
        "exports/daily/iris_france/00010101T000000Z/manifest.json",
        "exports/daily/iris_france/00010101T000000Z/1/part-0.parquet",
        "exports/daily/iris_france/\uff12\uff10\uff1260102T030405Z/manifest.json",
        "exports/daily/iris_france/20260102T030405Z/1/manifest.json",
        "exports/daily/iris_france/20260102T030405Z/manifest.json/",
        "exports/daily/iris_france/20260102T030405Z/manifest.json.tmp",
        "exports/daily/iris_france/20260102T030405Z/manifest.json\n",
        "exports/daily/iris_france/20260102T030405Z/part-0.parquet",
        "exports/daily/iris_france/20260102T030405Z/1/0.parquet",
        "exports/daily/iris_france/20260102T030405Z/1/part-0.csv",
        "exports/daily/iris_france/20260102T030405Z/1/2/part-0.parquet",
        "exports/daily/iris_france/20260102T030405Z/a b/part-0.parquet",
        "exports/daily/iris_france/20260102T030405Z/",
        "exports/daily/iris-france/20260102T030405Z/manifest.json",
        "exports/daily//20260102T030405Z/manifest.json",
        "exports/daily/exports/daily/iris_france/20260102T030405Z/manifest.json",
        "exports/daily/",
        "exports/daily",
        "",
    ],
)
def test_a_foreign_object_means_nothing(name):
    assert parse_object_name(name, PREFIX) is None


def test_the_parts_of_an_attempt_lie_in_its_folder():
    pattern = FOLDER.part_pattern(2)
    assert pattern == "exports/daily/iris_france/20260102T030405Z/2/part-*.parquet"
    assert parse_object_name(pattern.replace("*", "000000000000"), PREFIX) == PartName(
        FOLDER, "2", "part-000000000000.parquet"
    )


@given(identifiers, snapshots, st.integers(1, 10**9))
def test_a_job_name_is_one_that_bigquery_takes(table, snapshot, attempt):
    name = str(JobName("extract", table, snapshot, attempt))
    assert name == f"recosync-extract-{table}-{snapshot}-{attempt}"
    assert len(name) <= 1024


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("irisCode", True),
        ("_x9", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("", False),
        ("9a", False),
        ("a-b", False),
        ('a"b', False),
        ("é", False),
        ("a\n", False),
    ],
)
def test_an_identifier_needs_no_cutting_and_no_escaping(text, expected):
    assert is_identifier(text) is expected


def test_a_bigquery_table_is_quoted_part_by_part():
    ref = TableRef("my-project", "seed", "iris")
    assert (str(ref), ref.quoted) == ("my-project.seed.iris", "`my-project`.`seed`.`iris`")


numbers = st.integers(1, 10**9 - 1)
batches = st.builds(BatchId, st.builds(Hour, instants), numbers, st.from_regex(r"[0-9a-f]{8}", fullmatch=True))


@given(st.builds(SnapshotTable, identifiers, snapshots, numbers) | st.builds(BatchTable, identifiers, batches, numbers))
def test_a_temporary_table_reads_back_as_it_prints(table):
    assert type(table).parse(str(table)) == table


@pytest.mark.parametrize(
    "name",
    [
        "",
        "enriched_user",
        "enriched_user_20260101T050000Z",
        "enriched_user_20260101T050000Z_01",
        "enriched_user_20260101T050000Z_1_copy",
        "enriched_user_20261301T050000Z_1",
        "2_enriched_20260101T050000Z_1",
        "enriched-user_20260101T050000Z_1",
        "past_offer_context_20260310T10_1_2f0dab47",
        "past_offer_context_20260310T24_1_2f0dab47_1",
        "past_offer_context_20260310T10_1_secret_1",
    ],
)
def test_another_table_of_the_temporary_data_set_is_not_ours(name):
    assert SnapshotTable.parse(name) is BatchTable.parse(name) is None


def test_the_snapshots_of_folders_are_in_their_order_and_other_folders_are_not_ours():
    names = ["20260102T000000Z", "20260101T000000Z", "latest", str(ADOPTED)]
    found = snapshots_of(f"{PREFIX}/iris_france/{name}/" for name in names)
    assert [str(snapshot) for snapshot in found] == ["20260101T000000Z", "20260102T000000Z"]
