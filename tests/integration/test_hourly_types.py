"""Every PostgreSQL type of a log arrives in BigQuery, by way of Parquet, as the type that the catalog declares."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local import context
from shared.catalog import PgType, log_type_table
from shared.errors import TargetError
from tests.kit.logs import at, block, create, place, with_tables

TEXTS = [
    ("", ""),
    ('it\'s "quoted", a \\ and\ttabs\r\nlines', 'it\'s "quoted", a \\ and\ttabs\r\nlines'),
    ("日本 🎌 e\u0301 \u202e \u0001", "日本 🎌 e\u0301 \u202e \u0001"),
    ("NULL", "NULL"),
    ("x" * 100_000, "x" * 100_000),
]
FLOATS = [(value, float(value)) for value in ("NaN", "Infinity", "-Infinity", "0", "-0", "-1.5")]
DATES = [
    ("0001-01-01", date(1, 1, 1)),
    ("1969-12-31", date(1969, 12, 31)),
    ("2024-02-29", date(2024, 2, 29)),
    ("9999-12-31", date(9999, 12, 31)),
]
TIMES = [
    ("0001-01-01 00:00:00", datetime(1, 1, 1)),
    ("1969-12-31 23:59:59.999999", datetime(1969, 12, 31, 23, 59, 59, 999_999)),
    ("2026-03-29 02:30:00.000001", datetime(2026, 3, 29, 2, 30, 0, 1)),
    ("9999-12-31 23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999_999)),
]
MAX_NUMERIC = "9" * 29 + "." + "9" * 9
MAX_BIGNUMERIC = "9" * 38 + "." + "9" * 38
MAX_DOUBLE = 1.7976931348623157e308

CLOCK = [
    ("00:00", time()),
    ("23:59:59.999999", time(23, 59, 59, 999_999)),
    ("12:34:56.000001", time(12, 34, 56, 1)),
]
BYTES = [("\\x", b""), ("\\x00ff5c", b"\0\xff\\"), ("\\x" + "ab" * 100_000, b"\xab" * 100_000)]
ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
UUIDS = [
    ("00000000-0000-0000-0000-000000000000",) * 2,
    (ID.upper(), ID),
    ("{" + "f" * 32 + "}", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
]
NETWORKS = [
    ("10.1.2.3", "10.1.2.3"),
    ("10.1.2.3/8", "10.1.2.3/8"),
    ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
    ("::/0", "::/0"),
]
MOODS = ["", "sad", 'très "happy"']

#: Types, the Arrow type between them, and values as PostgreSQL reads them with what BigQuery should have.
COLUMNS = {
    "varchar STRING": (pa.string(), TEXTS),
    "text STRING": (pa.string(), TEXTS),
    "smallint INT64": (pa.int64(), [("-32768", -(2**15)), ("32767", 2**15 - 1)]),
    "integer INT64": (pa.int64(), [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    "bigint INT64": (pa.int64(), [(str(-(2**63)), -(2**63)), (str(2**63 - 1), 2**63 - 1), ("0", 0)]),
    "real FLOAT64": (
        pa.float64(),
        [
            *FLOATS,
            ("0.1", 0.10000000149011612),
            ("3.4028235e38", 3.4028234663852886e38),
            ("1e-45", 1.401298464324817e-45),
        ],
    ),
    "double precision FLOAT64": (
        pa.float64(),
        [*FLOATS, ("0.1", 0.1), (repr(MAX_DOUBLE), MAX_DOUBLE), (repr(-MAX_DOUBLE), -MAX_DOUBLE), ("5e-324", 5e-324)],
    ),
    "numeric FLOAT64": (
        pa.float64(),
        [
            *(value for value in FLOATS if value[0] != "-0"),  # which numeric does not have
            ("0.1", 0.1),
            ("0.30000000000000000000000000000000000001", 0.3),
            ("0.1234567890123456789", 0.12345678901234568),
            ("1.7976931348623157e308", MAX_DOUBLE),
            ("-1.7976931348623157e308", -MAX_DOUBLE),
            ("5e-324", 5e-324),
            ("2.2250738585072014e-308", 2.2250738585072014e-308),
            ("1e-400", 0.0),
            ("1e-16000", 0.0),
        ],
    ),
    "numeric NUMERIC": (
        pa.decimal128(38, 9),
        [(text, Decimal(text)) for text in (MAX_NUMERIC, f"-{MAX_NUMERIC}", "0", "1e-9", "-1e-9", "42.0000000000")],
    ),
    "numeric BIGNUMERIC": (
        pa.decimal256(76, 38),
        # The emulator reads these as doubles.
        [(text, Decimal(text)) for text in ("0", "-1.5", "0.0009765625", "42.25")],
    ),
    "boolean BOOL": (pa.bool_(), [("true", True), ("false", False)]),
    "date DATE": (pa.date32(), DATES),
    "timestamp TIMESTAMP": (pa.timestamp("us", "UTC"), [(text, at.replace(tzinfo=UTC)) for text, at in TIMES]),
    "timestamp DATETIME": (pa.timestamp("us"), TIMES),
    "timestamptz TIMESTAMP": (
        pa.timestamp("us", "UTC"),
        [
            *((f"{text}+00", at.replace(tzinfo=UTC)) for text, at in TIMES),
            ("2026-03-29 02:30:00.000001+05:30", datetime(2026, 3, 28, 21, 0, 0, 1, tzinfo=UTC)),
        ],
    ),
    "time TIME": (pa.time64("us"), CLOCK),
    "interval STRING": (
        pa.string(),
        [
            ("0", "PT0S"),
            ("-1 year -2 months 3 days -04:05:06.789", "P-1Y-2M3DT-4H-5M-6.789S"),
            ("178000000 years", "P178000000Y"),
            ("2147483647 days 2562047788:00:54.775807", "P2147483647DT2562047788H54.775807S"),
        ],
    ),
    "bytea BYTES": (pa.binary(), BYTES),
    "uuid STRING": (pa.string(), UUIDS),
    "inet STRING": (pa.string(), NETWORKS),
    "cidr STRING": (pa.string(), [("10.0.0.0/8", "10.0.0.0/8"), ("0.0.0.0/0", "0.0.0.0/0"), ("::1", "::1/128")]),
    "enum STRING": (pa.string(), [(mood, mood) for mood in MOODS]),
    "char(3) STRING": (pa.string(), [("", "   "), ("é", "é  "), ("日本🎌", "日本🎌")]),
    "varchar(3) STRING": (pa.string(), [("", ""), ("é ", "é "), ("日本🎌", "日本🎌")]),
    "numeric(38,9) NUMERIC": (
        pa.decimal128(38, 9),
        [(text, Decimal(text)) for text in (MAX_NUMERIC, f"-{MAX_NUMERIC}", "0", "1e-9", "NaN")[:4]],
    ),
    "numeric(20,10) BIGNUMERIC": (pa.decimal256(76, 38), [(text, Decimal(text)) for text in ("0", "-1.5", "42.25")]),
    "numeric(60,2) FLOAT64": (pa.float64(), [("0.1", 0.1), ("-1e50", -1e50), ("NaN", float("nan"))]),
    # json keeps its text to the letter, jsonb is printed anew.
    "json STRING": (
        pa.string(),
        [(text, text) for text in ('{"b" :  1,\n"a": "\\u0000", "b":2}', "null", '"é"', "1.50")],
    ),
    "jsonb STRING": (
        pa.string(),
        [
            ('{"b" :  1, "a": "\\u00e9\\"", "b":2}', '{"a": "é\\"", "b": 2}'),
            ('[1.50, 1e3, -0, 12345678901234567890.123456789]', "[1.50, 1000, 0, 12345678901234567890.123456789]"),
            ("null", "null"),
            ('""', '""'),
            ("{}", "{}"),
        ],
    ),
    "json JSON": (pa.string(), [('{"b": [1, null, "é"]}', {"b": [1, None, "é"]}), ("[]", [])]),
    "jsonb JSON": (pa.string(), [('{"b": [1, null, "é"]}', {"b": [1, None, "é"]}), ("[]", [])]),
}  # fmt: skip

#: Of each of these, arrays of all values, in one after the other, and of none.
ARRAYS = (
    "varchar STRING", "text STRING", "smallint INT64", "integer INT64", "bigint INT64", "real FLOAT64",
    "double precision FLOAT64", "numeric FLOAT64", "numeric NUMERIC", "numeric BIGNUMERIC", "boolean BOOL", "date DATE",
    "timestamp TIMESTAMP", "timestamp DATETIME", "timestamptz TIMESTAMP", "time TIME", "interval STRING", "bytea BYTES",
    "uuid STRING", "inet STRING", "cidr STRING", "enum STRING", "varchar(3) STRING", "numeric(38,9) NUMERIC",
)  # fmt: skip
for types in ARRAYS:
    arrow, pairs = COLUMNS[types]
    type_, target = types.rsplit(" ", 1)
    written, read = map(list, zip(*pairs, strict=True))
    COLUMNS[f"{type_}[] ARRAY<{target}> empty"] = (
        pa.list_(pa.field("element", arrow)),
        [(written, read), ([], []), (written[:1], read[:1]), (written[::-1], read[::-1])],
    )
NAMES = {types: re.sub(r"\W+", "_", types).strip("_") for types in COLUMNS}


def literal(value):
    """A value as PostgreSQL reads it (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-INPUT)."""
    if not isinstance(value, list):
        return value
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in value)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


@pytest.fixture(scope="module")
def typed(cloud, tmp_path_factory):
    """A log with a column of each pair of types, exported: row n has the n-th value of each, or NULL."""
    blocks = block("typed", {name: types for types, name in NAMES.items()})
    with place(cloud, "hourly-types", tmp_path_factory.mktemp("catalog"), blocks) as log:
        log.name = "typed"
        create(log)
        for index in range(max(len(values) for _, values in COLUMNS.values()) + 1):
            row = {NAMES[types]: values[index][0] for types, (_, values) in COLUMNS.items() if index < len(values)}
            log.add(10, **{name: literal(value) for name, value in row.items()})
        answer = log.call(11)
        assert answer["failed"] == []
        assert answer["hours"][0]["rounded"] == {}
        yield log


@pytest.fixture(scope="module")
def in_bigquery(typed):
    return typed.rows()


@pytest.fixture(scope="module")
def in_parquet(typed):
    return typed.parquet(10).sort_by("n")


def same(values):
    """Values so that NaN equals itself, and 0 is not -0."""
    return [
        same(value) if isinstance(value, list) else repr(value) if isinstance(value, float) else value
        for value in values
    ]


def absent(types):
    """What BigQuery has for NULL."""
    return [] if "ARRAY" in types else None


@pytest.mark.parametrize("types", COLUMNS)
def test_a_type_arrives_in_bigquery_as_declared(typed, in_bigquery, types):
    _, values = COLUMNS[types]
    expected = [value for _, value in values]
    expected += [absent(types)] * (len(in_bigquery) - len(expected))
    assert same(row[NAMES[types]] for row in in_bigquery) == same(expected)
    declared = {column.name: (column.target.api, column.type.array) for column in typed.table.columns}
    fields = typed.here.bigquery_client.get_table("raw_local.typed").schema
    made = {field.name: (field.field_type, field.mode == "REPEATED") for field in fields}
    assert made[NAMES[types]] == declared[NAMES[types]]


@pytest.mark.parametrize("types", COLUMNS)
def test_a_type_travels_in_parquet_as_bigquery_reads_it(in_parquet, types):
    arrow, values = COLUMNS[types]
    assert in_parquet.schema.field(NAMES[types]).type == arrow
    expected = [json.loads(text) if types.endswith(" JSON") else value for text, value in values]
    expected += [absent(types)] * (in_parquet.num_rows - len(expected))
    found = in_parquet.column(NAMES[types]).to_pylist()
    if types.endswith(" JSON"):
        found = [value if value is None else json.loads(value) for value in found]
    assert same(found) == same(expected)


def test_parquet_is_snappy_and_nothing_of_ours_but_the_columns_is_in_it(typed, in_parquet):
    names = [column.name for column in typed.table.columns]
    assert in_parquet.column_names == [*names, "import_date", "import_hour"]
    (part,) = typed.parts(10)
    file = pq.ParquetFile(io.BytesIO(typed.blob(part).download_as_bytes()))
    assert {file.metadata.row_group(0).column(i).compression for i in range(len(names))} == {"SNAPPY"}


def test_every_type_of_a_log_is_tried_as_each_that_it_becomes():
    tried = {tuple(types.removesuffix(" empty").rsplit(" ", 1)) for types in COLUMNS}
    tried = {(PgType.parse(type_, leaving=True).plain, target) for type_, target in tried}
    *scalars, (arrays, _) = log_type_table()
    names = [name.partition(",")[0].replace("char(n)", "char(1)") for name, _ in scalars]
    names += [f"{name}[]" for name in arrays.removeprefix("T[] of ").split(", ")]
    types = [PgType.parse(name, leaving=True) for name in names]
    assert {(type_.plain, target) for type_ in types for target in type_.targets} <= tried


@pytest.mark.parametrize(
    ("declared", "made", "said"),
    [
        ("varchar(3)", "varchar(5)", "column c is character varying(5), the catalog says character varying(3)"),
        ("varchar(3)", "varchar", "column c is character varying, the catalog says character varying(3)"),
        ("varchar", "varchar(5)", None),
        ("numeric(5,2)", "numeric(5,3)", "column c is numeric(5,3), the catalog says numeric(5,2)"),
        ("numeric", "numeric(5,3)", None),
        ("varchar[]", "varchar(5)[]", None),
        ("enum", "text", "column c is text, the catalog says enum"),
        ("text", "mood", "column c is enum, the catalog says text"),
        ("enum[]", "mood[]", None),
        ("text[]", "text", "column c is text, the catalog says text[]"),
    ],
)
def test_a_column_is_of_the_type_that_the_catalog_says(log, tmp_path, declared, made, said):
    target = PgType.parse(declared, leaving=True).targets[0]
    log.services = replace(log.services, catalog=with_tables(tmp_path, block("made", {"c": f"{declared} {target}"})))
    log.name = "made"
    log.database.execute(
        "DROP TABLE IF EXISTS made; DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('sad');"
        f"CREATE TABLE made (n bigint PRIMARY KEY, at timestamp, c {made}); CREATE INDEX ON made (at)"
    )
    if said is None:
        assert log.done(11) == {10: "empty"}
        return
    with pytest.raises(TargetError) as e:
        log.ask(11)
    assert said in str(e.value)


#: As many digits as there are; the emulator can't load them.
BIG = [MAX_BIGNUMERIC, f"-{MAX_BIGNUMERIC}", "1e-38", "-1e-38", "0." + "123456789" * 4 + "01", "12" * 19 + ".5"]


def test_a_bignumeric_keeps_76_digits(cloud, tmp_path):
    with place(cloud, "hourly-big", tmp_path, block("big", {"c": "numeric BIGNUMERIC"})) as log:
        log.name = "big"
        create(log)
        for text in BIG:
            log.add(10, c=text)
        log.call(11)
        assert log.parquet(10).sort_by("n").column("c").to_pylist() == list(map(Decimal, BIG))


def test_the_apis_rows_arrive_as_postgresql_has_them(log):
    context.write(log.here.dsn, at(10), at(11), 120)
    log.call(11)
    columns = [column.name for column in log.table.columns]
    as_text = {column.name for column in log.table.columns if column.type.sql == "jsonb"}
    selected = ", ".join(f"{name}::text" if name in as_text else name for name in columns)
    expected = [
        dict(zip(columns, row, strict=True))
        for row in log.database.execute(f"SELECT {selected} FROM past_offer_context ORDER BY id")
    ]
    for row in expected:
        row["date"] = row["date"].replace(tzinfo=UTC)
        row["offer_item_score"] = None if row["offer_item_score"] is None else float(row["offer_item_score"])
        row |= {"import_date": at(10).date(), "import_hour": 10}
    assert all(any(row[name] is not None for row in expected) for name in columns)
    assert log.rows() == expected


def test_arrays_and_a_time_with_a_zone_go_through_every_step_of_an_hour(cloud, tmp_path):
    columns = {"at": "timestamptz TIMESTAMP", "tags": "text[] ARRAY<STRING>", "counts": "integer[] ARRAY<INT64> empty"}
    with place(cloud, "hourly-arrays", tmp_path, block("zoned", columns)) as log:
        log.name = "zoned"
        create(log)
        log.database.execute("SET timezone TO 'Asia/Kathmandu'")
        log.add(10, 3, at=at(10.1), tags=["a", ""], counts=None)
        log.add(10, at=at(11) - timedelta(microseconds=1), tags=[], counts="[0:1]={7,8}")
        log.add(11, at=at(11), tags=[], counts=[9])
        assert log.done(11) == {10: "exported"}
        log.add(10, at=at(10), tags=["late"], counts=[])
        assert log.done(12, delete_from_source=True) == {10: "late rows exported", 11: "exported"}
        log.manifest().delete()
        assert log.done(13, date=f"{at(10):%Y%m%d}", hour=10) == {10: "done already"}
        assert [(row["tags"], row["counts"]) for row in log.rows()] == [
            *[(["a", ""], [])] * 3,
            ([], [7, 8]),
            ([], [9]),
            (["late"], []),
        ]
        assert log.bigquery() == {10: [1, 2, 3, 4, 6], 11: [5]}
        assert log.source() == [1, 2, 3, 4, 6]
