"""Rows that can't leave: their hour fails for good, and says which row and column, but not what is in it."""

import pytest

from tests.kit.logs import START, block, create, named, place

COLUMNS = {
    "num": "numeric NUMERIC",
    "strict": "numeric NUMERIC refuse",
    "big": "numeric BIGNUMERIC",
    "big_strict": "numeric BIGNUMERIC refuse",
    "float": "numeric FLOAT64",
    "day": "date DATE",
    "local": "timestamp DATETIME",
    "instant": "timestamp TIMESTAMP",
    "zoned": "timestamptz TIMESTAMP",
    "clock": "time TIME",
    "tags": "text[] ARRAY<STRING>",
    "days": "date[] ARRAY<DATE> empty",
    "nums": "numeric(12,9)[] ARRAY<NUMERIC>",
    "strict_nums": "numeric[] ARRAY<NUMERIC> refuse",
}
#: What arrays that do not say otherwise are in each row that is not about them.
FULL = {"tags": [], "nums": [], "strict_nums": []}
NONE = "holds what no {} can be"
LIST = f"{NONE}: it may have a NULL in it, or several dimensions"
NULL = (
    f"""{NONE}: it may be NULL (null_array = "empty" makes it an empty one), have a NULL in it, or several dimensions"""
)
#: A value of a column, and what is wrong with it.
BAD = [
    ("num", "NaN", NONE.format("NUMERIC")),
    ("num", f"{'9' * 29}.9999999995", NONE.format("NUMERIC")),
    ("strict", "1.2345678901", "has more than 9 digits after the point"),
    ("big", "-1e39", NONE.format("BIGNUMERIC")),
    ("big_strict", f"0.{'1' * 39}", "has more than 38 digits after the point"),
    ("float", "1e309", NONE.format("FLOAT64")),
    ("day", "infinity", NONE.format("DATE")),
    ("day", "0001-01-01 BC", NONE.format("DATE")),
    ("local", "-infinity", NONE.format("DATETIME")),
    ("local", "10000-01-01 00:00", NONE.format("DATETIME")),
    ("instant", "0044-03-15 12:00 BC", NONE.format("TIMESTAMP")),
    ("instant", "294276-12-31", NONE.format("TIMESTAMP")),
    ("zoned", "infinity", NONE.format("TIMESTAMP")),
    ("zoned", "0044-03-15 12:00+00 BC", NONE.format("TIMESTAMP")),
    ("clock", "24:00:00", NONE.format("TIME")),
    ("tags", None, NULL.format("ARRAY<STRING>")),
    ("tags", "{here,NULL}", NULL.format("ARRAY<STRING>")),
    ("tags", "{{one,two},{three,four}}", NULL.format("ARRAY<STRING>")),
    ("days", "{2026-01-01,infinity}", LIST.format("ARRAY<DATE>")),
    ("days", "{NULL}", LIST.format("ARRAY<DATE>")),
    ("days", "{{2026-01-01}}", LIST.format("ARRAY<DATE>")),
    ("nums", "{1,NaN}", NULL.format("ARRAY<NUMERIC>")),
    ("strict_nums", "{1,0.1234567891}", "has more than 9 digits after the point"),
]
FIRST = 24
MIXED = FIRST + len(BAD)


@pytest.fixture(scope="module")
def refused(cloud, tmp_path_factory):
    """A log with a bad row among good ones in each of these hours, and in one with several; all were asked for."""
    with place(cloud, "hourly-refused", tmp_path_factory.mktemp("catalog"), block("bad", COLUMNS)) as log:
        log.name = "bad"
        create(log)
        keys = {}
        for hour, (column, value, _) in enumerate(BAD, FIRST):
            log.add(hour, 3, **FULL)
            (keys[hour],) = log.add(hour, **FULL | {column: value})
        log.add(MIXED, 3, **FULL)
        log.mixed = log.add(MIXED, **FULL, day="infinity", num="NaN")
        log.mixed += log.add(MIXED, **FULL, strict="0.1234567891", float="1e400")
        log.keys, log.failed = keys, log.failures(MIXED + 1, **named(FIRST, MIXED + 1), recover_missed=False)
        log.said = tuple(log.errors)
        yield log


@pytest.mark.parametrize("index", range(len(BAD)), ids=[f"{column} {value}" for column, value, _ in BAD])
def test_a_value_that_bigquery_cannot_hold_is_named_by_its_row_and_column(refused, index):
    column, value, what = BAD[index]
    hour = FIRST + index
    assert f"bad.{column} of the row with n {refused.keys[hour]}: {what}" in refused.failed[hour]
    assert value is None or value not in refused.failed[hour]


def test_one_of_several_bad_columns_is_named_with_its_row(refused):
    assert any(f"of the row with n {key}: " in refused.failed[MIXED] for key in refused.mixed)


def test_nothing_of_an_hour_with_a_bad_row_leaves(refused):
    assert refused.rows() == []
    assert all(refused.entry(hour)["state"] == "failed" for hour in refused.failed)
    assert {(hour, refused.entry(hour)["failure"]["error"]) for hour in refused.failed} == set(refused.failed.items())


def test_no_value_is_in_the_log(refused):
    assert len(refused.said) == len(refused.failed)
    said = "".join(refused.said)
    assert not any(value in said for _, value, _ in BAD if value and len(value) > 3)


def test_every_column_of_very_many_is_looked_at(cloud, tmp_path):
    columns = {f"c{number}": "numeric NUMERIC" for number in range(70)}
    with place(cloud, "hourly-wide", tmp_path, block("wide", columns)) as log:
        log.name = "wide"
        create(log)
        seen = ["c0", "c30", "c31", "c61", "c62", "c69"]
        log.add(START, **dict.fromkeys(seen, "0.00000000005"))
        log.add(START, c31="1e-10", c0="7")
        for hour, column in enumerate(["c31", "c69"], START + 1):
            log.add(hour, **{column: "NaN"})
        answer = log.call(START + 3)
        assert answer["hours"][0]["rounded"] == dict.fromkeys(seen, 1) | {"c31": 2}
        assert log.entry(START)["batches"][0]["export"]["rounded"] == answer["hours"][0]["rounded"]
        assert [failure["error"].split(" of ")[0] for failure in answer["failed"]] == ["wide.c31", "wide.c69"]


def test_rounded_values_are_counted_by_column(log):
    log.add(10, offer_stock_price="1.00000000005", offer_user_distance="2.5")
    log.add(10, offer_stock_price="-0.0000000005", offer_user_distance="1.0000000000")
    log.add(10, offer_stock_price="3.999999999", offer_item_score="0.12345678901234567890")
    (hour,) = log.call(11)["hours"]
    assert hour["rounded"] == {"offer_stock_price": 2}
    assert log.entry(10)["batches"][0]["export"]["rounded"] == {"offer_stock_price": 2}
    assert [str(row["offer_stock_price"]) for row in log.rows()] == ["1", "-1E-9", "3.999999999"]


def test_the_time_of_a_row_is_its_hours_so_other_times_are_never_read(log):
    for time in ("infinity", "-infinity", "0044-03-15 12:00 BC", None):
        log.add(0, date=time)
    key = log.add(10)
    log.done(11)
    assert log.bigquery() == {10: key}
