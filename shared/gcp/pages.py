"""The pages of a Parquet column as their own headers describe them. A reader takes each page into memory whole,
whatever the footer says of all pages together.

DuckDB believes these headers. A page that reaches beyond the file has it read what lies in memory after the file's
bytes, and die of it or take it for values; so they are looked at here before.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift has the fields of a header.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeGuard

from shared.errors import UnreadableError
from shared.gcp import levels, thrift
from shared.gcp.layout import DELTAS_OF_LENGTHS, Chunk

#: Bytes that are read for a header at first. It may hold a least and a greatest value.
_HEADER = 1 << 12
_LONGEST_HEADER = 1 << 24

#: Bytes of a page, without its codec, that is unpacked here. What a header says is not believed without a limit.
LONGEST = 64 << 20

#: Bytes of a page that are taken at once for its checksum.
_PIECE = 1 << 20

#: Fields of a PageHeader: its type, its sizes, the checksum of its bytes as they are stored; and by its type, which
#: field describes its values, of which that field's first is the number, and which of its fields is their encoding.
_TYPE, _UNPACKED, _PACKED, _CHECKSUM = 1, 2, 3, 4
_OF_TYPE = {0: (5, 2), 2: (7, 2), 3: (8, 4)}
_DICTIONARY = 2

#: In the header of a data page of version 2, whose levels lie before its values, and are not compressed: how many bytes
#: say which values are NULL, and how many where lists begin.
_VERSION_2, _DEFINED, _REPEATED = 3, 5, 6

#: In the header of one of version 1: the encoding of the levels that say which values are NULL.
_VERSION_1, _LEVELS_ENCODING, _RLE = 0, 3, 3


@dataclass(frozen=True)
class Pages:
    """The pages of a chunk: the bytes of its dictionary, of its largest page as it is stored and unpacked, the least
    number of values in any page but the last, and the numbers of their encodings.
    """

    dictionary: int
    packed: int
    unpacked: int
    fewest: int
    encodings: frozenset[int]

    @property
    def held(self) -> int:
        """The bytes that a reader holds at once."""
        return self.dictionary + self.packed + self.unpacked

    def most(self, rows: int) -> int:
        """The bytes that the values of so many rows, one after the other, may have at most. Each value is in a page,
        or in the dictionary, whole.
        """
        touched = min(rows, rows // max(self.fewest, 1) + 2)
        return max(touched * self.unpacked, rows * self.dictionary)


@dataclass(frozen=True)
class _Page:
    """What a header says, and where the bytes lie that it describes. In a page of version 2, the first of them are the
    `levels`, which say of each value whether it is NULL; 0 where they can be other numbers than 0 and 1. `in_runs` says
    that in a page of version 1, they are in the hybrid of runs and bits.
    """

    type: int
    values: int
    encoding: int
    packed: int
    unpacked: int
    checksum: int | None
    start: int
    levels: int = 0
    in_runs: bool = False

    @property
    def end(self) -> int:
        return self.start + self.packed


def check(file: BinaryIO, chunks: Iterable[Chunk], where: str) -> bool:
    """Whether DuckDB is to read these chunks: each page was looked at. A longer one is pyarrow's, which looks itself.

    Raises what `read` does of the pages of any chunk, and UnreadableError where DuckDB would die of an encoding that
    the footer does not tell of.
    """
    short = True
    for chunk in chunks:
        found = read(file, chunk, where)
        if not found.encodings.isdisjoint(DELTAS_OF_LENGTHS):
            raise _broken("has pages in another encoding than its footer says", chunk, where)
        short = short and max(found.packed, found.unpacked) <= LONGEST
    return short


def read(file: BinaryIO, chunk: Chunk, where: str) -> Pages:
    """The pages of a chunk: each is within it, and all of its values are in them. Raises UnreadableError where it is
    not so, or where a page is not what its checksum was made of; and what `file` does.
    """
    dictionary = packed = unpacked = 0
    fewest, last, encodings = chunk.values, None, set[int]()
    for page in _pages(file, chunk, where):
        packed = max(packed, page.packed)
        encodings.add(page.encoding)
        if page.type == _DICTIONARY:
            dictionary = max(dictionary, page.unpacked)
            continue
        unpacked = max(unpacked, page.unpacked)
        if last is not None:
            fewest = min(fewest, last)
        last = page.values
    return Pages(dictionary, packed, unpacked, fewest, frozenset(encodings))


def _pages(file: BinaryIO, chunk: Chunk, where: str) -> Iterator[_Page]:
    """The pages up to the last that has a value of the chunk."""
    at, end, left = chunk.start, chunk.start + chunk.packed, max(chunk.values, chunk.rows)
    while left > 0:
        page = _page(file, at, end) if at < end else None
        if page is None or (chunk.dictionary or 0) > chunk.data:
            raise _broken(chunk.undecoded, chunk, where)
        if not _says_of_all(file, page, chunk):
            raise _broken(chunk.undecoded, chunk, where)
        if page.checksum is not None and page.checksum != _checksum(file, page):
            raise _broken("has a page whose bytes are not those of its checksum", chunk, where)
        yield page
        at = page.end
        left -= page.values if page.type != _DICTIONARY else 0


def _broken(what: str, chunk: Chunk, where: str) -> UnreadableError:
    place = f"{chunk.column}, row group {chunk.row_group} of {where}"
    return UnreadableError(what, where=place, remedy="Write the part anew")


def _page(file: BinaryIO, at: int, end: int) -> _Page | None:
    """The page whose header is at an offset; None where there can't be such a page."""
    found = _header(file, at, end)
    if found is None:
        return None
    header, length = found
    type_, unpacked, packed = header.get(_TYPE), header.get(_UNPACKED), header.get(_PACKED)
    field, place = _OF_TYPE.get(type_, (0, 0)) if isinstance(type_, int) else (0, 0)
    described = header.get(field)
    if not (isinstance(type_, int) and isinstance(described, dict) and _counts(unpacked) and _counts(packed)):
        return None
    values, encoding = described.get(1), described.get(place)
    if not (_counts(values) and _counts(encoding)):
        return None
    # No writer's dictionary has more values than bytes; a reader makes room for so many.
    if at + length + packed > end or (type_ == _DICTIONARY and values > unpacked):
        return None
    defined = described.get(_DEFINED, 0) if type_ == _VERSION_2 and not described.get(_REPEATED) else 0
    if not _counts(defined) or defined > packed:
        return None
    in_runs = described.get(_LEVELS_ENCODING) == _RLE
    checksum = header.get(_CHECKSUM)
    checksum = checksum & 0xFFFFFFFF if isinstance(checksum, int) else None
    return _Page(type_, values, encoding, packed, unpacked, checksum, at + length, defined, in_runs)


def _says_of_all(file: BinaryIO, page: _Page, chunk: Chunk) -> bool:
    """Whether a page says of all its values which are NULL, where that is to be seen."""
    if max(page.packed, page.unpacked) > LONGEST:
        return True
    file.seek(page.start)
    if page.levels:
        return levels.say_of_all(file.read(page.levels), page.values)
    if page.type == _VERSION_1 and page.in_runs and chunk.optional and not chunk.beyond_duckdb:
        found = levels.leading(file.read(page.packed), chunk.codec, page.unpacked)
        return found is not None and levels.say_of_all(found, page.values)
    return True


def _counts(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and number >= 0


def _checksum(file: BinaryIO, page: _Page) -> int:
    """The CRC-32 of a page's bytes
    (https://github.com/apache/parquet-format/blob/master/README.md#checksumming).
    """
    found = 0
    file.seek(page.start)
    for at in range(page.start, page.end, _PIECE):
        found = zlib.crc32(file.read(min(_PIECE, page.end - at)), found)
    return found


def _header(file: BinaryIO, at: int, end: int) -> tuple[dict[int, object], int] | None:
    """The struct at an offset, and its length."""
    size = _HEADER
    while size <= _LONGEST_HEADER:
        file.seek(at)
        content = file.read(min(size, end - at))
        try:
            return thrift.leading(content)
        except IndexError:
            if size > end - at:
                return None
            size *= 16
        except ValueError:
            return None
    return None
