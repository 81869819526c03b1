"""The levels of a page: which of its values are NULL. Where they say it of too few, DuckDB takes what lies behind them
for the rest, and one changed byte would be other values.

They are in the hybrid of runs and bits (https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE). In a
page of version 1, they are compressed with the values, behind their length.
"""

from __future__ import annotations

from shared.gcp import thrift

#: The bytes of the levels' length, in a page of version 1.
_LENGTH = 4


def say_of_all(levels: bytes, values: int) -> bool:
    """Whether levels that are 0 or 1 are as many as the values."""
    at = said = 0
    try:
        while said < values:
            header = levels[at]
            at += 1
            if header > 127:
                header, at = thrift.varint(levels, at - 1)
            number = header >> 1
            if not number:
                return False
            if header & 1:  # groups of 8 levels, each a bit
                at += number
                said += number * 8
            elif levels[at] <= 1:  # one level in a byte, so many times
                at += 1
                said += number
            else:
                return False
    except (IndexError, ValueError):
        return False
    return at <= len(levels)


def leading(packed: bytes, codec: str, unpacked: int) -> bytes | None:
    """The levels that a page of version 1 begins with, which is `unpacked` bytes long without its codec (a name in
    Parquet's own spelling); None where it is not so.
    """
    import pyarrow as pa

    try:
        page = packed if codec == "UNCOMPRESSED" else pa.decompress(packed, unpacked, codec.lower())
    except (pa.ArrowException, OSError, ValueError):  # the last of a codec that is none of its
        return None
    found = memoryview(page)
    length = int.from_bytes(found[:_LENGTH], "little")
    return bytes(found[_LENGTH : _LENGTH + length]) if _LENGTH + length <= len(found) == unpacked else None
