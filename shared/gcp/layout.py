"""Where a Parquet file says that its pages lie. DuckDB believes it, and a process that seeks to byte -5 is gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.words import quantity

#: The magic number at the start of a file; at its end, the footer's length and the number again
#: (https://parquet.apache.org/docs/file-format/).
_HEAD, _TAIL = 4, 8

_CUT_OFF = "is cut off: its footer points beyond its end"


@dataclass(frozen=True)
class File:
    """A file by its own words, but for its `bytes`: the rows and the length of its footer."""

    rows: int
    bytes: int
    footer: int

    @property
    def end(self) -> int:
        """Where the pages end, at the latest."""
        return self.bytes - self.footer - _TAIL


@dataclass(frozen=True)
class Chunk:
    """The values of a column in a row group, as the footer describes them: offsets and sizes in bytes, the offsets from
    the start of the file. `dictionary` and `index` are None or 0 where there is none. `nulls` is how many of the values
    it says to be NULL.
    """

    row_group: int
    rows: int
    column: str
    values: int
    data: int
    dictionary: int | None
    index: int | None
    packed: int
    unpacked: int
    physical: str = ""
    codec: str = ""
    encodings: str = ""
    nulls: int | None = None

    @property
    def beyond_duckdb(self) -> bool:
        """Whether it is written as pyarrow reads it, and DuckDB does not: LZ4 in Hadoop's frames, and floats' encoding
        for other types.
        """
        split = "BYTE_STREAM_SPLIT" in self.encodings and self.physical not in ("FLOAT", "DOUBLE")
        return split or self.codec == "LZ4"

    @property
    def start(self) -> int:
        """Where its first page begins."""
        return min(self.dictionary, self.data) if self.dictionary else self.data


def wrong(file: File, chunks: Iterable[Chunk]) -> str | None:
    """What can't be so, and of which column and row group; None if all can."""
    rows: dict[int, int] = {}
    for chunk in chunks:
        rows[chunk.row_group] = chunk.rows
        what = _wrong(file, chunk)
        if what:
            return f"{what} for column {chunk.column} in row group {chunk.row_group}"
    if file.rows < 0 or sum(rows.values()) != file.rows:
        return f"counts {quantity(file.rows, 'row')}, and {sum(rows.values()):,} in its row groups"
    return None


def _wrong(file: File, chunk: Chunk) -> str | None:
    for count in (chunk.rows, chunk.values, chunk.packed, chunk.unpacked):
        if count < 0:
            return f"counts {count} rows, values or bytes"
    for offset in (chunk.data, chunk.dictionary or _HEAD, chunk.index or _HEAD):
        if offset < 0 or (chunk.values and offset < _HEAD):
            return f"points to byte {offset}, where no page can be,"
        if offset > file.end:
            return _CUT_OFF
    return _CUT_OFF if chunk.values and chunk.start + chunk.packed > file.end else None
