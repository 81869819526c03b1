"""Profiles: what they say of Arrow batches, how they add up, and where they contradict each other."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shared.catalog import Column, PgType
from shared.rows.casts import Cast
from shared.rows.profile import ColumnProfile, Profile, Tap

COLUMNS = (
    Column("text", PgType.VARCHAR),
    Column("small", PgType.SMALLINT),
    Column("big", PgType.BIGINT),
    Column("flag", PgType.BOOLEAN),
    Column("price", PgType.NUMERIC),
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("small", pa.int16()),
        ("big", pa.int64()),
        ("flag", pa.bool_()),
        ("price", pa.decimal128(38, 9)),
    ]
)
ROWS = [
    {"text": "é", "small": 32_767, "big": 2**63 - 1, "flag": True, "price": 1},
    {"text": "", "small": 32_767, "big": 2**63 - 1, "flag": False, "price": None},
    {"text": None, "small": None, "big": None, "flag": None, "price": None},
]
PROFILE = Profile(
    3,
    {
        "text": ColumnProfile(2, 2),
        "small": ColumnProfile(2, 65_534),
        "big": ColumnProfile(2, 2**64 - 2),
        "flag": ColumnProfile(2, 1),
        "price": ColumnProfile(1, None),
    },
)


#: Of which the last two are made by casts.
PLAN = [
    *(Cast(column, f'"{column.name}"', "") for column in COLUMNS[:-2]),
    *(Cast(column, "", "") for column in COLUMNS[-2:]),
]


def tapped(*batches):
    tap = Tap(PLAN)
    given = [pa.RecordBatch.from_pylist(rows, schema=SCHEMA) for rows in batches]
    assert list(tap.through(with_missing(batch, batch) for batch in given)) == given
    return tap.profile


def with_missing(values, file):
    """Values, and of those that were cast, which rows of the file have NULL."""
    cast = [name for name, cast in zip(file.schema.names, PLAN, strict=True) if not cast.passes]
    missing = [pc.is_null(file.column(name)) for name in cast]
    return pa.RecordBatch.from_arrays(
        values.columns + missing, [*values.schema.names, *(f"{name} IS NULL" for name in cast)]
    )


def test_what_is_null_is_counted_in_the_file_and_not_after_the_cast():
    tap = Tap(PLAN)
    lost = pa.RecordBatch.from_pylist([row | {"flag": None, "price": None} for row in ROWS], schema=SCHEMA)
    file = pa.RecordBatch.from_pylist(ROWS, schema=SCHEMA)
    list(tap.through(batch for batch in [with_missing(lost, file)]))
    assert [column.values for column in tap.profile.columns.values()] == [2, 2, 2, 2, 1]


def test_batches_are_counted_on_their_way():
    assert tapped(ROWS) == PROFILE
    assert tapped(ROWS[:1], [], ROWS[1:]) == PROFILE
    assert tapped() == Profile(0, {c.name: ColumnProfile(0, None if c.name == "price" else 0) for c in COLUMNS})


def test_a_profile_survives_json():
    assert Profile.from_json(json.loads(json.dumps(PROFILE.to_json()))) == PROFILE


@pytest.mark.parametrize(
    "document", [{}, {"rows": -1, "columns": {}}, {"rows": 1, "columns": {"a": {"values": "1", "sum": 0}}}, []]
)
def test_anything_else_is_no_profile(document):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Profile.from_json(document)


def test_profiles_that_agree_differ_in_nothing():
    assert PROFILE.differences(PROFILE) == []
    assert PROFILE.differences(Profile(3)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": ColumnProfile(2, 3)}, "different contents of text"),
        ({"price": ColumnProfile(2, None)}, "1 value of price and 2"),
    ],
)
def test_a_contradiction_names_the_column_and_no_value(change, words):
    assert PROFILE.differences(Profile(3, {**PROFILE.columns, **change})) == [words]


def test_rows_that_differ_are_told():
    assert PROFILE.differences(Profile(4)) == ["3 rows and 4"]
