"""The pages of a Parquet column as their own headers describe them. A reader takes each page into memory whole,
whatever the footer says of all pages together.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift has the fields of a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from shared.gcp import thrift
from shared.gcp.layout import Chunk

#: Bytes that are read for a header at first. It may hold a least and a greatest value.
_HEADER = 1 << 12
_LONGEST_HEADER = 1 << 24

#: Fields of a PageHeader, and its type of a page that is a dictionary.
_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_OF_DATA = (5, 8)  # a DataPageHeader and its second version, whose first fields are the number of values
_DICTIONARY = 2


@dataclass(frozen=True)
class Pages:
    """The pages of a chunk: the bytes of its dictionary, of its largest page as it is stored and unpacked, and the
    least number of values in any page but the last.
    """

    dictionary: int
    packed: int
    unpacked: int
    fewest: int

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


def read(file: BinaryIO, chunk: Chunk) -> Pages | None:
    """The pages of a chunk; None where the headers are not as the format has them."""
    dictionary = packed = unpacked = seen = 0
    fewest, last = chunk.values, None
    at, end = chunk.start, chunk.start + chunk.packed
    while at < end and seen < chunk.values:
        found = _header(file, at, end)
        if found is None:
            return None
        header, length = found
        sizes = [header.get(_PACKED), header.get(_UNPACKED)]
        stored, whole = (size if isinstance(size, int) else -1 for size in sizes)
        at += length + stored
        if stored < 0 or whole < 0 or at > end:
            return None
        packed = max(packed, stored)
        if header.get(_TYPE) == _DICTIONARY:
            dictionary = max(dictionary, whole)
            continue
        unpacked = max(unpacked, whole)
        if last is not None:
            fewest = min(fewest, last)
        last = _values(header)
        seen += last
    return Pages(dictionary, packed, unpacked, fewest)


def _values(header: dict[int, object]) -> int:
    for field in _OF_DATA:
        of_data = header.get(field)
        if isinstance(of_data, dict):
            values = of_data.get(1)
            return values if isinstance(values, int) and values > 0 else 0
    return 0


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
