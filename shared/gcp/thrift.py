"""Thrift's compact protocol, in which Parquet writes what it says of itself
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).

Fields are known by their numbers, which stand in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

#: How deep structures may be in each other.
_DEEPEST = 16

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)


def struct(content: bytes) -> dict[int, object]:
    """The fields of a structure: numbers, bytes, truths, lists, and structures. Raises ValueError of anything else."""
    try:
        return leading(content)[0]
    except IndexError:
        raise ValueError("ends within a structure") from None


def leading(content: bytes) -> tuple[dict[int, object], int]:
    """The structure that the bytes begin with, and how many it takes. Raises IndexError where they end before it does,
    and ValueError as `struct` does.
    """
    return _struct(content, 0, 0)


def _struct(content: bytes, at: int, depth: int) -> tuple[dict[int, object], int]:
    if depth > _DEEPEST:
        raise ValueError("is too deep")
    fields: dict[int, object] = {}
    number = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _number(content, at)
        kind = head & 15
        fields[number], at = (kind == _TRUE, at) if kind in (_TRUE, _FALSE) else _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[object, int]:
    if kind in _NUMBERS:
        return _number(content, at)
    if kind == _STRUCT:
        return _struct(content, at, depth + 1)
    if kind in (_LIST, _SET):
        return _items(content, at, depth)
    if kind in (_TRUE, _FALSE, _BYTE):  # in a list, a truth is a byte
        return content[at], at + 1
    if kind not in (_DOUBLE, _BINARY):
        raise ValueError("is of no type that Parquet uses")
    length, at = (8, at) if kind == _DOUBLE else varint(content, at)
    if at + length > len(content):
        raise IndexError
    return content[at : at + length], at + length


def _items(content: bytes, at: int, depth: int) -> tuple[list[object], int]:
    kind, size = content[at] & 15, content[at] >> 4
    at += 1
    if size == 15:
        size, at = varint(content, at)
    items = []
    for _ in range(size):
        item, at = _value(content, at, kind, depth)
        items.append(item)
    return items, at


def _number(content: bytes, at: int) -> tuple[int, int]:
    packed, at = varint(content, at)
    return (packed >> 1) ^ -(packed & 1), at


def varint(content: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("has a number that is too long")
