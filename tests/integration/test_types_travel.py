"""What a BigQuery table holds arrives in PostgreSQL value by value, by way of an export."""

from datetime import UTC, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from shared.catalog import PG_TYPES, PgType, type_table
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
    """The query of a column `c` of these literals, with their numbers."""
    rows = (f"SELECT {number} AS n, {value} AS c" for number, value in enumerate(values))
    return " UNION ALL ".join(rows)


def written(at: datetime) -> str:
    """Without its zone, and with a year of four digits as BigQuery wants it, which strftime does not write."""
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
#: The greatest NUMERIC, and the greatest BIGNUMERIC that the emulated BigQuery has.
N_MAX, B_MAX = f"{'9' * 29}.{'9' * 9}", f"{'9' * 20}.{'9' * 18}"
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

#: As PostGIS writes them: the same place as well with its SRID, and none.
POINT, SRID_POINT = "010100000000000000000004400000000000404840", "0101000020E610000000000000000004400000000000404840"
EMPTY_POINT = "0101000000000000000000F87F000000000000F87F"

#: By PostgreSQL type, and what it is made from: literals of BigQuery, and the values that they are.
VALUES = {
    ("timestamptz", "TIMESTAMP"): {f"TIMESTAMP '{written(at)}+00'": at for at in (FIRST, LAST)},
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
    ("timestamptz[]", "ARRAY<TIMESTAMP>"): {f"[TIMESTAMP '{written(LAST)}+00']": [LAST]},
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
    ("numeric", "FLOAT64"): {"47.91995": Decimal("47.91995"), "-1e-7": Decimal("-1e-7"), "1e22": Decimal("1e22")},
    ("numeric", "INT64"): {str(number): number for number in (2**63 - 1, -(2**63), 0)},
    **{
        (type_, "INT64"): {str(number): number for number in (2**bits - 1, -(2**bits), 0)}
        for type_, bits in (("smallint", 15), ("integer", 31), ("bigint", 63))
    },
    ("smallint", "FLOAT64"): {"32767.0": 32767, "-32768.0": -32768},
    ("smallint", "NUMERIC"): {"NUMERIC '32767'": 32767, "NUMERIC '-32768'": -32768},
    ("integer", "FLOAT64"): {"2147483647.0": 2**31 - 1, "-2147483648.0": -(2**31)},
    ("integer", "NUMERIC"): {"NUMERIC '2147483647'": 2**31 - 1, "NUMERIC '-2147483648'": -(2**31)},
    ("real", "NUMERIC"): {"NUMERIC '0.1'": 0.1, "NUMERIC '-9.75'": -9.75},
    ("bigint", "FLOAT64"): {"9007199254740992.0": 2**53, "-0.0": 0},
    ("bigint", "NUMERIC"): {f"NUMERIC '{2**63 - 1}'": 2**63 - 1, f"NUMERIC '-{2**63}'": -(2**63)},
    ("real", "FLOAT64"): {"0.1": 0.1, "3.4028234663852886e38": 3.4028235e38, "1e-45": 1e-45, "CAST(0 AS FLOAT64)": 0.0},
    ("real", "INT64"): {"16777216": 16777216.0, "-3": -3.0},
    ("double precision", "FLOAT64"): {"0.1": 0.1, "1.7976931348623157e308": 1.7976931348623157e308, "5e-324": 5e-324},
    ("double precision", "INT64"): {f"{2**53}": 2.0**53, "-3": -3.0},
    ("double precision", "NUMERIC"): {"NUMERIC '0.1'": 0.1, "NUMERIC '-9.75'": -9.75},
    ("boolean", "BOOL"): {"TRUE": True, "FALSE": False},
    ("text", "STRING"): {"''": "", "'a\\tb\\\\ 日本 🎌'": "a\tb\\ 日本 🎌", "REPEAT('x', 100000)": "x" * 100_000},
    ("varchar", "STRING"): {"''": "", "'NULL'": "NULL"},
    ("date", "DATE"): {"DATE '0001-01-01'": FIRST.date(), "DATE '9999-12-31'": LAST.date()},
    ("timestamp", "TIMESTAMP"): {f"TIMESTAMP '{written(at)}+00'": at.replace(tzinfo=None) for at in (FIRST, LAST)},
    ("timestamp", "DATETIME"): {f"DATETIME '{written(at)}'": at.replace(tzinfo=None) for at in (FIRST, LAST)},
    ("timestamp", "DATE"): {"DATE '2024-02-29'": datetime(2024, 2, 29)},
    ("json", "STRING"): {"""'{"b": 1,  "a": []}'""": {"b": 1, "a": []}, "'null'": None},
    ("jsonb", "STRING"): {"""'{"b": 1, "a": ""}'""": {"b": 1, "a": ""}, "'[]'": []},
    ("json", "JSON"): {"""JSON '{"b": [1.5, null], "a": ""}'""": {"b": [1.5, None], "a": ""}, "JSON '[]'": []},
    ("jsonb", "JSON"): {"""JSON '{"b": [1.5, null], "a": ""}'""": {"b": [1.5, None], "a": ""}, "JSON '[]'": []},
    ("geometry", "STRING"): {"'POINT(2.5 48.5)'": POINT, "'POINT EMPTY'": EMPTY_POINT},
    ("geometry", "BYTES"): {f"FROM_HEX('{POINT}')": POINT},
    ("geometry(Point,4326)", "GEOGRAPHY"): {"ST_GEOGPOINT(2.5, 48.5)": SRID_POINT},
    ("geography", "GEOGRAPHY"): {"ST_GEOGPOINT(2.5, 48.5)": SRID_POINT},
    ("geography(Point)", "STRING"): {"'POINT(2.5 48.5)'": SRID_POINT},
    ("geography(Point,4326)", "BYTES"): {f"FROM_HEX('{POINT}')": SRID_POINT},
    ("varchar[]", "ARRAY<STRING>"): {"['NULL', '']": ["NULL", ""], "CAST([] AS ARRAY<STRING>)": []},
    ("varchar(3)[]", "ARRAY<STRING>"): {"['été', '']": ["été", ""]},
    ("smallint[]", "ARRAY<INT64>"): {"[32767, -32768]": [2**15 - 1, -(2**15)]},
    ("integer[]", "ARRAY<INT64>"): {f"[{2**31 - 1}, {-(2**31)}]": [2**31 - 1, -(2**31)]},
    ("real[]", "ARRAY<FLOAT64>"): {"[0.5, -1e-45]": [0.5, -1e-45]},
    ("double precision[]", "ARRAY<FLOAT64>"): {"[0.1, 5e-324]": [0.1, 5e-324]},
    ("numeric[]", "ARRAY<NUMERIC>"): {f"[NUMERIC '{N_MAX}', NUMERIC '-0.5']": [Decimal(N_MAX), Decimal("-0.5")]},
    ("numeric(5,2)[]", "ARRAY<FLOAT64>"): {"[999.99, -0.01]": [Decimal("999.99"), Decimal("-0.01")]},
    ("boolean[]", "ARRAY<BOOL>"): {"[TRUE, FALSE]": [True, False]},
    ("date[]", "ARRAY<DATE>"): {"[DATE '0001-01-01', DATE '9999-12-31']": [FIRST.date(), LAST.date()]},
    ("time[]", "ARRAY<TIME>"): {"[TIME '23:59:59.999999']": [time(23, 59, 59, 999_999)]},
    ("timestamp[]", "ARRAY<DATETIME>"): {f"[DATETIME '{written(LAST)}']": [LAST.replace(tzinfo=None)]},
    ("bytea[]", "ARRAY<BYTES>"): {"[b'', FROM_HEX('00ff')]": [b"", b"\0\xff"]},
    ("uuid[]", "ARRAY<STRING>"): {f"['{ID}', '{ID.upper()}']": [UUID(ID)] * 2},
    ("varchar(3)", "STRING"): {"''": "", "'été'": "été"},
    ("char(3)", "STRING"): {"''": "   ", "'été'": "été"},
}


def test_every_type_is_tried_from_each_of_its_sources():
    tried = {(PgType.parse(type_).plain, source) for type_, source in VALUES}
    assert {(type_, source) for type_ in PG_TYPES for source in type_.sources} <= tried
    arrays = {name.partition(",")[0] for name in type_table()[-1][0].removeprefix("T[] of ").split(", ")}
    assert {PgType.parse(f"{name}[]") for name in arrays} <= {type_ for type_, _ in tried}
    assert {PgType.parse(type_).plain for type_ in MISFITS} >= set(PG_TYPES)


#: The types of which psycopg has no values, or not all.
AS_TEXT = ("interval", "interval[]", "vector(2)", "halfvec(2)")


@pytest.mark.parametrize(("type_", "source"), VALUES, ids=map(" from ".join, VALUES))
def test_a_value_arrives_as_it_was(here, type_, source):
    values = VALUES[type_, source]
    if type_.partition("(")[0] in ("vector", "halfvec"):
        skip_without_pgvector(here)
    as_text = type_ in AS_TEXT
    if not type_.startswith(("vector", "halfvec")):
        # BigQuery stores no array that is NULL.
        values = {**values, "NULL": None if not type_.endswith("[]") else "{}" if as_text else []}
    here.travel({"c": type_}, literals(*values))
    assert here.stored("c", as_text=as_text) == [*values.values()]


#: By PostgreSQL type: a literal of BigQuery that it does not hold, and one of a type that never becomes it.
MISFITS = {
    "smallint": ("32768", "'1'"),
    "integer": ("2.5", "TRUE"),
    "bigint": ("NUMERIC '9223372036854775808'", "'1'"),
    "real": ("3.5e38", "'1'"),
    "double precision": ("9007199254740993", "'1'"),
    "uuid": ("'6f9619ff'", "1"),
    "numeric": ("CAST('NaN' AS FLOAT64)", "'1'"),
    "numeric(4,2)": ("1.005", "'1'"),
    "numeric(3)": ("BIGNUMERIC '0.000000000000000001'", "'1'"),
    "text": ("CODE_POINTS_TO_STRING([97, 0])", "1"),
    "varchar(3)": ("'abc '", "1"),
    "char(3)": ("'abcd'", "1"),
    "json": ("'{'", "1"),
    "jsonb": ("'{'", "1"),
    "geometry": ("'POINT(1 2'", "1"),
    "geometry(Point,4326)": ("ST_GEOGFROMTEXT('LINESTRING(0 0, 1 1)')", "1"),
    "geography": ("'POINT(181 2)'", "1"),
    "smallint[]": ("[1, 32768]", "1"),
    "varchar(3)[]": ("['abc', 'abcd']", "'abc'"),
    "numeric(4,2)[]": ("[1.005]", "1.0"),
    "uuid[]": ("['6f9619ff']", "[1]"),
    # These hold whatever BigQuery has of their source.
    "boolean": (None, "1"),
    "date": (None, "DATETIME '2026-01-01 00:00:00'"),
    "time": (None, "'00:00:00'"),
    "timestamp": (None, "'2026-01-01'"),
    "timestamptz": (None, "DATETIME '2026-01-01 00:00:00'"),
    "interval": (None, "'1-2 3 4:5:6'"),
    "bytea": (None, "'1'"),
    "vector(2)": ("[1.0, 2.0, 3.0]", "[1]"),
    "halfvec(2)": ("[1.0, 65536.0]", "1.0"),
}


@pytest.mark.parametrize("type_", [type_ for type_, (misfit, _) in MISFITS.items() if misfit])
def test_a_value_that_does_not_fit_is_refused_by_table_column_and_row_group(here, type_):
    if type_ in ("vector(2)", "halfvec(2)"):
        skip_without_pgvector(here)
    with pytest.raises(DataError, match="a value does not fit: ") as e:
        here.travel({"c": type_}, literals(MISFITS[type_][0]))
    assert e.value.where.startswith(f"{TABLE}.c, row group 0 of gs://")


@pytest.mark.parametrize("type_", MISFITS)
def test_a_source_of_another_type_is_refused_before_it_is_exported(here, type_):
    with pytest.raises(DriftError, match=r"column c is .*, .* takes "):
        here.travel({"c": type_}, literals(MISFITS[type_][1]))
