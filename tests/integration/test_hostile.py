"""Parts and manifests with hostile content are refused for good, and nothing of them stays."""

import io
import re
import struct
import tracemalloc
from datetime import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import PgType
from shared.errors import CatalogError, DataError, RetryableError
from shared.gcp.storage import MAX_DOCUMENT_BYTES
from shared.names import SnapshotId
from tests.kit.mutations import answered, bytes_of
from tests.kit.typed_tables import TABLE, Place, numbered, place, skip_without_pgvector
from tests.kit.uploads import Upload, arrive, parquet_bytes


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "hostile", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    """The place, whose PostgreSQL server and long-lived connection survive the test."""
    shared_place.empty()
    started = shared_place.database.execute("SELECT pg_postmaster_start_time()").fetchone()
    yield shared_place
    assert shared_place.database.execute("SELECT pg_postmaster_start_time()").fetchone() == started


def refusal(here: Place, upload: Upload, version) -> DataError:
    """The error that the object's event ends with. It is in the ledger, and nothing is staged."""
    with pytest.raises(DataError) as e:
        arrive(upload.services, version)
    message = str(e.value).replace("\0", "?")
    # Of a part that no manifest names, it is no failure of the snapshot.
    snapshot = str(upload.snapshot) if "manifest" in version.name else None
    failures = here.database.execute("SELECT kind, table_name, snapshot_id, subject, message FROM recosync.failure")
    assert [(kind.endswith("Error"), *rest) for kind, *rest in failures] == [
        (True, TABLE, snapshot, str(version), message)
    ]
    assert staged(here) == 0
    return e.value


def staged(here: Place) -> int:
    """Parts in the ledger, and tables of parts."""
    row = here.database.execute(
        "SELECT (SELECT count(*) FROM recosync.part) + (SELECT count(*) FROM pg_class WHERE relname ~ '^part_[0-9]+$')"
    ).fetchone()
    return row[0]


def refused_part(here: Place, columns: dict[str, str], part: pa.Table | bytes, row_group_size: int = 2) -> DataError:
    upload = here.upload(columns)
    return refusal(here, upload, upload.part(part, row_group_size=row_group_size))


def wkb(*parts: object) -> bytes:
    """Little-endian WKB: ints are counts or type codes, floats coordinates."""
    return b"\1" + b"".join(struct.pack("<I" if isinstance(part, int) else "<d", part) for part in parts)


POINT = wkb(1, 2.5, 48.75)
RING = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0)
GEOMETRY = "geometry takes WKB or WKT, finite, and with one SRID"
SHAPE = "{} takes WKB or WKT, finite, of that shape and SRID"
GLOBE = f"{SHAPE}, with longitudes of ±180 and latitudes of ±90 at most"
PLACE = "geometry(Point,4326)"
INTEGER = "integer holds whole numbers from -2147483648 to 2147483647"
REAL = "real takes finite numbers in its range"
WHOLE = "{} holds each whole number up to "
NUMERIC = "a float becomes numeric when it is finite"
TIMESTAMP = "timestamp takes finite instants from 4713 BC to 294246 AD"
ISO = "a timestamp as text is written YYYY-MM-DDTHH:MM:SS[.ffffff], without an offset"
TEXT = "PostgreSQL's text holds no NUL character"
DOCUMENT = "{} takes one JSON document without NUL characters"
UUID_ = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
CENTS = "numeric(5,2) holds 3 digits before the point and 2 behind, and is not rounded"
MAX, MIN = 2**63 - 1, -(2**63)

VALUES = {
    "zero-length WKB": ("geometry", pa.binary(), POINT, b"", GEOMETRY),
    "short WKB": ("geometry", pa.binary(), POINT, POINT[:8], GEOMETRY),
    "truncated WKB": ("geometry", pa.binary(), POINT, POINT[:-1], GEOMETRY),
    "WKB and more": ("geometry", pa.binary(), POINT, POINT + b"123456789", GEOMETRY),
    "garbage WKB": ("geometry", pa.binary(), POINT, b"not a geometry at all", GEOMETRY),
    "WKB of no known type": ("geometry", pa.binary(), POINT, wkb(99, 1.0, 1.0), GEOMETRY),
    "a lying ring count": ("geometry", pa.binary(), POINT, wkb(3, 2**31, 4, *RING), GEOMETRY),
    "a lying point count": ("geometry", pa.binary(), POINT, wkb(3, 1, 2**32 - 1, *RING), GEOMETRY),
    "an unclosed ring": ("geometry", pa.binary(), POINT, wkb(3, 1, 4, *RING[:-1], 7.0), GEOMETRY),
    "a ring of two points": ("geometry", pa.binary(), POINT, wkb(3, 1, 2, 0.0, 0.0, 0.0, 0.0), GEOMETRY),
    "a line of one point": ("geometry", pa.binary(), POINT, wkb(2, 1, 0.5, 0.5), GEOMETRY),
    "deeply nested WKB": ("geometry", pa.binary(), POINT, wkb(7, 1) * 5000 + wkb(7, 0), GEOMETRY),
    "garbage WKT": ("geometry", pa.string(), "POINT(1 2)", "POINT(secret)", GEOMETRY),
    "empty WKT": ("geometry", pa.string(), "POINT(1 2)", "", GEOMETRY),
    "WKT and more": ("geometry", pa.string(), "POINT(1 2)", "POINT(1 2) secret", GEOMETRY),
    "two WKT": ("geometry", pa.string(), "POINT(1 2)", "POINT(1 2)POINT(3 4)", GEOMETRY),
    "WKT with a SRID": ("geometry", pa.string(), "POINT(1 2)", "SRID=4326;POINT(1 2)", GEOMETRY),
    "an unclosed ring as text": ("geometry", pa.string(), "POINT(1 2)", "POLYGON((0 0,1 0,1 1,0 7))", GEOMETRY),
    "WKT beyond all floats": ("geometry", pa.string(), "POINT(1e100 2)", "POINT(1e400 2)", GEOMETRY),
    "WKT of many digits": ("geometry", pa.string(), f"POINT({'9' * 300} 2)", f"POINT({'9' * 400} 2)", GEOMETRY),
    "WKT of infinities": ("geometry", pa.string(), "POINT(1 2)", "LINESTRING(0 0, -inf 1)", GEOMETRY),
    "WKT of no number": ("geometry", pa.string(), "POINT EMPTY", "POINT(NaN 2)", GEOMETRY),
    "deeply nested WKT": (
        "geometry",
        pa.string(),
        "POINT(1 2)",
        "GEOMETRYCOLLECTION(" * 9_000 + "POINT(1 2)" + ")" * 9_000,
        GEOMETRY,
    ),
    "another shape": (PLACE, pa.string(), "POINT(1 2)", "LINESTRING(1 2,3 4)", SHAPE),
    "another shape in WKB": (PLACE, pa.binary(), POINT, wkb(2, 2, *RING[:4]), SHAPE),
    "a third dimension": (PLACE, pa.string(), "POINT(1 2)", "POINT Z (1 2 3)", SHAPE),
    "a third dimension of any": ("geometry(Geometry,4326)", pa.binary(), POINT, wkb(1001, 1.0, 2.0, 3.0), SHAPE),
    "a dimension too few": ("geometry(PointZ)", pa.string(), "POINT Z (1 2 3)", "POINT(1 2)", SHAPE),
    "another SRID": (
        PLACE,
        pa.binary(),
        wkb(1 | 0x20000000, 4326, 1.0, 2.0),
        wkb(1 | 0x20000000, 2154, 1.0, 2.0),
        SHAPE,
    ),
    "garbage for a shape": (PLACE, pa.binary(), POINT, b"", SHAPE),
    "garbage WKT for a shape": (PLACE, pa.string(), "POINT(1 2)", "POINT(1 2", SHAPE),
    "beyond the poles": ("geography", pa.string(), "POINT(180 -90)", "POINT(2 90.000000001)", GLOBE),
    "around the globe": ("geography", pa.binary(), POINT, wkb(2, 2, 0.0, 0.0, -180.00000000000003, 1.0), GLOBE),
    "a far vertex inside": (
        "geography(GeometryCollectionZM)",
        pa.string(),
        "GEOMETRYCOLLECTION ZM (POINT ZM (1 2 1e3 1e3))",
        "GEOMETRYCOLLECTION ZM (POINT ZM (1 2 3 4), LINESTRING ZM (0 0 0 0,1e3 0 0 0))",
        GLOBE,
    ),
    "no number in a geography": ("geography", pa.binary(), POINT, wkb(2, 2, 0.0, 0.0, float("nan"), 1.0), GLOBE),
    "a geography of another SRID": ("geography", pa.binary(), POINT, wkb(1 | 0x20000000, 2154, 1.0, 2.0), GLOBE),
    "a geography of another shape": (
        "geography(Polygon)",
        pa.string(),
        "POLYGON((0 0,1 0,1 1,0 0))",
        "POINT(1 2)",
        GLOBE,
    ),
    "an unclosed ring in a geography": ("geography", pa.binary(), POINT, wkb(3, 1, 4, *RING[:-1], 7.0), GLOBE),
    "NUL in varchar": ("varchar", pa.string(), "a", "sec\0ret", TEXT),
    "NUL in text": ("text", pa.string(), "a", "\0", TEXT),
    "NUL in json": ("json", pa.string(), "{}", '"sec\0ret"', DOCUMENT),
    "NUL in jsonb": ("jsonb", pa.string(), "{}", '"sec\0ret"', DOCUMENT),
    "escaped NUL in jsonb": ("jsonb", pa.string(), "{}", '"sec\\u0000ret"', DOCUMENT),
    "half a surrogate pair in jsonb": ("jsonb", pa.string(), "{}", '"sec\\ud800ret"', DOCUMENT),
    "invalid json": ("json", pa.string(), "{}", "{secret}", DOCUMENT),
    "invalid jsonb": ("jsonb", pa.string(), "{}", "{secret}", DOCUMENT),
    "empty json": ("json", pa.string(), "{}", "", DOCUMENT),
    "deeply nested json": ("jsonb", pa.string(), "{}", "[" * 100_000, DOCUMENT),
    "int64 in integer": ("integer", pa.int64(), 1, 2**31, INTEGER),
    "int64 in smallint": ("smallint", pa.int64(), 1, -40_123, "smallint holds whole numbers from -32768 to 32767"),
    "uint64 in bigint": ("bigint", pa.uint64(), 1, 2**63, f"bigint holds whole numbers from {MIN} to {MAX}"),
    "2^63 as float in bigint": (
        "bigint",
        pa.float64(),
        1.0,
        2.0**63,
        f"bigint holds whole numbers from {MIN} to {MAX}",
    ),
    "a fraction in integer": ("integer", pa.float64(), 1.0, 2.5, INTEGER),
    "a decimal fraction in integer": ("integer", pa.decimal128(38, 9), Decimal(1), Decimal("2.000000001"), INTEGER),
    "a decimal in integer": ("integer", pa.decimal128(38, 9), Decimal(1), Decimal(2**31), INTEGER),
    "NaN in integer": ("integer", pa.float64(), 1.0, float("nan"), INTEGER),
    "infinity in integer": ("integer", pa.float64(), 1.0, float("inf"), INTEGER),
    "NaN in real": ("real", pa.float64(), 1.0, float("nan"), REAL),
    "infinity in real": ("real", pa.float32(), 1.0, float("-inf"), REAL),
    "a double in real": ("real", pa.float64(), 1.0, 3.5e38, REAL),
    "int64 that no double is": ("double precision", pa.int64(), 2**53 + 2, -(2**53) - 1, WHOLE),
    "uint64 that no double is": ("double precision", pa.uint64(), 2**63, 2**64 - 1, WHOLE),
    "int64 that no real is": ("real", pa.int64(), 2**24, 2**24 + 1, WHOLE),
    "int32 that no real is": ("real", pa.int32(), 2**24, -(2**24) - 1, WHOLE),
    "a decimal that no double is": ("double precision", pa.decimal128(38, 0), 1, Decimal(10**37 + 1), WHOLE),
    "a decimal of places that no double is": (
        "double precision",
        pa.decimal128(38, 9),
        Decimal("0.1"),
        Decimal(2**54) + Decimal("0.5"),
        WHOLE,
    ),
    "a decimal that no real is": ("real", pa.decimal128(38, 9), Decimal(2**24), Decimal("16777217.5"), WHOLE),
    "NaN in double": ("double precision", pa.float64(), 1.0, float("nan"), "double precision takes finite numbers"),
    "NaN in numeric": ("numeric", pa.float64(), 1.0, float("nan"), NUMERIC),
    "infinity in numeric": ("numeric", pa.float64(), 1.0, float("inf"), NUMERIC),
    "the last instant": ("timestamp", pa.timestamp("us"), 0, MAX, TIMESTAMP),
    "an infinite past": ("timestamp", pa.timestamp("us"), 0, -MAX, TIMESTAMP),
    "an instant before 4713 BC": ("timestamp", pa.timestamp("us"), 0, -211_900_000_000_000_000, TIMESTAMP),
    "an instant after 294246 AD": ("timestamp", pa.timestamp("us", "UTC"), 0, 9_223_371_331_300_000_000, TIMESTAMP),
    "a date after all instants": ("timestamp", pa.date32(), 0, 2**31 - 2, TIMESTAMP),
    "an infinite date": ("date", pa.date32(), 0, 2**31 - 1, "date takes finite days from 4713 BC"),
    "a date before 4713 BC": ("date", pa.date32(), 0, -2_500_000, "date takes finite days from 4713 BC"),
    "a time zone in text": ("timestamp", pa.string(), "2026-01-01", "2026-01-01T00:00:00+02:00", ISO),
    "an impossible day": ("timestamp", pa.string(), "2026-01-01", "2026-02-30T00:00:00", ISO),
    "nanoseconds in text": ("timestamp", pa.string(), "2026-01-01", "2026-01-01T00:00:00.123456789", ISO),
    "a word for an instant": ("timestamp", pa.string(), "2026-01-01", "infinity", ISO),
    "an instant beyond timestamptz": ("timestamptz", pa.timestamp("us", "UTC"), 0, MAX, "timestamp takes finite"),
    "a time of another day": ("time", pa.time64("us"), time(1), 86_400_000_001, ""),
    "a third place": ("numeric(5,2)", pa.decimal128(38, 9), Decimal("1.25"), Decimal("1.255"), CENTS),
    "a fourth digit": ("numeric(5,2)", pa.int64(), 999, 1000, CENTS),
    "a third place of a float": ("numeric(5,2)", pa.float64(), 1.25, 1.255, CENTS),
    "a place far behind": ("numeric(5,2)", pa.float64(), 1.25, 1e-7, CENTS),
    "a digit far before": ("numeric(5,2)", pa.float64(), 1.25, -1e22, CENTS),
    "NaN in numeric(5,2)": ("numeric(5,2)", pa.float64(), 1.25, float("nan"), CENTS),
    "a third place in text": ("numeric(5,2)", pa.string(), "1.250", "1.255", CENTS),
    "an exponent in text": ("numeric", pa.string(), "1", "1e7", "a numeric as text has up to 39 digits"),
    "no number": ("numeric", pa.string(), "1", "secret", "a numeric as text has up to 39 digits"),
    "no digit": ("numeric", pa.string(), "1", "", "a numeric as text has up to 39 digits"),
    "an interval of a day": ("interval", pa.string(), "0-0 1 0:0:0", "1 day", "an interval as text is written"),
    "an empty interval": ("interval", pa.string(), "0-0 1 0:0:0", "", "an interval as text is written"),
    "an interval of nanoseconds": ("interval", pa.string(), "0-0 1 0:0:0", "0-0 1 0:0:0.1234567", "an interval as"),
    "NUL in an array": ("text[]", pa.list_(pa.string()), ["a"], ["a", "sec\0ret"], TEXT),
    "longer text in an array": ("varchar(3)[]", pa.list_(pa.string()), ["abc"], ["abcd"], "character varying(3) holds"),
    "int64 in an array of integers": ("integer[]", pa.list_(pa.int64()), [1, None], [1, 2**31], INTEGER),
    "a third place in an array": ("numeric(5,2)[]", pa.list_(pa.float64()), [1.25], [0.125], CENTS),
    "a short uuid": ("uuid", pa.string(), UUID_, UUID_[:-1], "a uuid as text is 32 hexadecimal digits"),
    "a uuid in braces": ("uuid", pa.string(), UUID_, f"{{{UUID_}}}", "a uuid as text is 32 hexadecimal digits"),
    "an empty uuid": ("uuid", pa.string(), UUID_, "", "a uuid as text is 32 hexadecimal digits"),
    "longer text": ("varchar(3)", pa.string(), "éàù", "secret", "character varying(3) holds at most 3 characters"),
    "spaces beyond the length": ("varchar(3)", pa.string(), "abc", "abc ", "character varying(3) holds at most 3"),
    "text beyond a fixed length": ("char(3)", pa.string(), "abc", "secret", "character(3) holds at most 3 characters"),
    "a space at a fixed end": ("char(3)", pa.string(), "a", "a ", "character(3) holds at most 3 characters"),
    "empty text for an instant": ("timestamp", pa.string(), "2026-01-01", "", ISO),
}


#: Vectors that are none, by what is wrong.
VECTORS = {
    "too short": [1.0, 2.0],
    "too long": [1.0, 2.0, 3.0, 4.0],
    "empty": [],
    "NULL": [1.0, None, 3.0],
    "NaN": [1.0, float("nan"), 3.0],
    "infinity": [1.0, 2.0, float("-inf")],
    "beyond all reals": [1.0, 2.0, 3.5e38],
}


@pytest.mark.parametrize("case", VECTORS)
@pytest.mark.parametrize("type_", ["vector(3)", "halfvec(3)"])
def test_a_vector_that_is_none_is_refused_by_row_group(here, type_, case):
    skip_without_pgvector(here)
    good = [1.0, 2.0, 3.0]
    column = pa.array([good, None, good, VECTORS[case]], pa.list_(pa.float64()))
    error = refused_part(here, {"c": type_}, numbered(c=column))
    assert error.where.startswith(f"{TABLE}.c, row group 1 of gs://")
    assert error.what.startswith(f"a value does not fit: {type_} takes 3 numbers, each finite and none NULL")


@pytest.mark.matrix
@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_does_not_fit_is_named_by_place_and_limit(here, case):
    type_, source, good, bad, limit = VALUES[case]
    rows = numbered(good=["x"] * 7, c=pa.array([good, None, good, good, None, bad, good], source))
    error = refused_part(here, {"good": "varchar", "c": type_}, rows)
    assert error.where.startswith(f"{TABLE}.c, row group 2 of gs://")
    said = PgType.parse(type_).sql if "{}" in limit and "takes WKB" in limit else type_.removesuffix("[]")
    assert error.what.startswith(f"a value does not fit: {limit.format(said)}")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "case", [case for case, (*_, bad, _) in VALUES.items() if isinstance(bad, str | bytes) and len(bad) > 5]
)
def test_the_value_itself_is_never_told(here, case):
    type_, source, good, bad, _ = VALUES[case]
    error = refused_part(here, {"c": type_}, numbered(c=pa.array([good, bad], source)))
    for told in (str(bad), repr(bad), "secret"):
        assert told not in str(error)


def test_a_session_that_is_ended_in_mid_copy_is_no_fault_of_the_value(here):
    here.database.execute(
        "CREATE OR REPLACE FUNCTION hang_up() RETURNS boolean LANGUAGE sql"
        " AS 'SELECT pg_terminate_backend(pg_backend_pid())';"
        f"CREATE TABLE {TABLE} (n integer, c varchar CHECK (hang_up()))"
    )
    upload = here.upload({"c": "varchar"})
    with pytest.raises(RetryableError):
        arrive(upload.services, upload.part(numbered(c=["a"])))
    assert here.database.execute("SELECT count(*) FROM recosync.failure").fetchone() == (0,)


def test_a_null_in_a_column_that_must_not_be_null_is_refused(here):
    here.database.execute(f"CREATE TABLE {TABLE} (n integer, c varchar NOT NULL)")
    error = refused_part(here, {"c": "varchar"}, numbered(c=["a", "b", "c", None]))
    assert "row group 1" in error.where


def test_a_value_that_a_check_forbids_is_refused(here):
    here.database.execute(f"CREATE TABLE {TABLE} (n integer, c varchar CHECK (c <> 'secret'))")
    error = refused_part(here, {"c": "varchar"}, numbered(c=["a", "b", "c", "secret"]))
    assert "row group 1" in error.where
    assert "secret" not in str(error)


COLUMNS = {"a": "varchar", "b": "integer"}
A, B = pa.array(["x"]), pa.array([1], pa.int64())


#: Parts with other columns, what is said of them, and whether another catalog may be served by them.
OTHER_COLUMNS = [
    (numbered(b=B, a=A), "has the columns n, b, a, the catalog says n, a, b", False),
    (numbered(a=A), "has the columns n, a, the catalog says n, a, b", True),
    (numbered(a=A, b=B, c=A), "has the columns n, a, b, c, the catalog says n, a, b", True),
    (numbered(a=A, B=B), "has the columns n, a, B, the catalog says n, a, b", True),
    (pa.table([A, A], ["a", "a"]), "has the columns a, a, the catalog says n, a, b", False),
    (numbered(**{"\0": A}), "the catalog says n, a, b", False),
    (numbered(a=A, b=A), "b is VARCHAR, which can't become integer", True),
    (numbered(a=B, b=A), "a is BIGINT, which can't become character varying; b is VARCHAR", True),
    (numbered(a=pa.array([["x"]]), b=B), r"a is VARCHAR\[\], which can't become character varying", True),
    (numbered(a=pa.array([[["x"]]]), b=B), r"a is VARCHAR\[\]\[\], which can't become character varying", False),
    (numbered(a=pa.array([{"x": 1}]), b=B), "a is STRUCT", False),
    (numbered(a=A, b=pa.array([Decimal(1)], pa.decimal256(76, 38))), "b is a decimal of 76 digits", False),
    (numbered(a=A, b=pa.array([[Decimal(1)]], pa.list_(pa.decimal256(76, 38)))), "b is a decimal of 76 digits", False),
    (numbered(a=pa.array([b"x"]), b=B), "a is BLOB, which can't become character varying", True),
]


@pytest.mark.parametrize(("part", "what"), [(part, what) for part, what, other in OTHER_COLUMNS if not other])
def test_columns_that_no_catalog_takes_are_refused(here, part, what):
    error = refused_part(here, COLUMNS, part)
    assert re.search(what, error.what)
    assert error.where.startswith(f"{TABLE}, gs://")


@pytest.mark.parametrize(("part", "what"), [(part, what) for part, what, other in OTHER_COLUMNS if other])
def test_columns_that_another_catalog_may_take_are_refused_once_a_manifest_of_this_one_names_them(here, part, what):
    upload = here.upload(COLUMNS)
    version = upload.part(part, row_group_size=2)
    with pytest.raises(CatalogError, match=what):
        arrive(upload.services, version)
    assert here.database.execute("SELECT count(*) FROM recosync.failure").fetchone() == (0,)
    error = refusal(here, upload, upload.manifest())
    assert re.search(what, error.what)
    assert error.where.startswith(f"{TABLE}, gs://")
    with pytest.raises(DataError, match=what):
        arrive(upload.services, version)


GOOD = parquet_bytes(numbered(a=[f"text {n}" for n in range(5000)], b=range(5000)), 1000)

NONE, UNDECODED = "is no readable Parquet file", "can't be decoded (SNAPPY; PLAIN, RLE, RLE_DICTIONARY)"
BROKEN = {
    "first half": (GOOD[: len(GOOD) // 2], NONE),
    "without its last byte": (GOOD[:-1], NONE),
    "last half": (
        GOOD[len(GOOD) // 2 :],
        "is cut off: its footer points beyond its end for column a in row group 2",
    ),
    "zeros": (b"\0" * len(GOOD), NONE),
    "magic": (b"PAR1", NONE),
    "magic twice": (b"PAR1PAR1", NONE),
    "garbage footer": (b"PAR1" + b"\xff" * 100 + b"PAR1", NONE),
    "text": (b"a,b\nx,1\n" * 1000, NONE),
    "garbage pages": (GOOD[:4] + b"\x55" * (len(GOOD) // 2) + GOOD[len(GOOD) // 2 + 4 :], UNDECODED),
    "with a tail": (GOOD + b"tail", NONE),
}


@pytest.mark.parametrize(("content", "what"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_readable_parquet_file_is_refused(here, content, what):
    error = refused_part(here, COLUMNS, content)
    assert error.what == what
    assert error.where.startswith(f"{TABLE}.n, row group 0 of gs://" if what == UNDECODED else "gs://")


def varint(number: int) -> bytes:
    """A positive number as a footer has it."""
    groups = [number >> shift & 0x7F for shift in range(0, number.bit_length(), 7)]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def longer_column(part: bytes) -> bytes:
    """The part, with a footer that says its last column to be twice as long."""
    size = pq.ParquetFile(io.BytesIO(part)).metadata.row_group(0).column(2).total_compressed_size
    return part.replace(varint(2 * size), varint(4 * size))


def longer_footer(part: bytes) -> bytes:
    """The part, with a text in its footer that says to be longer than what is left of the file."""
    return re.sub(rb".(?=parquet-cpp-arrow version)", b"\x7f", part)


@pytest.mark.parametrize("broken", [longer_column, longer_footer])
def test_a_footer_that_points_beyond_the_end_of_its_part_is_said_to_be_cut_off(here, broken):
    part = parquet_bytes(numbered(a=[f"text {n}" for n in range(5000)], b=range(5000)))
    assert "its footer points beyond its end" in refused_part(here, COLUMNS, broken(part)).what


def test_an_instant_that_overflows_as_it_is_read_is_refused(here):
    refused_part(here, {"c": "timestamp"}, numbered(c=pa.array([2**62], pa.timestamp("ms"))))


def accepted(here: Place, columns: dict[str, str], part: pa.Table | bytes) -> bool:
    """Whether a part was staged; if not, it was refused for good and left nothing."""
    here.empty()
    upload = here.upload(columns)
    try:
        assert arrive(upload.services, upload.part(part)) == ["staged"]
    except DataError:
        assert staged(here) == 0
        return False
    return True


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=50)
def test_a_file_with_wrong_bytes_is_staged_or_refused(here, changes):
    content = bytearray(GOOD)
    for position, byte in changes:
        content[position] = byte
    accepted(here, COLUMNS, bytes(content))


SHAPES = [
    POINT,
    wkb(2, 3, *RING[:6]),
    wkb(3, 2, 4, *RING, 4, *RING),
    wkb(4, 2) + POINT * 2,
    wkb(6, 1) + wkb(3, 1, 4, *RING),
    wkb(7, 2) + POINT + wkb(7, 1) + wkb(2, 2, *RING[:4]),
    wkb(1001, 1.0, 2.0, 3.0),
]


@st.composite
def broken_wkb(draw: st.DrawFn) -> bytes:
    """WKB with some bytes changed, cut out or put in."""
    shape = bytearray(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(0, 4))):
        # The first bytes, with the types and counts, are where it hurts.
        start = draw(st.integers(0, min(len(shape), 30)) | st.integers(0, len(shape)))
        removed = draw(st.sampled_from([0, 1, 1, 1, 4, 8]))
        shape[start : start + removed] = draw(st.binary(min_size=removed, max_size=removed) | st.binary(max_size=9))
    return bytes(shape)


@given(broken_wkb())
@settings(max_examples=100)
def test_broken_wkb_is_staged_or_refused(here, shape):
    accepted(here, {"c": "geometry"}, numbered(c=pa.array([shape], pa.binary())))


@given(st.lists(broken_wkb(), min_size=50, max_size=200))
@settings(max_examples=10)
def test_a_column_of_broken_wkb_is_staged_or_refused(here, shapes):
    accepted(here, {"c": "geometry"}, numbered(c=pa.array(shapes, pa.binary())))


@pytest.fixture
def upload(here):
    """A snapshot with one good part, not yet handled."""
    upload = here.upload(COLUMNS)
    upload.part(numbered(a=["x", "y"], b=[1, 2]))
    return upload


@pytest.mark.parametrize(
    "content",
    [b"not JSON", b"[]", b"[" * 100_000, b'{"version": 0}', b"\xff\xfe", b'{"version": 1, "table": "\\u0000"}'],
)
def test_a_manifest_that_is_none_is_refused(here, upload, content):
    error = refusal(here, upload, upload.raw_manifest(content))
    assert error.where == upload.folder.manifest


@pytest.mark.parametrize("told", [True, False], ids=["by its event", "by its object"])
def test_a_manifest_that_is_too_large_is_refused_and_not_read(here, upload, told):
    size = 3 * MAX_DOCUMENT_BYTES
    version = upload.raw_manifest(b" " * size)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"has {size} bytes; a manifest has at most {MAX_DOCUMENT_BYTES}") as e:
            arrive(upload.services, version, size=size if told else 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * MAX_DOCUMENT_BYTES
    failures = here.database.execute("SELECT kind, subject, message FROM recosync.failure").fetchall()
    assert failures == [("DataError", str(version), str(e.value))]
    assert staged(here) == 0


def changed_manifest(upload: Upload, **changes: object):
    """A manifest whose part has these fields instead."""
    part = upload.parts[0]
    upload.parts[0] = type(part)(**{**vars(part), **changes})
    return upload.manifest()


def test_a_manifest_that_names_a_part_of_another_snapshot_is_refused(here, upload):
    name = upload.parts[0].name.replace("20260101", "20250101")
    assert "no part of this snapshot" in str(refusal(here, upload, changed_manifest(upload, name=name)))


def test_a_manifest_that_names_another_table_is_refused(here, upload):
    assert "names another table or snapshot" in str(refusal(here, upload, upload.manifest(table="others")))


@pytest.mark.parametrize("name", ["b\0", "b\ud800"])
def test_a_manifest_with_a_name_that_postgresql_can_not_hold_is_refused(here, upload, name):
    columns = (("n", "INT64"), ("a", "STRING"), (name, "INT64"))
    with pytest.raises(DataError):
        arrive(upload.services, upload.manifest(columns=columns))
    assert here.database.execute("SELECT count(*) FROM recosync.failure").fetchone() == (1,)


def test_a_part_that_the_manifest_names_but_the_bucket_lacks_is_refused(here, upload):
    error = refusal(here, upload, changed_manifest(upload, generation=12345))
    assert "is named by the manifest but gone from the bucket" in error.what


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_manifest_holds_it_has_an_answer_and_changes_nothing(here, upload, data):
    """Its part is not there, so that the best of them is refused as well."""
    named = vars(upload.parts[0]) | {"generation": 12345}
    columns = [{"name": name, "type": type_} for name, type_ in (("n", "INT64"), ("a", "STRING"), ("b", "INT64"))]
    document = {"version": 1, "table": TABLE, "snapshot_id": str(upload.snapshot), "source_rows": 2}
    content = data.draw(bytes_of(document | {"columns": columns, "parts": [named]}).filter(bool))
    version = upload.raw_manifest(content)
    with answered(DataError, CatalogError):
        assert arrive(upload.services, version) is None
    assert staged(here) == 0
    assert here.database.execute("SELECT count(*) FROM recosync.publication").fetchone() == (0,)


@pytest.mark.parametrize("rows", [1, 3])
def test_other_counts_than_the_footers_are_not_published(here, upload, rows):
    with pytest.raises(DataError, match=f"the manifest counts {rows} rows?, PostgreSQL 2"):
        arrive(upload.services, changed_manifest(upload, rows=rows))
    assert here.database.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (0,)
    assert here.database.execute("SELECT count(*) FROM recosync.publication").fetchone() == (0,)
    assert here.database.execute("SELECT count(*) FROM recosync.failure").fetchone() == (1,)


def test_a_second_manifest_that_differs_is_refused(here, upload):
    first = upload.parts[0]
    upload.part(numbered(a=["z"], b=[3]))
    upload.parts[1] = type(first)(**{**vars(upload.parts[1]), "rows": 7})
    with pytest.raises(DataError, match="the manifest counts 7 rows"):
        arrive(upload.services, upload.manifest())
    upload.parts.pop()
    with pytest.raises(DataError, match="differs from the manifest that is recorded"):
        arrive(upload.services, upload.manifest())


def test_a_snapshot_is_published_after_hostile_ones(here):
    refused_part(here, {"c": "geometry"}, numbered(c=pa.array([b""], pa.binary())))
    upload = Upload(here.upload({"c": "geometry"}).services, TABLE, SnapshotId.parse("20260102T000000Z"))
    part = upload.part(numbered(c=pa.array([POINT], pa.binary())))
    assert arrive(upload.services, part, upload.manifest()) == ["staged", "published"]
