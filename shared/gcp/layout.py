"""Where a Parquet file says that its pages lie. DuckDB believes the file, and a seek to byte -5 ends the process."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from shared.gcp import thrift
from shared.words import quantity

#: The magic number at the start of a file; at its end, the footer's length and the number again
#: (https://parquet.apache.org/docs/file-format/).
_HEAD, _TAIL = 4, 8
_MAGIC = b"PAR1"

#: Bytes of a footer that is read here: a chunk takes some 100.
_LONGEST_FOOTER = 16 << 20

_CUT_OFF = "is cut off: its footer points beyond its end"


#: The encodings of texts whose lengths are packed as deltas, by their numbers in a page's header.
DELTAS_OF_LENGTHS = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}


@dataclass(frozen=True)
class File:
    """A file by its own words: the rows, and the length of its footer. Only `bytes` is measured."""

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
    it says to be NULL; `optional` that each is a value or NULL, and nothing else.
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
    optional: bool = False

    @property
    def beyond_duckdb(self) -> bool:
        """Whether it is written as pyarrow reads it, and DuckDB does not: LZ4 in Hadoop's frames, and floats' encoding
        for other types.

        Or DuckDB believes too much of it. Of gzip, it leaves out the checksum, so that a broken page would be other
        values; of LZ4, where nothing tells a byte that was changed, whether a page says of all its values which are
        NULL; of Brotli, how many bytes there were, so that what lies in memory would be; and of the lengths of texts
        in deltas, how many there are, so that it would write where nothing is.
        """
        split = "BYTE_STREAM_SPLIT" in self.encodings and self.physical not in ("FLOAT", "DOUBLE")
        lengths = any(name in self.encodings for name in DELTAS_OF_LENGTHS.values())
        return split or lengths or self.codec in ("LZ4", "LZ4_RAW", "GZIP", "BROTLI")

    @property
    def undecoded(self) -> str:
        """What is said of pages that no reader makes values of."""
        return f"can't be decoded ({self.codec}; {self.encodings})"

    @property
    def start(self) -> int:
        """Where its first page begins."""
        return min(self.dictionary, self.data) if self.dictionary else self.data


class EncryptedError(Exception):
    """The file is encrypted: its footer says nothing."""


#: Names by the numbers in a footer.
_TYPES = dict(
    enumerate(("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"))
)
_CODECS = dict(enumerate(("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")))
_ENCODINGS = {
    0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", **DELTAS_OF_LENGTHS,
    8: "RLE_DICTIONARY", 9: "BYTE_STREAM_SPLIT",
}  # fmt: skip
#: What a footer has numbers for that nobody knows.
_UNKNOWN = re.compile(r"\b(codec|type|encoding) (-?\d+)")


def read_from(file: BinaryIO) -> tuple[File, list[Chunk]]:
    """What `read` gives, and raises, of the footer of a file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > min(size - _TAIL, _LONGEST_FOOTER):
        raise ValueError("has no footer, or one that is too long")
    file.seek(size - _TAIL - length)
    return read(file.read(length), size)


def read(footer: bytes, size: int) -> tuple[File, list[Chunk]]:
    """What the footer of a file of so many bytes says, read without its statistics.

    DuckDB makes text of whatever a footer holds, and fails where it can't. pyarrow ends the process where a column is
    encrypted. Raises EncryptedError, and ValueError when there is no footer.
    """
    found: Any = thrift.struct(footer)
    if 8 in found:  # the encryption algorithm
        raise EncryptedError
    try:
        chunks = [
            _chunk(number, group[3], chunk[3])
            for number, group in enumerate(found.get(4, ()))
            for chunk in group.get(1, ())
        ]
        return File(_whole(found[3]), size, len(footer)), chunks
    except (AttributeError, IndexError, KeyError, TypeError) as e:
        raise ValueError("is no footer") from e


def _chunk(row_group: int, rows: int, said: Any) -> Chunk:
    return Chunk(
        row_group=row_group,
        rows=_whole(rows),
        column=".".join(name.decode(errors="replace") for name in said[3]),
        values=_whole(said[5]),
        data=_whole(said[9]),
        dictionary=_whole(said[11]) if 11 in said else None,
        index=_whole(said[10]) if 10 in said else None,
        packed=_whole(said[7]),
        unpacked=_whole(said[6]),
        physical=_name(_TYPES, "type", said[1]),
        codec=_name(_CODECS, "codec", said[4]),
        encodings=", ".join(_name(_ENCODINGS, "encoding", number) for number in said[2]),
        nulls=said.get(12, {}).get(3),
    )


def _whole(said: object) -> int:
    """A number of the footer's. Raises TypeError where a footer that was made up has something else."""
    if not isinstance(said, int):
        raise TypeError
    return said


def _name(names: Mapping[int, str], what: str, number: object) -> str:
    return names.get(_whole(number), f"{what} {number}")


def wrong(file: File, chunks: Iterable[Chunk]) -> str | None:
    """What can't be true of the file, with the column and row group; None if all can be true."""
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
    unknown = _UNKNOWN.search(f"{chunk.codec}, {chunk.physical}, {chunk.encodings}")
    if unknown:
        return f"has {'an' if unknown[1] == 'encoding' else 'a'} {unknown[1]} that is unknown, number {unknown[2]},"
    for count in (chunk.rows, chunk.values, chunk.packed, chunk.unpacked):
        if count < 0:
            return f"counts {count} rows, values or bytes"
    for offset in (chunk.data, chunk.dictionary or _HEAD, chunk.index or _HEAD):
        if offset < 0 or (chunk.values and offset < _HEAD):
            return f"points to byte {offset}, where no page can be,"
        if offset > file.end:
            return _CUT_OFF
    return _CUT_OFF if chunk.values and chunk.start + chunk.packed > file.end else None
