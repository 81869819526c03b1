"""What a BigQuery table holds arrives in PostgreSQL value by value, by way of an export."""

from datetime import UTC, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from shared.errors import DataError, DriftError
from tests.kit.typed_tables import TABLE, place, skip_without_pgvector


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "travel", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    shared_place.empty()
    return shared_place


def literals(*values: str) -> str:
    """The query of a column `c` of these literals, and a NULL, with their numbers."""
    rows = (f"SELECT {number} AS n, {value} AS c" for number, value in enumerate((*values, "NULL")))
    return " UNION ALL ".join(rows)


ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
#: The greatest NUMERIC, and the greatest BIGNUMERIC that the emulated BigQuery has.
N_MAX, B_MAX = f"{'9' * 29}.{'9' * 9}", f"{'9' * 20}.{'9' * 18}"
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

#: By PostgreSQL type, and what it is made from: literals of BigQuery, and the values that they are.
VALUES = {
    ("timestamptz", "TIMESTAMP"): {f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}+00'": at for at in (FIRST, LAST)},
    ("time", "TIME"): {"TIME '00:00:00'": time(), "TIME '23:59:59.999999'": time(23, 59, 59, 999_999)},
    ("interval", "INTERVAL"): {
        "INTERVAL '-1-2 3 -4:5:6.789' YEAR TO SECOND": "-1 years -2 mons +3 days -04:05:06.789",
        "INTERVAL 10000 YEAR": "10000 years",
        "INTERVAL -3660000 DAY": "-3660000 days",
        "INTERVAL 0 DAY": "00:00:00",
    },
    ("jsonb", "STRUCT"): {
        "STRUCT(1 AS a, STRUCT('x' AS c) AS b, [1.5] AS d)": {"a": 1, "b": {"c": "x"}, "d": [1.5]},
        "STRUCT(NULL AS a, STRUCT(CAST(NULL AS STRING) AS c) AS b, [0.5] AS d)": {
            "a": None,
            "b": {"c": None},
            "d": [0.5],
        },
    },
    ("jsonb", "ARRAY<STRUCT>"): {"[STRUCT(1 AS a), STRUCT(2 AS a)]": [{"a": 1}, {"a": 2}]},
    ("jsonb", "RANGE"): {
        "RANGE(DATE '2026-01-01', DATE '9999-12-31')": {"start": "2026-01-01", "end": "9999-12-31"},
        "RANGE(DATE '2026-01-01', NULL)": {"start": "2026-01-01", "end": None},
    },
    ("text[]", "ARRAY<STRING>"): {"['', 'été']": ["", "été"], "CAST([] AS ARRAY<STRING>)": []},
    ("bigint[]", "ARRAY<INT64>"): {f"[{2**63 - 1}, {-(2**63) + 1}]": [2**63 - 1, -(2**63) + 1]},
    ("timestamptz[]", "ARRAY<TIMESTAMP>"): {f"[TIMESTAMP '{LAST:%Y-%m-%d %H:%M:%S.%f}+00']": [LAST]},
    ("numeric[]", "ARRAY<BIGNUMERIC>"): {
        f"[BIGNUMERIC '{B_MAX}', BIGNUMERIC '-1e-18']": [Decimal(B_MAX), Decimal("-1e-18")]
    },
    ("vector(2)", "ARRAY<FLOAT64>"): {"[0.5, -2.0]": "[0.5,-2]"},
    ("halfvec(2)", "ARRAY<FLOAT64>"): {"[0.5, 65504.0]": "[0.5,65504]"},
    ("interval[]", "ARRAY<INTERVAL>"): {
        "[INTERVAL 3 DAY, INTERVAL '-1-2' YEAR TO MONTH]": '{"3 days","-1 years -2 mons"}'
    },
    ("bytea", "BYTES"): {"b''": b"", "FROM_HEX('00ff')": b"\0\xff"},
    ("uuid", "STRING"): {f"'{ID}'": UUID(ID), f"'{ID.upper()}'": UUID(ID)},
    ("numeric", "NUMERIC"): {f"NUMERIC '{text}'": Decimal(text) for text in (N_MAX, f"-{N_MAX}", "0.000000001", "0")},
    ("numeric", "BIGNUMERIC"): {f"BIGNUMERIC '{text}'": Decimal(text) for text in (B_MAX, f"-{B_MAX}", "-1e-18", "0")},
    ("numeric(38,9)", "NUMERIC"): {f"NUMERIC '{text}'": Decimal(text) for text in (N_MAX, f"-{N_MAX}", "0")},
    ("numeric(20,18)", "BIGNUMERIC"): {f"BIGNUMERIC '{text}'": Decimal(text) for text in ("99", "-1e-18", "0")},
    ("numeric(5,2)", "FLOAT64"): {"999.99": Decimal("999.99"), "-0.01": Decimal("-0.01"), "CAST(0 AS FLOAT64)": 0},
    ("numeric(19)", "INT64"): {str(number): number for number in (2**63 - 1, -(2**63), 0)},
    ("varchar(3)", "STRING"): {"''": "", "'été'": "été"},
    ("char(3)", "STRING"): {"''": "   ", "'été'": "été"},
}


#: The types of which psycopg has no values, or not all.
AS_TEXT = ("interval", "interval[]", "vector(2)", "halfvec(2)")


@pytest.mark.parametrize(("type_", "source"), VALUES, ids=map(" from ".join, VALUES))
def test_a_value_arrives_as_it_was(here, type_, source):
    values = VALUES[type_, source]
    if source == "ARRAY<FLOAT64>":
        skip_without_pgvector(here)
    here.travel({"c": type_}, literals(*values))
    assert here.stored("c", as_text=type_ in AS_TEXT) == [*values.values(), None]


#: By PostgreSQL type: a literal of BigQuery that it does not hold, and one of a type that never becomes it.
MISFITS = {
    "uuid": ("'6f9619ff'", "1"),
    "numeric(4,2)": ("1.005", "'1'"),
    "jsonb": ("'{'", "1"),
    "smallint[]": ("[1, 32768]", "1"),
    "varchar(3)": ("'abc '", "1"),
    "char(3)": ("'abcd'", "1"),
}


@pytest.mark.parametrize("type_", MISFITS)
def test_a_value_that_does_not_fit_is_refused_by_table_column_and_row_group(here, type_):
    with pytest.raises(DataError, match="a value does not fit: ") as e:
        here.travel({"c": type_}, literals(MISFITS[type_][0]))
    assert e.value.where.startswith(f"{TABLE}.c, row group 0 of gs://")


@pytest.mark.parametrize("type_", MISFITS)
def test_a_source_of_another_type_is_refused_before_it_is_exported(here, type_):
    with pytest.raises(DriftError, match=r"column c is .*, .* takes "):
        here.travel({"c": type_}, literals(MISFITS[type_][1]))
