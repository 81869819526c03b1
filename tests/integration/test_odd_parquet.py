"""Parquet files of odd writers: what their pages hold arrives, whatever their footers say of it."""

import base64
import io
import json
from datetime import datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from shared.errors import CatalogError, DataError
from shared.gcp.objects import Objects
from tests.kit.footers import CODEC, ENCODINGS, TYPE, chunks, patched, shortened, with_statistics
from tests.kit.typed_tables import TABLE, numbered, place
from tests.kit.uploads import arrive, parquet_bytes


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "odd", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    shared_place.empty()
    return shared_place


def publish(here, columns, part, rows):
    """Stage a part of given bytes and publish it; what each system counted of it."""
    upload = here.upload(columns)
    version = upload.part(part, rows=rows)
    assert arrive(upload.services, version, upload.manifest(source_rows=rows)) == ["staged", "published"]


def refused(here, columns, part):
    """The error that a part of given bytes ends with. Nothing of it stays."""
    upload = here.upload(columns)
    with pytest.raises(DataError) as e:
        arrive(upload.services, upload.part(part))
    assert here.database.execute("SELECT count(*) FROM recosync.part").fetchone() == (0,)
    return e.value


def counted(here, system):
    """How many values of the columns `c` a system counted on the way."""
    query = f"SELECT {system} -> 'columns' -> 'c' -> 'values' FROM recosync.part"
    return here.database.execute(query).fetchone()[0]


NUMBERS = pa.array([5, None, 2**40, -7], pa.int64())
TEXTS = pa.array(["ab", "secret", None, "zz"])


@pytest.mark.parametrize("nulls", [0, 4, 1 << 40])
@pytest.mark.parametrize(("type_", "values"), [("bigint", NUMBERS), ("varchar", TEXTS), ("numeric", NUMBERS)])
def test_values_arrive_whatever_number_of_nulls_the_footer_tells(here, type_, values, nulls):
    part = with_statistics(parquet_bytes(numbered(c=values)), 1, null_count=nulls)
    publish(here, {"c": type_}, part, 4)
    assert here.stored("c") == values.to_pylist()
    assert (counted(here, "parquet"), counted(here, "postgresql")) == (3, 3)


def int64(number):
    return number.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize("bounds", [(2**40 + 1, 2**41), (3, 3), (8, 1)], ids=["outside", "one value", "reversed"])
def test_values_arrive_whatever_bounds_the_footer_tells(here, bounds):
    least, greatest = map(int64, bounds)
    values = [5, None, 2**40, -7]
    part = parquet_bytes(numbered(c=pa.array(values, pa.int64())))
    said = {"min": least, "max": greatest, "min_value": least, "max_value": greatest, "null_count": 0}
    publish(here, {"c": "bigint"}, with_statistics(part, 1, **said), 4)
    assert here.stored("c") == values


def test_instants_arrive_whatever_bounds_the_footer_tells(here):
    """DuckDB fails by bounds that are no instants, before it reads a page."""
    values = [None, datetime(2026, 1, 2), datetime(1969, 1, 2)]
    part = parquet_bytes(numbered(c=pa.array(values, pa.timestamp("ms"))))
    said = {"min_value": int64(-(2**62)), "max_value": int64(2**62)}
    publish(here, {"c": "timestamp"}, with_statistics(part, 1, **said), 3)
    assert here.stored("c") == values


def test_keys_are_found_whatever_bounds_the_footer_tells(here):
    upload = here.upload({"c": "bigint"})
    part = parquet_bytes(numbered(c=pa.array([5, 6, 7], pa.int64())))
    said = {"min": int64(100), "max": int64(200), "min_value": int64(100), "max_value": int64(200), "null_count": 3}
    version = upload.part(with_statistics(part, 1, **said))
    parquet = upload.services.parquet
    assert parquet.absent([version], '"c"', pa.table({"key": [5, 6, 8]}), 9, "c % 2 >= 0 AND c < 50") == [8]
    assert parquet.aggregates([version], ['count("c")', 'sum("c")', 'max("c")']) == (3, 18, 7)


def written(rows, **options):
    """A part as pyarrow writes it with other options than usual."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def in_hadoops_lz4(rows):
    """A part that says to be compressed as Hadoop does it: what is in no frame is LZ4 as it is."""

    def change(footer):
        for chunk in chunks(footer):
            chunk[CODEC] = (chunk[CODEC][0], 5)

    return patched(written(rows, compression="lz4"), change)


@pytest.mark.parametrize(
    "writer",
    [
        in_hadoops_lz4,
        lambda rows: written(rows, use_byte_stream_split=["n", "i", "d"], use_dictionary=False),
        lambda rows: written(rows, compression="brotli", data_page_version="2.0", version="1.0"),
        lambda rows: written(rows, compression="gzip", use_deprecated_int96_timestamps=True),
        lambda rows: written(rows, compression="zstd", store_decimal_as_integer=True, row_group_size=2),
    ],
    ids=["Hadoop's LZ4", "BYTE_STREAM_SPLIT", "Brotli", "INT96", "decimals as integers"],
)
def test_values_arrive_however_they_are_written(here, writer):
    texts, numbers = ["a", None, "été", ""], [1, None, -(2**40), 7]
    decimals = [Decimal("1.25"), None, Decimal("-0.01"), Decimal(0)]
    instants = [None, -1_500_000, 0, 1_700_000_000_000_000]
    columns = {
        "t": pa.array(texts),
        "i": pa.array(numbers, pa.int64()),
        "d": pa.array(decimals, pa.decimal128(10, 2)),
        "u": pa.array(instants, pa.timestamp("us")),
        "e": pa.array(texts).dictionary_encode(),
        "h": pa.array([1.5, None, -2.0, 0.0], pa.float16()),
        "l": pa.array([["a", None, "été"], None, [], [""]], pa.list_(pa.string())),
    }
    types = {"t": "varchar", "i": "bigint", "d": "numeric", "u": "timestamp", "e": "text", "h": "real", "l": "text[]"}
    publish(here, types, writer(numbered(**columns)), 4)
    assert [here.stored(name) for name in types] == [column.to_pylist() for column in columns.values()]


TYPES = [
    "varchar", "text", "json", "jsonb", "smallint", "integer", "bigint", "real", "double precision", "numeric",
    "boolean", "date", "timestamp", "geometry", "timestamptz", "time", "bytea", "uuid", "interval",
]  # fmt: skip


@pytest.mark.parametrize("source", [pa.null(), pa.float64(), pa.string(), pa.bool_()], ids=str)
def test_a_column_without_a_value_becomes_one_of_any_type(here, source):
    columns = {type_.replace(" ", "_"): type_ for type_ in TYPES}
    publish(here, columns, parquet_bytes(numbered(**dict.fromkeys(columns, pa.nulls(3, source)))), 3)
    assert [here.stored(name) for name in columns] == [[None] * 3] * len(columns)


def test_a_column_that_is_said_to_have_no_value_and_has_one_is_refused(here):
    part = with_statistics(parquet_bytes(numbered(c=NUMBERS)), 1, null_count=4)
    error = refused(here, {"c": "varchar"}, part)
    assert error.what == "a value does not fit: BIGINT can't become character varying, unless every value is NULL"
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


def of_bytes_as_decimals(values):
    """A part with decimals of two places in as many bytes as each needs, or as are given."""

    def change(footer):
        schema = footer[2][1][1][2]
        schema.update({6: (5, 5), 7: (5, 2), 8: (5, 9)})  # DECIMAL(9, 2)

    return patched(parquet_bytes(numbered(c=pa.array(values, pa.binary()))), change)


def test_a_decimal_in_as_many_bytes_as_it_needs_arrives(here):
    publish(here, {"c": "numeric"}, of_bytes_as_decimals([b"\x7f", b"\xff\x00", None, b"\0"]), 4)
    assert here.stored("c") == [Decimal("1.27"), Decimal("-2.56"), None, Decimal(0)]


def test_a_page_that_reaches_beyond_its_column_is_refused(here):
    """What lies in memory behind it would be values."""
    whole = written(numbered(c=pa.array(range(15_000), pa.int64())), compression="none", use_dictionary=False)
    error = refused(here, {"c": "bigint"}, shortened(whole, 100_000))
    assert error.what == "can't be decoded (UNCOMPRESSED; RLE, PLAIN)"
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


def test_a_page_of_other_bytes_than_those_of_its_checksum_is_refused(here):
    whole = written(
        numbered(c=NUMBERS), compression="none", use_dictionary=False, write_page_checksum=True, write_statistics=False
    )
    changed = int64(2**40)
    error = refused(here, {"c": "bigint"}, int64(2**41).join(whole.rsplit(changed, 1)))
    assert error.what == "has a page whose bytes are not those of its checksum"
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


def test_a_page_of_fewer_bytes_than_it_says_is_refused(here):
    """What lies in memory behind them would be values."""
    rows = numbered(c=pa.array(range(15_000), pa.int64()))
    whole = written(rows, compression="brotli", use_dictionary=False)
    page = b"\x04\0\0\0\xb0\xea\x01\x01" + rows.column("c").chunk(0).buffers()[1].to_pybytes()
    stored, fewer = (pa.compress(content, "brotli", asbytes=True) for content in (page, page[:40_000]))
    assert whole.count(stored) == 2
    error = refused(here, {"c": "bigint"}, fewer.ljust(len(stored), b"\0").join(whole.rsplit(stored, 1)))
    assert error.what == "can't be decoded (BROTLI; RLE, PLAIN)"
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


def test_an_index_beyond_the_dictionary_is_refused_however_soon_duckdb_finds_it(here, monkeypatch):
    """How far DuckDB has come when it hands over its reader is chance, which is played here: it found the end first."""
    sink = io.BytesIO()
    texts = pa.array(["a" * 100, "b" * 100, "c" * 100] * 50_000).dictionary_encode()
    pq.write_table(numbered(c=texts), sink, compression="none", data_page_size=1000, write_statistics=False)
    part = bytearray(sink.getvalue())
    last = len(part) - 8 - int.from_bytes(part[-8:-4], "little") - 1
    part[last] = 0xFF  # of two bits for each index, four times 3
    begun, found = Objects.reader, [duckdb.Error("Parquet file is likely corrupted, dictionary offset out of range")]

    def reader(*arguments):
        if found:
            raise found.pop()
        return begun(*arguments)

    monkeypatch.setattr(Objects, "reader", reader)
    error = refused(here, {"c": "text"}, bytes(part))
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")
    assert not found


def test_a_decimal_without_a_byte_is_refused(here):
    error = refused(here, {"c": "numeric"}, of_bytes_as_decimals([b"\x7f", b""]))
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


NOT_UTF8 = pa.array([b"good", b"good", None, b"sec\xffret"]).view(pa.string())


def test_text_that_is_not_utf_8_is_refused_by_column_and_row_group(here):
    columns = {"a": "varchar", "c": "varchar"}
    part = parquet_bytes(numbered(a=["é"] * 4, c=NOT_UTF8), 2)
    error = refused(here, columns, part)
    assert error.what == "holds text that is not UTF-8"
    assert error.where.startswith(f"{TABLE}.c, row group 1 of gs://")
    assert "ret" not in error.what


@pytest.mark.parametrize("name", ["file_row_number", "filename", "given", "file_index", "rowid"])
def test_a_bad_value_is_found_whatever_columns_are_called(here, name):
    part = parquet_bytes(numbered(**{name: [7, 8, 9]}, c=["1", "2", "sec\0ret"]), 2)
    error = refused(here, {name: "bigint", "c": "varchar"}, part)
    assert error.where.startswith(f"{TABLE}.c, row group 1 of gs://")


class Keys(pe.KmsClient):
    """Wraps a key by not wrapping it."""

    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key, _):
        return base64.b64encode(key)

    def unwrap_key(self, wrapped, _):
        return base64.b64decode(wrapped)


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_an_encrypted_part_is_said_to_be_encrypted(here, plaintext_footer):
    how = pe.EncryptionConfiguration("footer", column_keys={"column": ["c"]}, plaintext_footer=plaintext_footer)
    properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), how)
    part = written(numbered(c=["a"]), encryption_properties=properties)
    assert refused(here, {"c": "varchar"}, part).what == "is encrypted"


def test_a_part_without_columns_is_said_to_have_none(here):
    assert refused(here, {"c": "varchar"}, parquet_bytes(pa.table({}))).what == "has no columns"


def test_a_codec_that_nobody_reads_is_named_with_its_column(here):
    def change(footer):
        chunks(footer)[1][CODEC] = (chunks(footer)[1][CODEC][0], 3)

    error = refused(here, {"c": "varchar"}, patched(parquet_bytes(numbered(c=["a"])), change))
    assert error.what.startswith("can't be decoded (LZO; ")
    assert error.where.startswith(f"{TABLE}.c, row group 0 of gs://")


@pytest.mark.parametrize(
    ("field", "number", "told"),
    [
        (CODEC, 9, "has a codec that is unknown, number 9, for column c in row group 0"),
        (ENCODINGS, 77, "has an encoding that is unknown, number 77, for column c in row group 0"),
        (TYPE, 8, "has a type that is unknown, number 8, for column c in row group 0"),
    ],
)
def test_a_number_that_nobody_knows_is_named_with_its_column(here, field, number, told):
    def change(footer):
        type_, before = chunks(footer)[1][field]
        chunks(footer)[1][field] = (type_, (before[0], [number]) if field == ENCODINGS else number)

    assert refused(here, {"c": "varchar"}, patched(parquet_bytes(numbered(c=["a"])), change)).what == told


def test_columns_are_called_what_the_file_calls_them(here):
    """DuckDB would call the second `a_1`."""
    upload = here.upload({"a": "varchar", "a_1": "varchar"})
    part = upload.part(pa.table([pa.array([1]), pa.array(["x"]), pa.array(["y"])], ["n", "a", "a"]))
    with pytest.raises(DataError, match="has the columns n, a, a, the catalog says n, a, a_1"):
        arrive(upload.services, part)


@pytest.mark.parametrize(("count", "type_"), [(101, "smallint"), (900, "integer"), (1599, "varchar")])
def test_as_many_columns_arrive_as_postgresql_takes(here, count, type_):
    values = ["1", "2"] if type_ == "varchar" else [1, 2]
    columns = {f"c{number}": type_ for number in range(count)}
    publish(here, columns, parquet_bytes(numbered(**dict.fromkeys(columns, values))), 2)
    assert [here.stored(name) for name in (f"c{count // 2}", f"c{count - 1}")] == [values] * 2


def test_a_row_that_postgresql_has_no_room_for_is_refused(here):
    columns = {f"c{number}": "varchar" for number in range(600)}
    part = parquet_bytes(numbered(**dict.fromkeys(columns, pa.array(["x", "x" * 100]))))
    error = refused(here, columns, part)
    assert error.what == "a row takes more than 8160 bytes in PostgreSQL, of which a long value takes 18"
    assert error.where.startswith(f"{TABLE}, gs://")


SHAPES = [
    "SRID=4326;POINT(2.5 48.5)",
    "SRID=2154;POINT Z (1 2 3)",
    "SRID=3857;POINT ZM (1 2 3 4)",
    "SRID=998999;POLYGON((0 0,1 0,1 1,0 0))",
    "SRID=4326;GEOMETRYCOLLECTION(POINT(1 2),MULTIPOINT((1 1),(2 2)),GEOMETRYCOLLECTION(LINESTRING(0 0,1 1)))",
    "SRID=4326;GEOMETRYCOLLECTION EMPTY",
    "SRID=4326;POINT EMPTY",
    "POINT(1 2)",
]


def extended(here, shapes, order="NDR"):
    """PostGIS's own WKB of shapes, and its text of them."""
    query = "SELECT st_asewkb(s::geometry, %s), st_asewkt(s::geometry) FROM unnest(%s::text[]) AS s"
    wkb, text = zip(*here.database.execute(query, [order, shapes]), strict=True)
    return [bytes(each) for each in wkb], list(text)


def stored_shapes(here):
    return [shape for (shape,) in here.database.execute(f"SELECT st_asewkt(c) FROM {TABLE} ORDER BY n")]


@pytest.mark.parametrize("order", ["NDR", "XDR"])
def test_a_geometry_keeps_its_srid(here, order):
    wkb, text = extended(here, SHAPES, order)
    publish(here, {"c": "geometry"}, parquet_bytes(numbered(c=pa.array(wkb))), len(wkb))
    assert stored_shapes(here) == text


def geoparquet(wkb, crs):
    """A part whose metadata says a CRS."""
    column = {"encoding": "WKB", "geometry_types": [], "crs": crs}
    geo = {"version": "1.1.0", "primary_column": "c", "columns": {"c": column}}
    return parquet_bytes(numbered(c=pa.array(wkb)).replace_schema_metadata({"geo": json.dumps(geo)}))


LAMBERT = {"type": "ProjectedCRS", "name": "RGF93", "id": {"authority": "EPSG", "code": 2154}}
DEGREES = {"type": "GeographicCRS", "name": "WGS 84", "id": {"authority": "OGC", "code": "CRS84"}}


@pytest.mark.parametrize(("crs", "srid"), [(LAMBERT, 2154), (DEGREES, 4326), (None, 0)])
def test_a_geometry_gets_the_srid_of_its_files_crs(here, crs, srid):
    wkb, _ = extended(here, ["POINT(1 2)", f"SRID={srid};POINT(1 2)"])
    publish(here, {"c": "geometry"}, geoparquet(wkb, crs), 2)
    shape = "POINT(1 2)"
    assert stored_shapes(here) == [f"SRID={srid};{shape}" if srid else shape] * 2


@pytest.mark.parametrize(("crs", "srid"), [("EPSG:2154", 2154), ("OGC:CRS84", 4326), ("", 0)])
def test_a_geometry_gets_the_srid_of_its_types_crs(here, tmp_path, crs, srid):
    shape = f"st_setcrs('POINT(1 2)'::GEOMETRY, '{crs}')" if crs else "'POINT(1 2)'::GEOMETRY"
    file = tmp_path / "part.parquet"
    how = "FORMAT parquet, GEOPARQUET_VERSION 'NONE'"
    duckdb.connect().execute(f"COPY (SELECT 0::BIGINT AS n, {shape} AS c) TO '{file}' ({how})")
    publish(here, {"c": "geometry"}, file.read_bytes(), 1)
    assert stored_shapes(here) == [f"SRID={srid};POINT(1 2)" if srid else "POINT(1 2)"]


@pytest.mark.parametrize("type_", ["geometry(Point,4326)", "geography"])
def test_a_file_whose_crs_is_not_the_columns_srid_is_one_for_another_catalog(here, type_):
    wkb, _ = extended(here, ["POINT(1 2)"])
    with pytest.raises(CatalogError) as e:
        refused(here, {"c": type_}, geoparquet(wkb, LAMBERT))
    assert e.value.what == f"c is BLOB of SRID 2154, which can't become {type_}"


def test_a_geometry_of_another_srid_than_its_files_crs_is_refused(here):
    wkb, _ = extended(here, ["SRID=2154;POINT(1 2)", "SRID=4326;POINT(1 2)"])
    error = refused(here, {"c": "geometry"}, geoparquet(wkb, LAMBERT))
    assert error.what == "a value does not fit: geometry takes WKB or WKT, finite, and with one SRID"


@pytest.mark.parametrize("geo", ["x", "[]", '{"columns": {"c": 1}}', "[" * 100_000])
def test_metadata_that_is_no_geoparquet_says_nothing(here, geo):
    wkb, text = extended(here, ["POINT(1 2)"])
    publish(here, {"c": "geometry"}, parquet_bytes(numbered(c=pa.array(wkb)).replace_schema_metadata({"geo": geo})), 1)
    assert stored_shapes(here) == text


def test_a_crs_that_has_no_number_is_refused(here):
    wkb, _ = extended(here, ["POINT(1 2)"])
    error = refused(here, {"c": "geometry"}, geoparquet(wkb, {"type": "EngineeringCRS", "name": "secret"}))
    assert error.what == "c has a coordinate reference system without a number of EPSG"


def with_srid(head, srid, rest):
    """Little-endian WKB of a geometry without a SRID, with one."""
    return head[:4] + bytes([head[4] | 0x20]) + srid.to_bytes(4, "little") + rest


def test_a_geometry_inside_another_with_a_srid_of_its_own_is_refused(here):
    (point, collection), _ = extended(here, ["POINT(1 2)", "GEOMETRYCOLLECTION(POINT(1 2))"])
    inside = collection[:9] + with_srid(point[:5], 4326, point[5:])
    both = with_srid(collection[:5], 2154, collection[5:9] + with_srid(point[:5], 4326, point[5:]))
    for wkb in (inside, both, with_srid(point[:5], 999_000, point[5:])):
        here.empty()
        refused(here, {"c": "geometry"}, parquet_bytes(numbered(c=pa.array([wkb]))))
