"""Parquet written as it is made, into any stream: what waits in memory is one row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Bytes of Arrow values that make a row group. BigQuery advises 16 MiB
#: (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#input_file_requirements) for the fastest
#: load. A process that writes two files at once needs 20 MiB more memory with 8 MiB than with 4.
ROW_GROUP_BYTES = 4 << 20

#: Rows that tell whether a column is worth a dictionary, and the share of different values up to which it is. To look
#: for every value of the others in a dictionary takes half of the time of encoding, and makes the file a tenth larger.
SAMPLE_ROWS = 4096
FEW_DIFFERENT = 0.4


class ParquetWriter:
    """Batches of one schema, each a row group."""

    def __init__(self, create: Callable[[pa.RecordBatch], pq.ParquetWriter]) -> None:
        """`create` makes the file, given its first row group."""
        self._create = create
        self._file: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the batch as a row group."""
        import pyarrow as pa

        self._file = self._file or self._create(batch)
        self._file.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)
        self.rows += batch.num_rows


@contextmanager
def snappy(stream: IO[bytes], schema: pa.Schema, *, differences: bool = False) -> Iterator[ParquetWriter]:
    """A writer of Snappy Parquet; the footer follows when the block ends well. A file has rows.

    With `differences`, numbers and times that are near those of the row before take next to no space.
    """
    import pyarrow.parquet as pq

    with ExitStack() as stack:

        def create(first: pa.RecordBatch) -> pq.ParquetWriter:
            file = pq.ParquetWriter(
                stream,
                schema,
                compression="snappy",
                store_schema=False,
                write_statistics=False,  # nobody looks for a value in them
                use_dictionary=False if differences else _repetitive(first),
                column_encoding=dict.fromkeys(schema.names, "DELTA_BINARY_PACKED") if differences else None,
            )
            return stack.enter_context(file)

        yield ParquetWriter(create)


def row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that are fit to be row groups: as many bytes, and each column in one piece."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.get_total_buffer_size()
        del batch
        if size >= ROW_GROUP_BYTES:
            size = 0
            yield _joined(waiting)
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all, which are let go."""
    import pyarrow as pa

    joined = pa.concat_batches(batches)
    batches.clear()
    return joined


def _repetitive(batch: pa.RecordBatch) -> list[str]:
    """The columns whose values come again and again; of lists, nobody knows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sample = batch.slice(0, SAMPLE_ROWS)
    limit = sample.num_rows * FEW_DIFFERENT
    single = (field.name for field in sample.schema if not pa.types.is_list(field.type))
    return [name for name in single if pc.count_distinct(sample.column(name)).as_py() <= limit]
