"""Footers that are read without DuckDB."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.gcp import layout, thrift


def test_a_footer_says_what_pyarrow_reads_in_it():
    sink = io.BytesIO()
    rows = pa.table({"n": range(1_000), "c": ["x", None] * 500, "s": [{"a": 1.5}] * 1_000})
    pq.write_table(rows, sink, row_group_size=300, compression="zstd")
    content = sink.getvalue()
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    length = int.from_bytes(content[-8:-4], "little")
    file, chunks = layout.read(content[-8 - length : -8], len(content))
    assert file == layout.File(1_000, len(content), length)
    assert layout.wrong(file, chunks) is None
    expected = [metadata.row_group(group).column(number) for group in range(4) for number in range(3)]
    assert [(c.column, c.values, c.data, c.dictionary, c.packed, c.unpacked) for c in chunks] == [
        (e.path_in_schema, e.num_values, e.data_page_offset, e.dictionary_page_offset, e.total_compressed_size,
         e.total_uncompressed_size) for e in expected
    ]  # fmt: skip
    assert [(c.physical, c.codec, set(c.encodings.split(", ")), c.nulls) for c in chunks] == [
        (e.physical_type, "ZSTD", set(e.encodings), e.statistics.null_count) for e in expected
    ]


@given(st.binary())
def test_other_bytes_are_no_footer(content):
    try:
        thrift.struct(content)
        layout.read(content, len(content))
    except (ValueError, layout.EncryptedError):
        pass


@pytest.mark.parametrize("content", [b"", b"\x1c" * 100_000, b"\x19\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x15"])
def test_a_structure_that_never_ends_is_none(content):
    with pytest.raises(ValueError, match=r"ends within|too deep|too long"):
        thrift.struct(content)
