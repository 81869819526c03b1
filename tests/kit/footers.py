"""Parquet footers that say what no writer would: a footer taken apart, changed, and put together again.

A footer is one structure of Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), whose fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import io
from collections.abc import Callable

#: A structure: its fields' types and values, by their number.
type Struct = dict[int, tuple[int, object]]

_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 6, 7, 8, 9, 10, 12

ROW_GROUPS, COLUMNS, META_DATA, STATISTICS = 4, 1, 3, 12
TYPE, ENCODINGS, CODEC, NUM_VALUES, PACKED, DATA_PAGE_OFFSET = 1, 2, 4, 5, 7, 9
MAX, MIN, NULL_COUNT, MAX_VALUE, MIN_VALUE = 1, 2, 3, 5, 6


def patched(part: bytes, change: Callable[[Struct], None]) -> bytes:
    """The part with a changed footer."""
    length = int.from_bytes(part[-8:-4], "little")
    footer = _read(io.BytesIO(part[-8 - length : -8]), _STRUCT)
    change(footer)
    content = _written(_STRUCT, footer)
    return part[: -8 - length] + content + len(content).to_bytes(4, "little") + b"PAR1"


def chunks(footer: Struct) -> list[Struct]:
    """What the footer says of each column of each row group."""
    groups = footer[ROW_GROUPS][1][1]
    return [column[META_DATA][1] for group in groups for column in group[COLUMNS][1][1]]


def shortened(part: bytes, missing: int) -> bytes:
    """The part without so many bytes at the end of its last page, which its footer does not count either."""
    footer = len(part) - 8 - int.from_bytes(part[-8:-4], "little")

    def change(found: Struct) -> None:
        type_, packed = chunks(found)[-1][PACKED]
        chunks(found)[-1][PACKED] = (type_, packed - missing)

    return patched(part[: footer - missing] + part[footer:], change)


def with_last_page(part: bytes, at: int) -> bytes:
    """The part whose page at an offset says that it ends where the part does, stored and unpacked."""
    file = io.BytesIO(part)
    file.seek(at)
    header, length = _read_struct(file), file.tell() - at
    changed = part
    for _ in range(3):  # its numbers make it longer
        size = len(changed) - at - length
        content = _written(_STRUCT, header | {2: (5, size), 3: (5, size)})
        changed, length = part[:at] + content + part[file.tell() :], len(content)
    return changed


def with_statistics(part: bytes, column: int, **values: int | bytes) -> bytes:
    """The part, whose statistics of one column (of one row group) say otherwise: `null_count`, `min_value`, …"""
    numbers = {"max": MAX, "min": MIN, "null_count": NULL_COUNT, "max_value": MAX_VALUE, "min_value": MIN_VALUE}

    def change(footer: Struct) -> None:
        statistics = chunks(footer)[column].setdefault(STATISTICS, (_STRUCT, {}))[1]
        for name, value in values.items():
            statistics[numbers[name]] = (_I64 if isinstance(value, int) else _BINARY, value)

    return patched(part, change)


def struct(fields: Struct) -> bytes:
    """A structure as it is written."""
    return _written(_STRUCT, fields)


def _read(content: io.BytesIO, type_: int) -> object:
    if type_ == _STRUCT:
        return _read_struct(content)
    if type_ in (_LIST, _SET):
        head = content.read(1)[0]
        size = head >> 4 if head >> 4 != 15 else _read_varint(content)
        # The elements of a list of truths are bytes.
        return head & 15, [_read(content, _BYTE if head & 15 <= _FALSE else head & 15) for _ in range(size)]
    if type_ == _BINARY:
        return content.read(_read_varint(content))
    if type_ == _BYTE:
        return content.read(1)
    if type_ == _DOUBLE:
        return content.read(8)
    number = _read_varint(content)
    return (number >> 1) ^ -(number & 1)


def _read_struct(content: io.BytesIO) -> Struct:
    fields: Struct = {}
    number = 0
    while head := content.read(1)[0]:
        delta, type_ = head >> 4, head & 15
        number = number + delta if delta else _read(content, 4)
        fields[number] = (type_, None if type_ in (_TRUE, _FALSE) else _read(content, type_))
    return fields


def _read_varint(content: io.BytesIO) -> int:
    number = shift = 0
    while True:
        byte = content.read(1)[0]
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number


def _written(type_: int, value: object) -> bytes:
    if type_ == _STRUCT:
        content, before = b"", 0
        for number in sorted(value):
            field, of = value[number]
            delta = number - before
            content += bytes([delta << 4 | field]) if 0 < delta < 16 else bytes([field]) + _written(4, number)
            content += b"" if field in (_TRUE, _FALSE) else _written(field, of)
            before = number
        return content + b"\0"
    if type_ in (_LIST, _SET):
        of, items = value
        head = bytes([len(items) << 4 | of]) if len(items) < 15 else bytes([0xF0 | of]) + varint(len(items))
        return head + b"".join(_written(_BYTE if of <= _FALSE else of, item) for item in items)
    if type_ == _BINARY:
        return varint(len(value)) + value
    if type_ in (_BYTE, _DOUBLE):
        return value
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def varint(number: int) -> bytes:
    """A number that is not negative, in as few bytes as it needs."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])
