"""Pages by their own headers, as pyarrow writes them."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UnreadableError
from shared.gcp import pages, thrift
from shared.gcp.layout import Chunk
from shared.gcp.levels import leading
from tests.kit.footers import struct

TEXTS = [f"{number % 50:06d}" * 1_000 for number in range(500)]


def written(**options: object) -> tuple[io.BytesIO, Chunk]:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": TEXTS}), file, compression="snappy", **options)
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    dictionary = column.dictionary_page_offset
    sizes = column.total_compressed_size, column.total_uncompressed_size
    return file, Chunk(0, 500, "a", column.num_values, column.data_page_offset, dictionary, None, *sizes)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_dictionary_bounds_each_value(version):
    found = pages.read(*written(data_page_version=version), "a file")
    assert 50 * 6_000 < found.dictionary < 51 * 6_100
    assert found.most(1) >= 6_000
    assert found.most(500) >= 500 * 6_000


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_bound_the_rows_in_them(version):
    options = {"use_dictionary": False, "data_page_size": 1, "write_batch_size": 10}
    found = pages.read(*written(data_page_version=version, **options), "a file")
    assert (found.dictionary, found.fewest) == (0, 10)
    assert 10 * 6_000 < found.unpacked < 10 * 6_100
    assert 500 * 6_000 <= found.most(500) < 520 * 6_100
    assert 6_000 <= found.most(1) < 20 * 6_100
    assert found.held >= found.unpacked


@pytest.mark.parametrize("broken", [b"\xff" * 50, b"\x00" * 50, b"\x15\x04\x15\x01\x15\x01\x00" + b"\x00" * 50])
def test_what_is_no_page_is_told(broken):
    file, chunk = written(use_dictionary=False)
    content = file.getvalue()
    damaged = content[: chunk.start] + broken + content[chunk.start + len(broken) :]
    with pytest.raises(UnreadableError):
        pages.read(io.BytesIO(damaged), chunk, "a file")


def headed(type_: int, values: int, encoding: int = 0, unpacked: int = 8, packed: int = 8) -> tuple[io.BytesIO, Chunk]:
    """A page of 8 bytes under a header with these numbers, the only one of a chunk with 2 values."""
    described, place = {0: (5, 2), 2: (7, 2), 3: (8, 4)}[type_]
    of_values = {1: (5, values), place: (5, encoding)}
    header = struct({1: (5, type_), 2: (5, unpacked), 3: (5, packed), described: (12, of_values)})
    return io.BytesIO(b"PAR1" + header + b"\0" * 8), Chunk(
        0, 2, "a", 2, 4, None, None, len(header) + 8, len(header) + 8
    )


@pytest.mark.parametrize("type_", [0, 3])
def test_a_page_may_fill_its_chunk(type_):
    assert pages.read(*headed(type_, 2), "a file").packed == 8


@pytest.mark.parametrize(
    "said",
    [
        {"type_": 0, "values": 2, "packed": 9},
        {"type_": 0, "values": 2, "packed": 2**31 - 1},
        {"type_": 0, "values": 2, "packed": -1},
        {"type_": 0, "values": 2, "unpacked": -1},
        {"type_": 0, "values": 1},
        {"type_": 3, "values": -1},
        {"type_": 2, "values": 9},
    ],
    ids=str,
)
def test_a_header_that_can_not_be_so_is_told(said):
    with pytest.raises(UnreadableError, match="row group 0 of a file: can't be decoded"):
        pages.read(*headed(**said), "a file")


@pytest.mark.parametrize("field", [1, 2, 3, 5])
@pytest.mark.parametrize("other", [(12, {}), (9, (5, [])), (8, b"")], ids=["structure", "list", "bytes"])
def test_a_header_of_other_kinds_of_fields_is_told(field, other):
    of_values = (12, {1: (5, 2), 2: (5, 0)})
    fields = {1: (5, 0), 2: (5, 8), 3: (5, 8), 5: of_values}
    for header in (fields | {field: other}, fields | {5: (12, of_values[1] | {1 + field % 2: other})}):
        content = b"PAR1" + struct(header) + b"\0" * 8
        chunk = Chunk(0, 2, "a", 2, 4, None, None, len(content) - 4, len(content) - 4)
        with pytest.raises(UnreadableError, match="can't be decoded"):
            pages.check(io.BytesIO(content), [chunk], "a file")


@pytest.mark.parametrize("encoding", [6, 7])
def test_lengths_in_deltas_are_told_where_the_footer_does_not(encoding):
    file, chunk = headed(0, 2, encoding)
    with pytest.raises(UnreadableError, match="has pages in another encoding than its footer says"):
        pages.check(file, [chunk], "a file")
    assert pages.read(file, chunk, "a file").encodings == {encoding}


def nullable(version: str, compression: str) -> tuple[bytes, Chunk]:
    """A column of numbers and NULLs, in runs and in bits."""
    file, numbers = io.BytesIO(), [None if n % 7 == 3 or 300 < n < 400 else n % 5 for n in range(1_000)]
    options = {"use_dictionary": False, "data_page_version": version, "compression": compression}
    pq.write_table(pa.table({"a": pa.array(numbers, pa.int32())}), file, **options)
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    sizes = column.total_compressed_size, column.total_uncompressed_size
    return file.getvalue(), Chunk(
        0, 1_000, "a", 1_000, column.data_page_offset, None, None, *sizes, codec=column.compression, optional=True
    )


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "lz4"])
def test_values_and_nulls_are_no_fault(version, compression):
    content, chunk = nullable(version, compression)
    assert pages.read(io.BytesIO(content), chunk, "a file").fewest == 1_000


@pytest.mark.parametrize(("version", "compression"), [("1.0", "none"), ("2.0", "snappy")])
def test_levels_that_do_not_say_of_each_value_whether_it_is_null_are_told(version, compression):
    """What pyarrow refuses of them is refused; DuckDB would take the bits that follow, and so other values for NULL."""
    content, chunk = nullable(version, compression)
    header, length = thrift.leading(content[chunk.start : chunk.start + 1_000])
    first = chunk.start + length
    size = header[8][5] if version == "2.0" else 4 + int.from_bytes(content[first : first + 4], "little")
    refused = 0
    for at in range(first, first + size):
        damaged = content[:at] + bytes([content[at] ^ 0xB8]) + content[at + 1 :]
        try:
            pq.read_table(io.BytesIO(damaged))
        except OSError as e:
            if "levels" not in str(e):
                continue
            refused += 1
            with pytest.raises(UnreadableError, match="can't be decoded"):
                pages.read(io.BytesIO(damaged), chunk, "a file")
    assert refused > 5


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_a_page_that_is_too_long_to_be_looked_at_is_not_unpacked(version, compression, monkeypatch):
    """A page of 40 MB may be one of a gigabyte, by which a worker would die."""
    content, chunk = nullable(version, compression)
    file = io.BytesIO(content)
    assert pages.check(file, [chunk], "a file")
    monkeypatch.setattr(pages, "LONGEST", 100)
    for look in ("leading", "say_of_all"):
        monkeypatch.setattr(pages.levels, look, lambda *_: pytest.fail("unpacked"))
    assert not pages.check(file, [chunk], "a file")


@pytest.mark.parametrize("codec", ["snappy", "zstd", "uncompressed"])
@given(
    levels=st.binary(max_size=200) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(1, 300)),
    values=st.binary(max_size=300)
    | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(1, 30_000)),
)
def test_levels_are_found_before_whatever_values(codec, levels, values):
    page = len(levels).to_bytes(4, "little") + levels + values
    packed = page if codec == "uncompressed" else pa.compress(page, codec, asbytes=True)
    assert leading(packed, codec.upper(), len(page)) == levels


@given(content=st.binary(max_size=40), unpacked=st.integers(0, 100))
def test_what_nothing_was_compressed_to_has_no_levels_beyond_its_end(content, unpacked):
    for codec in ("SNAPPY", "ZSTD", "UNCOMPRESSED", "LZO", "7"):
        assert len(leading(content, codec, unpacked) or b"") <= max(0, unpacked - 4)
