"""Rows that pyarrow reads because DuckDB can't: they are too long, or DuckDB does not read their encoding.

DuckDB has 2,048 rows in memory at once, whatever their length. pyarrow takes as many rows at a time as the pages' own
headers say to be few enough.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from shared.errors import DataError
from shared.gcp import pages, ranged
from shared.gcp.layout import Chunk

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: The bytes of pages that are held at once, and of a row. Of a row there are several copies on the way, and a function
#: of 1 GiB takes both at their limit.
PAGES_BYTES = 256 << 20
ROW_BYTES = 32 << 20

#: The bytes of rows that are taken together, and their number.
_TOGETHER = 32 << 20
_ROWS = 16_384

_REMEDY = "Write shorter values; or smaller pages, and smaller row groups"


def batches(file: BinaryIO, chunks: Sequence[Chunk], skipped: int, where: str) -> Generator[pa.RecordBatch]:
    """The rows of a file after the first so many, in its order, in types that DuckDB takes as they are.

    Raises DataError, with column and row group, for rows or pages that are larger than the limit, before it takes such
    pages into memory; what `pages.read` does; pyarrow's errors; and what `file` raises.
    """
    opened = ranged.opened(file)
    for row_group in range(opened.num_row_groups):
        of_group = [chunk for chunk in chunks if chunk.row_group == row_group]
        rows = of_group[0].rows if of_group else 0
        if skipped >= rows:
            skipped -= rows
            continue
        for batch in of_row_group(file, opened, of_group, where):
            if skipped < batch.num_rows:
                yield batch.slice(skipped)
            skipped = max(0, skipped - batch.num_rows)


def of_row_group(
    file: BinaryIO, opened: pq.ParquetFile, chunks: Sequence[Chunk], where: str
) -> Generator[pa.RecordBatch]:
    """The same of some columns of one row group: all of its rows, each text looked at."""
    rows, row_group = _together(file, chunks, where), chunks[0].row_group
    columns = [chunk.column for chunk in chunks]
    for batch in opened.iter_batches(batch_size=rows, row_groups=[row_group], columns=columns, use_threads=False):
        _refuse_long(batch, row_group, where)
        batch.validate(full=True)
        yield ranged.plain(batch)


def _together(file: BinaryIO, chunks: Sequence[Chunk], where: str) -> int:
    """How many rows of a row group can be taken together, whatever is in them."""
    found = [pages.read(file, chunk, where) for chunk in chunks]
    held = sum(each.held for each in found)
    if held > PAGES_BYTES:
        most, chunk = max(zip((each.held for each in found), chunks, strict=True), key=lambda pair: pair[0])
        raise DataError(
            f"has pages of {most} bytes; {PAGES_BYTES} are taken at once, of all columns together",
            where=_place(where, chunk.column, chunk.row_group),
            remedy=_REMEDY,
        )
    rows = _ROWS
    while rows > 1 and sum(each.most(rows) for each in found) > _TOGETHER:
        rows //= 2
    return rows


def _refuse_long(batch: pa.RecordBatch, row_group: int, where: str) -> None:
    if batch.nbytes <= ROW_BYTES:
        return
    for row in range(batch.num_rows):
        one = batch.slice(row, 1)
        if one.nbytes > ROW_BYTES:
            sizes = {name: column.nbytes for name, column in zip(one.schema.names, one.columns, strict=True)}
            raise DataError(
                f"has most of a row of {one.nbytes} bytes; a row has at most {ROW_BYTES}",
                where=_place(where, max(sizes, key=lambda name: sizes[name]), row_group),
                remedy=_REMEDY,
            )


def _place(where: str, column: str, row_group: int) -> str:
    return f"{column}, row group {row_group} of {where}"
