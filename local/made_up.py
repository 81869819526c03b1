"""Rows of a source that are made up of the tables which read it, because this machine does not have the real ones.

Each value depends on the number of its row alone, so they are the same every time. Columns of one type have the same
value of a number in every table, so that a view finds what it joins. Every seventh value is NULL where it may be, rows
differ by the table's key, and no value is too long, too large or too precise for its column. A further column of a type
is made from the next of the types of BigQuery that can become it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from shared.catalog import Column, PgType, Table

#: How many numbers values are made of: BigQuery's calendar has so many days after 2024.
NUMBERS = 1_000_003
WORDS = ("livre", "été", "œuvre", "日本")
#: The distinct values of a type that has fewer than numbers.
_ROOM = {PgType.BOOLEAN: 2, PgType.SMALLINT: 2**15, PgType.TIME: 86_400}
#: Floats of a row that count as one more row.
_FLOATS = 64


def source(tables: Sequence[Table], rows: int) -> str:
    """The GoogleSQL query for up to so many rows of the source that these tables have in common."""
    columns = {column.name: column for table in tables for column in table.columns}
    rows = max(1, rows // (1 + sum(_length(column.type) for column in columns.values()) // _FLOATS))
    key = next((table.key for table in tables if table.key), ())
    numbers, rows = _key([columns[name] for name in key], rows)
    met: Counter[PgType] = Counter()
    selected = []
    for place, (name, column) in enumerate(columns.items()):
        types = [of.type for table in tables for of in table.columns if of.name == name]
        fit = [type_ for type_ in column.type.sources if all(type_ in other.sources for other in types)]
        type_, choice = min(types, key=room), fit or column.type.sources
        if name in numbers:
            selected.append(f"{value(type_, choice[0], numbers[name])} AS `{name}`")
            continue
        # A permutation of the numbers: 7919 is a prime, and what one row has in two columns is not the same.
        number = f"MOD(i * 7919 + {place}, {rows if rows % 7919 else rows + 1})"
        made = value(type_, choice[met[column.type.plain] % len(choice)], number)
        met[column.type.plain] += 1
        if not type_.array and not _length(type_):  # BigQuery stores no array that is NULL
            made = f"IF(MOD({number}, 7) = 3, NULL, {made})"
        selected.append(f"{made} AS `{name}`")
    return f"SELECT {', '.join(selected)} FROM UNNEST(GENERATE_ARRAY(0, {rows - 1})) AS i"


def _key(columns: Sequence[Column], rows: int) -> tuple[Mapping[str, str], int]:
    """The numbers of the columns of a key, by which rows differ, and of how many rows: as many as are asked for, if the
    columns have so many values.
    """
    numbers, past, left = {}, 1, rows
    for place, column in enumerate(sorted(columns, key=lambda column: room(column.type))):
        share = math.ceil(left ** (1 / (len(columns) - place)))
        take = min(room(column.type), share, left)
        numbers[column.name] = f"MOD(DIV(i, {past}), {take})"
        past, left = past * take, math.ceil(left / take)
    return numbers, min(rows, past) if columns else rows


def room(type_: PgType) -> int:
    """How many values of a type differ."""
    if type_.parameters and type_.plain in (PgType.VARCHAR, PgType.CHAR):
        return int(min(10 ** type_.parameters[0], NUMBERS))
    digits, _ = digits_of(type_)
    return int(10**digits) if type_.plain == PgType.NUMERIC else _ROOM.get(type_.plain, NUMBERS)


def _length(type_: PgType) -> int:
    """The numbers of a vector."""
    return type_.parameters[0] if type_.plain in (PgType.VECTOR, PgType.HALFVEC) else 0


def digits_of(type_: PgType) -> tuple[int, int]:
    """The digits of a made-up decimal, and how many of them are behind the point."""
    precision, scale = type_.parameters if type_.plain == PgType.NUMERIC and type_.parameters else (9, 3)
    behind = min(scale, 6)
    return min(precision - scale + behind, 9), behind


def value(type_: PgType, source: str, number: str) -> str:
    """The GoogleSQL expression of a value of a type of BigQuery that becomes the PostgreSQL type."""
    if _length(type_):
        places = f"UNNEST(GENERATE_ARRAY(1, {_length(type_)})) AS k"
        return f"ARRAY(SELECT MOD({number} * 31 + k * 7, 100) / 64 FROM {places})"
    if type_.array:
        of = source.removeprefix("ARRAY<").removesuffix(">")
        elements = (value(type_.element, of, each) for each in (number, f"({number} + 1)"))
        return f"[{', '.join(elements)}]"
    if type_.plain == PgType.NUMERIC or source in ("NUMERIC", "BIGNUMERIC"):
        return _decimal(type_, source, number)
    number = f"MOD({number}, {room(type_)})"
    if type_.plain in (PgType.JSON, PgType.JSONB):
        return _document(source, number)
    if type_.plain == PgType.GEOMETRY:
        return _place(source, number)
    if source == "STRING" and type_.plain != PgType.UUID:
        return _text(type_, number)
    if source == "FLOAT64" and type_.plain in (PgType.REAL, PgType.DOUBLE):
        return f"{number} / 8"
    return _VALUES.get(source, "NULL").format(n=number)


#: By type of BigQuery, the value of a number where the type alone says what it looks like.
_VALUES = {
    "STRING": "CONCAT('00000000-0000-4000-8000-', LPAD(CAST({n} AS STRING), 12, '0'))",
    "INT64": "{n}",
    "FLOAT64": "CAST({n} AS FLOAT64)",
    "BOOL": "{n} = 1",
    "BYTES": "CAST(CAST({n} AS STRING) AS BYTES)",
    "DATE": "DATE_ADD(DATE '2024-01-01', INTERVAL {n} DAY)",
    "TIME": "TIME(DIV({n}, 3600), DIV(MOD({n}, 3600), 60), MOD({n}, 60))",
    "DATETIME": "DATETIME_ADD(DATETIME '2024-01-01 00:00:00', INTERVAL {n} SECOND)",
    "TIMESTAMP": "TIMESTAMP_ADD(TIMESTAMP '2024-01-01 00:00:00+00', INTERVAL {n} SECOND)",
    "INTERVAL": "INTERVAL {n} DAY",
}


def _text(type_: PgType, number: str) -> str:
    words = ", ".join(f"'{word}'" for word in WORDS)
    text = f"CONCAT(CAST({number} AS STRING), '-', [{words}][OFFSET(MOD({number}, {len(WORDS)}))])"
    return f"SUBSTR({text}, 1, {type_.parameters[0]})" if type_.parameters else text


def _decimal(type_: PgType, source: str, number: str) -> str:
    digits, behind = digits_of(type_) if type_.plain == PgType.NUMERIC else (4, 0)
    if source == "INT64":
        return f"MOD({number}, {10 ** (digits - behind)})"
    unit, number = 10**behind, f"MOD({number}, {10**digits})"
    text = f"CAST(DIV({number}, {unit}) AS STRING)"
    if behind:
        text = f"CONCAT({text}, '.', LPAD(CAST(MOD({number}, {unit}) AS STRING), {behind}, '0'))"
    return f"CAST({text} AS {source})"


def _document(source: str, number: str) -> str:
    """A document, as text or as what BigQuery makes one of."""
    struct = f"STRUCT({number} AS n, 'été' AS word, [{number}, 0] AS more)"
    match source:
        case "JSON":
            return f"TO_JSON({struct})"
        case "STRUCT":
            return struct
        case "ARRAY<STRUCT>":
            return f"[{struct}]"
        case "RANGE":
            first, last = (_VALUES["DATE"].format(n=n) for n in (number, f"{number} + 1"))
            return f"RANGE({first}, {last})"
        case _:
            return f"TO_JSON_STRING({struct})"


def _place(source: str, number: str) -> str:
    """A point in France."""
    point = f"ST_GEOGPOINT(MOD({number}, 1000) / 125 - 1, MOD({number}, 997) / 125 + 42)"
    return {"STRING": f"ST_ASTEXT({point})", "BYTES": f"ST_ASBINARY({point})"}.get(source, point)
