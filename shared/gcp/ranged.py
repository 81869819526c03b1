"""A Parquet object as pyarrow reads it, piece by piece: more slowly than DuckDB, as a second opinion.

pyarrow reads what DuckDB can't read, or not exactly, and tells in which column and row group a file is broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from shared.gcp.layout import Chunk

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: What is asked for at once, of one column.
_BUFFER_BYTES = 1 << 20


def opened(file: BinaryIO) -> pq.ParquetFile:
    """Raises what pyarrow and `file` do."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        file,
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
        coerce_int96_timestamp_unit="us",  # as nanoseconds, years before 1677 and after 2262 would wrap
        arrow_extensions_enabled=False,
    )


def nothing(file: pq.ParquetFile, columns: Sequence[str]) -> pa.RecordBatch:
    """A batch of these columns without rows."""
    import pyarrow as pa

    schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    return plain(pa.RecordBatch.from_pylist([], schema=schema))


def broken(e: Exception, chunk: Chunk) -> str:
    """What an error of pyarrow says of a column, without any value, and what the footer says of how it is written."""
    if "UTF8" in str(e):
        return "holds text that is not UTF-8"
    if "crypt" in str(e):
        return "is encrypted"
    return chunk.undecoded


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in types that DuckDB takes as they are."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([_plain_array(array) for array in batch.columns], names=batch.schema.names)


def _plain_array(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    type_ = array.type
    if pa.types.is_dictionary(type_):
        return _plain_array(array.dictionary_decode())
    if pa.types.is_float16(type_):
        return array.cast(pa.float32())
    if pa.types.is_string_view(type_) or pa.types.is_large_string(type_):
        return array.cast(pa.string())
    if pa.types.is_timestamp(type_) and type_.unit == "ns" and type_.tz is not None:
        return array.view(pa.timestamp("ns"))  # DuckDB would cut it towards 1970
    return array
