"""Every PostgreSQL type of a catalog arrives exactly."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.db.postgres import connect
from shared.ledger import migrations
from shared.target import columns, tables
from tests.kit.typed_tables import TABLE, numbered, place, skip_without_pgvector

REAL_MAX = 3.4028234663852886e38
INT64 = (-(2**63), 2**63 - 1)
YEARS = (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))

fuzz = settings(max_examples=15)


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "types", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    shared_place.empty()
    return shared_place


@pytest.fixture
def arrived(here):
    """Send a column through and give back what PostgreSQL holds."""

    def arrived(type_: str, column: pa.Array, *, as_text: bool = False) -> list[object]:
        here.empty()
        here.publish({"c": type_}, numbered(c=column))
        return here.stored("c", as_text=as_text)

    return arrived


def instants(values: list[datetime | None], unit: str, tz: str | None) -> pa.Array:
    return pa.array(values, pa.timestamp("us", tz=tz)).cast(pa.timestamp(unit, tz=tz))


@pytest.mark.parametrize(("type_", "bits"), [("smallint", 16), ("integer", 32), ("bigint", 64)])
def test_integers_arrive_up_to_their_limits(arrived, type_, bits):
    values = [-(2 ** (bits - 1)), -1, 0, None, 1, 2 ** (bits - 1) - 1]
    assert arrived(type_, pa.array(values, pa.int64())) == values


def test_any_width_of_integer_becomes_an_integer(here):
    widths = {str(t): t for t in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.uint32(), pa.uint64())}
    values = [0, 127, None]
    here.publish(dict.fromkeys(widths, "integer"), numbered(**{n: pa.array(values, t) for n, t in widths.items()}))
    assert [here.stored(name) for name in widths] == [values] * len(widths)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([-(2.0**31), 3.0, None, -0.0, 2.0**31 - 1]),
        pa.array([Decimal(-(2**31)), Decimal(3), None, Decimal(2**31 - 1)], pa.decimal128(38, 9)),
        pa.array([Decimal(-7), Decimal(0), None, Decimal(7)], pa.decimal128(38, 37)),
    ],
    ids=["float", "numeric", "decimal of 37 places"],
)
def test_whole_numbers_of_any_kind_become_integers(arrived, column):
    assert arrived("integer", column) == [None if value is None else int(value) for value in column.to_pylist()]


@pytest.mark.parametrize(("precision", "scale"), [(38, 9), (5, 2), (18, 0), (38, 0), (38, 38), (19, 18)])
def test_a_numeric_arrives_to_its_last_digit(arrived, precision, scale):
    with localcontext(prec=76):
        largest, least = Decimal("9" * precision).scaleb(-scale), Decimal(1).scaleb(-scale)
        values = [largest, -largest, least, -least, Decimal(0), None, largest - least]
    assert arrived("numeric", pa.array(values, pa.decimal128(precision, scale))) == values


BIGNUMERIC = f"5{'7' * 38}.{'9' * 37}1"


def test_a_numeric_of_more_digits_than_a_decimal_has_arrives_as_text(arrived):
    values = [BIGNUMERIC, f"-{BIGNUMERIC}", "0", "-0.1", f"0.{'0' * 37}1", "1" + "0" * 38, "1.50", None]
    shown = [*values[:6], "1.5", None]
    assert arrived("numeric", pa.array(values), as_text=True) == shown


DIGITS = {
    pa.float64(): [999.99, -0.01, 0.5, 1e-300 * 0, None],
    pa.float32(): [999.99, -0.01, 0.5, 100.0, None],
    pa.decimal128(38, 9): [Decimal("999.99"), Decimal("-0.01"), Decimal(0), None],
    pa.decimal128(3, 0): [Decimal(999), Decimal(-1), None],
    pa.int64(): [999, -999, 0, None],
    pa.string(): ["999.990", "-0.01", "000", None],
}


@pytest.mark.parametrize("source", DIGITS, ids=str)
def test_a_number_arrives_with_the_digits_that_its_type_declares(arrived, source):
    values = DIGITS[source]
    expected = [None if value is None else f"{Decimal(str(value)):.2f}" for value in values]
    assert arrived("numeric(5,2)", pa.array(values, source), as_text=True) == expected


@pytest.mark.parametrize(
    ("type_", "value"), [("numeric(20,17)", 1e-17), ("numeric(21)", 1.5e20), ("numeric(1,1)", 0.5)]
)
def test_a_float_with_an_exponent_arrives_with_the_digits_that_its_type_declares(arrived, type_, value):
    assert arrived(type_, pa.array([value, -value])) == [Decimal(repr(value)), -Decimal(repr(value))]


magnitudes = [(1e-2, 1e-1), (1e-1, 1.0), (1.0, 1e2), (1e2, 1e4), (1e4, 1e10), (1e10, 1e30)]
ordinary = st.one_of(st.floats(low, high) | st.floats(-high, -low) for low, high in magnitudes)
rounded = st.decimals(-10_000, 10_000, places=9).map(float)


@given(st.lists(st.none() | ordinary | rounded, max_size=200))
@example(
    [0.1, 0.1 + 0.2, 1 / 3, -48.856614, 2.3522219, 1e19, 123456.789, 4095.999999999999, 0.012345678901234567, -0.0]
)
@example([1e20, 1e-300, 5e-324, 1.7976931348623157e308])
@fuzz
def test_a_float_becomes_the_shortest_numeric_that_reads_back(arrived, values):
    expected = [None if value is None else Decimal(repr(value)) for value in values]
    assert arrived("numeric", pa.array(values, pa.float64())) == expected


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([47.91995, 2.5, 100.0, 0.1 + 0.2, -0.0]), ["47.91995", "2.5", "100", "0.30000000000000004", "0"]),
        (pa.array([Decimal("2.290000000"), Decimal("-100.000000000")], pa.decimal128(38, 9)), ["2.29", "-100"]),
        (pa.array([7, 100], pa.int64()), ["7", "100"]),
        (pa.array([2.29, 0.1], pa.float32()), ["2.29", "0.1"]),
    ],
    ids=["FLOAT64", "NUMERIC", "INT64", "a single float"],
)
def test_a_numeric_shows_the_digits_that_the_source_has(arrived, values, shown):
    assert arrived("numeric", values, as_text=True) == shown


@given(st.lists(st.floats(2.0**-20, 2.0**50, width=32), max_size=200))
@fuzz
def test_a_single_float_becomes_its_shortest_numeric_too(arrived, values):
    found = arrived("numeric", pa.array(values, pa.float32()))
    assert pa.array(map(float, found), pa.float32()).to_pylist() == values
    assert all(len(number.normalize().as_tuple().digits) <= 9 for number in found)


def test_a_whole_number_becomes_a_numeric(arrived):
    assert arrived("decimal", pa.array([*INT64, 0, None], pa.int64())) == [*map(Decimal, INT64), Decimal(0), None]


def test_a_float_becomes_the_nearest_real(arrived):
    values = [0.1, -2.5, 0.0, REAL_MAX, -REAL_MAX, 1.1754943508222875e-38, 1e-45, None]
    nearest = pa.array(values, pa.float64()).cast(pa.float32())
    assert pa.array(arrived("real", pa.array(values, pa.float64())), pa.float32()).equals(nearest)


def test_a_float_becomes_the_same_double_precision(arrived):
    values = [0.1, 0.1 + 0.2, -1.7976931348623157e308, 5e-324, -0.0, None]
    assert list(map(repr, arrived("double precision", pa.array(values, pa.float64())))) == list(map(repr, values))


@pytest.mark.parametrize("type_", ["real", "double precision"])
@pytest.mark.parametrize("source", [pa.int64(), pa.decimal128(38, 9)], ids=str)
def test_a_whole_number_becomes_a_float(arrived, type_, source):
    values = [-3, 0, 16_777_216, None]
    assert arrived(type_, pa.array(values, pa.int64()).cast(source)) == values


@pytest.mark.parametrize(("type_", "bits"), [("real", 24), ("double precision", 53)])
@pytest.mark.parametrize("source", [pa.int64(), pa.uint64(), pa.decimal128(38, 9), pa.decimal128(38, 0)], ids=str)
def test_a_whole_number_that_a_float_holds_arrives_however_large(arrived, type_, bits, source):
    values = [2**bits, 2**bits + 2, 3 * 2 ** (bits + 8), 0]
    found = arrived(type_, pa.array(map(Decimal, values), pa.decimal128(38, 9)).cast(source))
    assert pa.array(found, {24: pa.float32(), 53: pa.float64()}[bits]).to_pylist() == values


decimals = st.decimals(-(2**24), 2**24, places=9) | st.decimals(-1, 1, places=9)


@given(st.lists(decimals, max_size=200))
@example([Decimal("-0.839919247"), Decimal("9007199.254740993"), Decimal("16777215.999999999")])
@pytest.mark.parametrize("type_", ["real", "double precision"])
@fuzz
def test_a_decimal_becomes_the_nearest_float(arrived, type_, values):
    floats = pa.array([str(value) for value in values], pa.string()).cast(
        {"real": pa.float32()}.get(type_, pa.float64())
    )
    assert pa.array(arrived(type_, pa.array(values, pa.decimal128(38, 9))), floats.type).equals(floats)


def test_booleans_arrive(arrived):
    assert arrived("boolean", pa.array([True, False, None])) == [True, False, None]


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("tz", ["UTC", None], ids=["TIMESTAMP", "DATETIME"])
def test_an_instant_arrives_in_utc(arrived, unit, tz):
    values = [*YEARS, datetime(1969, 12, 31, 23, 59, 59), datetime(2026, 3, 29, 2, 30, 0, 123_000), None]
    assert arrived("timestamp", instants(values, unit, tz)) == values


def test_an_instant_arrives_to_the_microsecond(arrived):
    values = [datetime(2026, 1, 2, 3, 4, 5, 6), YEARS[1].replace(microsecond=999_999)]
    assert arrived("timestamp", instants(values, "us", "UTC")) == values


NANOSECONDS = {
    1_700_000_000_123_456_789: datetime(2023, 11, 14, 22, 13, 20, 123_456),
    999: datetime(1970, 1, 1),
    -1: datetime(1969, 12, 31, 23, 59, 59, 999_999),
    -1_000: datetime(1969, 12, 31, 23, 59, 59, 999_999),
    -1_001: datetime(1969, 12, 31, 23, 59, 59, 999_998),
    2**63 - 1: datetime(2262, 4, 11, 23, 47, 16, 854_775),
    -(2**63) + 1: datetime(1677, 9, 21, 0, 12, 43, 145_224),
    -(2**63): datetime(1677, 9, 21, 0, 12, 43, 145_224),
}


@pytest.mark.parametrize("tz", ["UTC", None], ids=["TIMESTAMP", "DATETIME"])
def test_nanoseconds_are_cut_to_the_microsecond_before(arrived, tz):
    column = pa.array([*NANOSECONDS, None], pa.timestamp("ns", tz))
    assert arrived("timestamp", column) == [*NANOSECONDS.values(), None]


def test_a_zone_that_the_writer_named_does_not_move_the_instant(arrived):
    at = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert arrived("timestamp", pa.array([at], pa.timestamp("us", tz="Europe/Paris"))) == [datetime(2026, 7, 1, 12)]


def test_a_datetime_may_be_iso_text(arrived):
    texts = [
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05.000006",
        "0001-01-01T00:00:00.5",
        "9999-12-31T23:59:59.999999",
        "2026-01-02",
        None,
    ]
    expected = [None if text is None else datetime.fromisoformat(text) for text in texts]
    assert arrived("timestamp", pa.array(texts)) == expected


def test_a_date_becomes_its_midnight(arrived):
    values = [date(1, 1, 1), date(2024, 2, 29), None, date(9999, 12, 31)]
    expected = [None if day is None else datetime(day.year, day.month, day.day) for day in values]
    assert arrived("timestamp", pa.array(values, pa.date32())) == expected


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_an_instant_with_its_zone_is_the_same_instant(arrived, unit):
    values = [*YEARS, datetime(1969, 12, 31, 23, 59, 59), datetime(2026, 3, 29, 2, 30, 0, 123_000)]
    values = [value.replace(tzinfo=UTC) for value in values]
    assert arrived("timestamptz", pa.array([*values, None], pa.timestamp(unit, "Europe/Paris"))) == [*values, None]


def test_a_time_of_day_arrives_to_the_microsecond(arrived):
    values = [time(), time(12, 34, 56, 789), time(23, 59, 59, 999_999), None]
    assert arrived("time", pa.array(values, pa.time64("us"))) == values


INTERVALS = {
    "0-0 0 0:0:0": "00:00:00",
    "1-2 3 4:5:6.789": "1 year 2 mons 3 days 04:05:06.789",
    "-1-2 3 -4:5:6.000001": "-1 years -2 mons +3 days -04:05:06.000001",
    "0-11 -1 0:0:0": "11 mons -1 days",
    "10000-0 3660000 87840000:0:0": "10000 years 3660000 days 87840000:00:00",
    "-10000-0 -3660000 -87840000:0:0": "-10000 years -3660000 days -87840000:00:00",
}


def test_an_interval_keeps_its_months_days_and_microseconds_apart(arrived):
    assert arrived("interval", pa.array([*INTERVALS, None]), as_text=True) == [*INTERVALS.values(), None]


def test_bytes_arrive(arrived):
    values = [b"", b"\0", bytes(range(256)), b"\\x00", b"x" * 100_000, None]
    assert arrived("bytea", pa.array(values, pa.binary())) == values


def test_a_uuid_arrives_however_its_letters_are_written(arrived):
    values = ["00000000-0000-0000-0000-000000000000", "6F9619FF-8b86-d011-b42d-00cf4fc964ff", "f" * 32, None]
    values[2] = str(UUID(values[2]))
    assert arrived("uuid", pa.array(values)) == [UUID(value) if value else None for value in values]


def test_text_arrives_up_to_the_length_that_its_type_has(arrived):
    values = ["", "é\U0001f469\u0301", "  ", None]
    assert arrived("varchar(3)", pa.array(values)) == values


def test_text_of_fixed_length_is_filled_up_with_spaces(arrived):
    assert arrived("char(3)", pa.array(["", "é", " ab", None])) == ["   ", "é  ", " ab", None]


def test_dates_arrive(arrived):
    values = [date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), None, date(9999, 12, 31)]
    assert arrived("date", pa.array(values, pa.date32())) == values


TEXTS = [
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    "a\tb\r\nc",
    "'\"\\",
    "ŒUVRE e\u0301",
    "\u202e\u05d0\u05d1\u200d",
    "\U0001f469\u200d\U0001f680",
    "\x01\x7f",
    "\ufffe\U0010ffff",
    "x" * 100_000,
    None,
]


@pytest.mark.parametrize("type_", ["varchar", "text"])
@pytest.mark.parametrize(
    "column",
    [pa.array(TEXTS), pa.array(TEXTS).dictionary_encode(), pa.array(TEXTS, pa.large_string())],
    ids=["plain", "dictionary", "large"],
)
def test_text_arrives_character_by_character(arrived, type_, column):
    assert arrived(type_, column) == TEXTS


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=99))
@fuzz
def test_any_text_that_postgresql_can_hold_arrives(arrived, texts):
    assert arrived("varchar", pa.array(texts, pa.string())) == texts


ARRAYS = {
    "text[]": (pa.string(), ["", 'a,{}"\\', "NULL", "é" * 999]),
    "varchar(3)[]": (pa.string(), ["", "été"]),
    "smallint[]": (pa.int64(), [-(2**15), 0, 2**15 - 1]),
    "integer[]": (pa.int64(), [-(2**31), 0, 2**31 - 1]),
    "bigint[]": (pa.int64(), [*INT64, 0]),
    "real[]": (pa.float64(), [0.5, 1.7014118e38, -1e-45, -0.0]),
    "double precision[]": (pa.float64(), [0.1, 5e-324, -1.7976931348623157e308]),
    "numeric[]": (pa.decimal128(38, 9), [Decimal("0.1"), Decimal("9" * 29), -Decimal("1e-9")]),
    "numeric(5,2)[]": (pa.float64(), [999.99, -0.01]),
    "boolean[]": (pa.bool_(), [True, False]),
    "date[]": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "time[]": (pa.time64("us"), [time(), time(23, 59, 59, 999_999)]),
    "timestamp[]": (pa.timestamp("us"), [*YEARS, datetime(1969, 12, 31, 23, 59, 59, 999_999)]),
    "timestamptz[]": (pa.timestamp("us", "UTC"), [year.replace(tzinfo=UTC) for year in YEARS]),
    "bytea[]": (pa.binary(), [b"", b"\0\xff"]),
    "uuid[]": (pa.string(), ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"]),
}


@pytest.mark.parametrize("type_", ARRAYS)
def test_an_array_arrives_element_by_element(arrived, type_):
    source, elements = ARRAYS[type_]
    values = [elements, [], [None], None, [*elements, None, *elements]]
    expected = {"numeric(5,2)[]": lambda value: Decimal(str(value)), "uuid[]": UUID}.get(type_, lambda value: value)
    assert arrived(type_, pa.array(values, pa.list_(source))) == [
        value if value is None else [each if each is None else expected(each) for each in value] for value in values
    ]


@pytest.mark.parametrize(("type_", "most"), [("vector", REAL_MAX), ("halfvec", 65_504.0)])
@pytest.mark.parametrize("source", [pa.float64(), pa.float32()], ids=str)
def test_a_vector_arrives_number_by_number(here, arrived, type_, most, source):
    skip_without_pgvector(here)
    values = [[0.1, -0.0, most], [-most, 1.0, -2.5], None]
    column = pa.array(values, pa.list_(source))
    found = arrived(f"{type_}(3)", column, as_text=True)
    kept = pa.float32() if type_ == "vector" else pa.float16()
    expected = column.values.cast(kept)
    texts = [json.loads(text) if text else None for text in found]
    assert pa.array([*texts[0], *texts[1]], pa.float64()).cast(kept).equals(expected)
    assert texts[2] is None


def test_vectors_are_found_by_their_nearness(here, arrived):
    skip_without_pgvector(here)
    arrived("vector(2)", pa.array([[0.0, 1.0], [5.0, 5.0], None], pa.list_(pa.float64())))
    query = f"SELECT n FROM {TABLE} WHERE c IS NOT NULL ORDER BY c <-> '[4,4]' LIMIT 1"
    assert here.database.execute(query).fetchone() == (1,)


def test_arrays_flow_in_many_batches_and_row_groups(here):
    values = [None if n % 7 == 0 else [str(n * k) for k in range(n % 5)] for n in range(40_000)]
    here.publish({"c": "text[]"}, numbered(c=pa.array(values, pa.list_(pa.string()))), row_group_size=7_001)
    assert here.stored("c") == values


def test_a_column_name_keeps_its_case(here):
    here.publish({"irisCode": "varchar"}, numbered(irisCode=["2A0040101"]))
    assert here.stored("irisCode") == ["2A0040101"]


DOCUMENTS = ['{"b": 1, "a": [null, true, 1.50], "é": "\\u00e9\\n"}', "[]", '""', " null ", '{"a":1,"a":2}', None]


def test_json_arrives_as_it_was_written(arrived):
    assert arrived("json", pa.array(DOCUMENTS), as_text=True) == DOCUMENTS


def test_jsonb_arrives_as_the_same_document(arrived):
    assert arrived("jsonb", pa.array(DOCUMENTS)) == [json.loads(text) if text else None for text in DOCUMENTS]


SHAPES = [
    "POINT(2.3522219 48.856614)",
    "POINT EMPTY",
    "POINT Z (1 2 3)",
    "LINESTRING(0 0,1 1,-180 90)",
    "POLYGON((0 0,10 0,10 10,0 10,0 0),(2 2,2 4,4 4,4 2,2 2))",
    "POLYGON EMPTY",
    "MULTIPOINT((0 0),(1e-5 1))",
    "MULTILINESTRING((0 0,1 1),(2 2,3 3))",
    "MULTIPOLYGON(((0 0,1 0,1 1,0 0)), ((5 5,9 5,9 9,5 5),(6 5.5,8 5.5,8 7,6 5.5)))",
    "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
    "GEOMETRYCOLLECTION EMPTY",
]


@pytest.fixture
def geometries(here):
    """PostGIS's own reading of the shapes."""
    rows = here.database.execute("SELECT st_geomfromtext(shape)::text FROM unnest(%s::text[]) AS shape", [SHAPES])
    return [shape for (shape,) in rows] + [None]


@pytest.mark.parametrize("order", ["NDR", "XDR"])
def test_a_geometry_arrives_from_wkb(here, arrived, geometries, order):
    rows = here.database.execute(
        "SELECT st_asbinary(s::geometry, %s) FROM unnest(%s::text[]) AS s", [order, geometries]
    )
    assert arrived("geometry", pa.array([shape for (shape,) in rows], pa.binary())) == geometries


def test_a_geometry_arrives_from_wkt(arrived, geometries):
    assert arrived("geometry", pa.array([*SHAPES, None])) == geometries


#: Columns of PostGIS, and geometries that they take, with what readers see of them.
PLACES = {
    "geometry(Point,4326)": {"POINT(2.5 48.5)": "SRID=4326;POINT(2.5 48.5)", "POINT EMPTY": "SRID=4326;POINT EMPTY"},
    "geometry(PointZ)": {"POINT Z (1 2 3)": "POINT(1 2 3)"},
    "geometry(MultiPolygon, 2154)": {
        "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))": "SRID=2154;MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"
    },
    "geometry(3857)": {
        "POINT(1e7 2)": "SRID=3857;POINT(10000000 2)",
        "LINESTRING(0 0,1 1)": "SRID=3857;LINESTRING(0 0,1 1)",
    },
    "geography": {
        "POINT(-180 90)": "SRID=4326;POINT(-180 90)",
        "POINT ZM (1 2 3000 4000)": "SRID=4326;POINT(1 2 3000 4000)",
        "POLYGON EMPTY": "SRID=4326;POLYGON EMPTY",
        "GEOMETRYCOLLECTION(POINT(1e-9 2),LINESTRING(180 -90,1 1))": (
            "SRID=4326;GEOMETRYCOLLECTION(POINT(1e-9 2),LINESTRING(180 -90,1 1))"
        ),
    },
    "geography(Polygon)": {"POLYGON((0 0,1 0,1 1,0 0))": "SRID=4326;POLYGON((0 0,1 0,1 1,0 0))"},
    "geography(PointM,4326)": {"POINT M (1 2 3)": "SRID=4326;POINTM(1 2 3)"},
}


@pytest.mark.parametrize("form", ["WKT", "WKB", "EWKB"])
@pytest.mark.parametrize("type_", PLACES)
def test_a_geometry_arrives_in_a_column_of_its_shape_and_srid(here, arrived, type_, form):
    shapes = PLACES[type_]
    column = pa.array([*shapes, None])
    if form != "WKT":
        function, given = ("st_asbinary", shapes) if form == "WKB" else ("st_asewkb", shapes.values())
        rows = here.database.execute(f"SELECT {function}(s::geometry) FROM unnest(%s::text[]) AS s", [list(given)])
        column = pa.array([*(shape for (shape,) in rows), None], pa.binary())
    arrived(type_, column)
    found = here.database.execute(f"SELECT st_asewkt(c::geometry) FROM {TABLE} ORDER BY n").fetchall()
    assert [shape for (shape,) in found] == [*shapes.values(), None]


def test_a_column_of_nulls_arrives_as_nulls(here):
    types = {
        "varchar": pa.string(), "text": pa.string(), "json": pa.string(), "jsonb": pa.string(), "smallint": pa.int64(),
        "integer": pa.int64(), "bigint": pa.int64(), "real": pa.float64(), "double precision": pa.float64(),
        "numeric": pa.decimal128(38, 9), "boolean": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us"),
        "geometry": pa.binary(), "timestamptz": pa.timestamp("us", "UTC"), "time": pa.time64("us"), "uuid": pa.string(),
        "interval": pa.string(), "geography": pa.binary(), "geometry(Point,4326)": pa.int64(),
        "bytea": pa.binary(), "text[]": pa.list_(pa.string()), "varchar(3)": pa.string(), "char(3)": pa.string(),
    }  # fmt: skip
    names = [f"c{number}" for number in range(len(types))]
    nulls = dict(zip(names, (pa.nulls(3, source) for source in types.values()), strict=True))
    here.publish(dict(zip(names, types, strict=True)), numbered(**nulls))
    assert [here.stored(name) for name in names] == [[None] * 3] * len(names)


def test_rows_flow_in_many_batches_and_row_groups(here):
    count = 60_000
    values = [f"{n * 7919 % count}" for n in range(count)]
    columns = {"c": "varchar", "g": "geometry"}
    here.publish(columns, numbered(c=values, g=pa.nulls(count, pa.binary())), row_group_size=7_001)
    assert here.stored("c") == values


@pytest.mark.parametrize(
    "type_",
    [
        "varchar(3)",
        "char(3)",
        "numeric(5,2)",
        "numeric(7)",
        "timestamptz",
        "time",
        "interval",
        "bytea",
        "uuid",
        "varchar(3)[]",
        "numeric(5,2)[]",
        "timestamptz[]",
        "vector(3)",
        "halfvec(3)",
        *PLACES,
    ],
)
def test_a_column_that_stays_what_it_is_needs_no_change(here, type_):
    """The catalog calls a type as the server does: a publish would else retype it each time."""
    if type_ in ("vector(3)", "halfvec(3)"):
        skip_without_pgvector(here)
    services = here.upload({"c": type_}).services
    table = services.catalog.tables[TABLE]
    with connect(services.settings, "test") as connection:
        migrations.migrate(connection)
        tables.ensure(connection, "public", table)
        assert columns.of_relation(connection, "public", TABLE) == columns.of_catalog(table)


def test_a_part_without_rows_arrives(arrived):
    assert arrived("varchar", pa.array([], pa.string())) == []
