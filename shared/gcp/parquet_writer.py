"""Parquet written as it is made, into any stream: what waits in memory is one row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Bytes of Arrow values that make a row group. BigQuery advises 16 MiB
#: (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#input_file_requirements) for the fastest
#: load; half of that saves 65 MB of memory in a process that writes two files at once.
ROW_GROUP_BYTES = 8 << 20


class ParquetWriter:
    """Batches of one schema, gathered into row groups."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> bool:
        """Take the batch along; whether a row group ended with it."""
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        self.rows += batch.num_rows
        full = self._bytes >= ROW_GROUP_BYTES
        if full:
            self.flush()
        return full

    def flush(self) -> None:
        """End the row group."""
        import pyarrow as pa

        if self._waiting:
            group = pa.Table.from_batches(self._waiting)
            self._writer.write_table(group, row_group_size=group.num_rows)
            self._waiting, self._bytes = [], 0


@contextmanager
def snappy(stream: IO[bytes], schema: pa.Schema) -> Iterator[ParquetWriter]:
    """A writer of Snappy Parquet; the footer follows when the block ends well."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(stream, schema, compression="snappy", store_schema=False) as file:
        writer = ParquetWriter(file)
        yield writer
        writer.flush()
