"""Arrow batches whose size is measured in the bytes that they turn out to have: a file's own numbers do not tell it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: The size of a batch that is aimed at, and the rows that it has at most. A handful of batches are under way at once.
BATCH_BYTES = 4 << 20
BATCH_ROWS = 16_384


def together(batches: Iterable[pa.RecordBatch]) -> Generator[pa.Table]:
    """The same rows in tables of at least BATCH_BYTES or about BATCH_ROWS, but for the last."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        waiting.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= BATCH_BYTES or rows >= BATCH_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, size, rows = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def apart(rows: pa.RecordBatch | pa.Table) -> Generator[pa.RecordBatch]:
    """The rows in batches of about BATCH_BYTES, or of a row that has more. Short ones are left as they come."""
    import pyarrow as pa

    pieces = max(1, -(-rows.nbytes // (2 * BATCH_BYTES)))
    step = max(1, -(-rows.num_rows // pieces))
    for start in range(0, rows.num_rows, step):
        piece = rows.slice(start, step)
        yield from [piece] if isinstance(piece, pa.RecordBatch) else piece.combine_chunks().to_batches()
