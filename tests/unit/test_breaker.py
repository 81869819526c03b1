"""The circuit breaker's judgement: what is too unlike what readers see."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.catalog import Column, Limits, PgType, Source, Table
from shared.daily.breaker import Facts, reasons
from shared.rows.profile import ColumnProfile, Profile

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def table(**limits):
    columns = (Column("id", PgType.VARCHAR), Column("place", PgType.NUMERIC))
    limits = {"null_share": {"id": 0.0}} | limits
    return Table("t", Source.parse("d.t"), columns, key=("id",), limits=Limits(**limits))


def facts(rows=10_000, *, ids=None, places=None, duplicates=0, modified=NOON - timedelta(hours=1)):
    counts = {"id": rows if ids is None else ids, "place": rows if places is None else places}
    profile = Profile(rows, {name: ColumnProfile(count) for name, count in counts.items()})
    return Facts(profile, duplicates, modified, NOON)


@pytest.mark.parametrize("rows", [7_000, 10_000, 20_000])
def test_a_change_within_the_limits_is_none_of_its_business(rows):
    assert reasons(table(), facts(rows), facts()) == []


@pytest.mark.parametrize(
    ("rows", "words"), [(6_999, "30.0% fewer than the 10,000"), (20_001, "100.0% more"), (0, "fewer")]
)
def test_too_few_and_too_many_rows_are_told_with_the_limit(rows, words):
    (reason,) = reasons(table(), facts(rows), facts())
    assert words in reason
    assert "the limit is" in reason


def test_the_limits_are_the_catalogs():
    assert reasons(table(shrink=0.5), facts(6_000), facts()) == []
    assert len(reasons(table(growth=0.1), facts(12_000), facts())) == 1


def test_a_small_table_may_change_by_any_share():
    assert reasons(table(), facts(10), facts(1_000)) == []
    assert len(reasons(table(), facts(0), facts(1_000))) == 1


def test_a_column_that_loses_its_values_is_told():
    limits = {"null_share": {"place": 0.2}}
    assert reasons(table(**limits), facts(places=8_000), facts()) == []
    assert reasons(table(**limits), facts(places=7_000), facts(places=9_000)) == []
    (reason,) = reasons(table(**limits), facts(places=7_900), facts())
    assert reason == "21.00% of place are NULL, 0.00% in what is published; the limit is 20.00% more"


def test_a_key_may_not_lose_a_value_or_gain_a_duplicate():
    assert len(reasons(table(), facts(ids=9_999), facts())) == 1
    (reason,) = reasons(table(), facts(duplicates=3), facts())
    assert reason == "3 rows with the key (id) of another, 0 in what is published"
    (reason,) = reasons(table(), facts(duplicates=3), None)
    assert reason == "3 rows with the key (id) of another"
    assert reasons(table(duplicate_keys=3), facts(duplicates=3), facts()) == []


def test_what_readers_have_already_is_no_news():
    assert reasons(table(), facts(ids=9_000, duplicates=5), facts(ids=9_000, duplicates=5)) == []


def test_a_first_snapshot_is_judged_by_its_key_and_age_alone():
    assert reasons(table(null_share={"place": 0.0}), facts(5, places=0), None) == []
    assert len(reasons(table(), facts(ids=9_999, duplicates=1), None)) == 2


def test_a_source_that_nobody_has_filled_is_told():
    old = facts(modified=NOON - timedelta(hours=49))
    assert reasons(table(), old, None) == []
    (reason,) = reasons(table(source_age=48), old, None)
    assert reason == "its source was last changed at 2025-12-31 11:00 UTC; the limit is 48 h before the export"


def test_a_source_that_went_back_in_time_is_told():
    (reason,) = reasons(table(), facts(modified=NOON - timedelta(hours=3)), facts())
    assert "09:00 UTC, that of what is published at 2026-01-02 11:00 UTC" in reason


def test_readers_who_have_a_source_as_old_are_not_kept_from_it():
    old = facts(modified=NOON - timedelta(hours=49))
    assert reasons(table(source_age=48), old, old) == []


def test_what_nobody_counted_of_the_published_trips_nothing():
    unknown = Facts(Profile(10_000), None, None, None)
    assert reasons(table(), facts(ids=9_000, duplicates=5), unknown) == []
    assert len(reasons(table(), facts(6_000), unknown)) == 1


def test_what_is_not_known_trips_nothing():
    unknown = Facts(Profile(10_000), None, None, None)
    assert reasons(table(source_age=1), unknown, unknown) == []
    assert reasons(table(source_age=1), facts(), unknown) == []
