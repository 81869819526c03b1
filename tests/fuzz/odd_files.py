"""Parquet files that somebody might write: any writer's options, any types, and then damage; all from one seed.

Each value of a column is recognised wherever it may turn up: numbers begin with 7919, text holds SECRET.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

SECRET = "hush7919"

#: The columns of the catalog that odd files are for.
COLUMNS: Mapping[str, str] = {
    "n": "integer",
    "t": "text",
    "s": "smallint",
    "b": "bigint",
    "r": "real",
    "d": "double precision",
    "m": "numeric",
    "f": "boolean",
    "a": "timestamp",
    "y": "date",
    "j": "jsonb",
}

#: What is done to a file after it is written, and how often.
DAMAGE = {"none": 10, "a byte of a page": 4, "a byte of the footer": 6, "cut off": 1, "a page moved": 1, "noise": 1}


@dataclass(frozen=True)
class OddFile:
    """A file and how it came about. `rows` is what was written, before any damage."""

    seed: int
    content: bytes
    rows: pa.Table
    options: Mapping[str, object]
    damage: str

    def __str__(self) -> str:
        types = ", ".join(f"{field.name} {field.type}" for field in self.rows.schema)
        return f"seed {self.seed}: {self.damage} of {self.rows.num_rows} rows ({types}; {dict(self.options)})"


def odd_file(seed: int) -> OddFile:
    """The file of a seed."""
    chance = random.Random(seed)
    rows = _rows(chance)
    options = _options(chance, rows)
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    damage = chance.choices(list(DAMAGE), list(DAMAGE.values()))[0]
    return OddFile(seed, _damaged(chance, sink.getvalue(), damage), rows, options, damage)


def _rows(chance: random.Random) -> pa.Table:
    count = chance.choice([0, 1, 2, 7, 100, 1_000, 2_049, 5_000])
    arrays = {name: _array(chance, name, count) for name in COLUMNS}
    return pa.table(arrays)


def _array(chance: random.Random, name: str, count: int) -> pa.Array:
    type_ = chance.choice(_ANY if chance.random() < _STRANGE else _TYPES[name])
    nulls = chance.choice([0.0, 0.0, 0.1, 0.9, 1.0])
    few = chance.random() < 0.4
    pool = [_value(chance, name, type_) for _ in range(3 if few else max(count, 1))]
    values = [None if chance.random() < nulls else chance.choice(pool) if few else pool[i] for i in range(count)]
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_null(plain):
        return pa.nulls(count)
    array = pa.array(values, plain)
    return array.dictionary_encode() if pa.types.is_dictionary(type_) else array


_WHOLE = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLOATS = (pa.float32(), pa.float64())
_DECIMALS = (pa.decimal128(5, 2), pa.decimal128(38, 9), pa.decimal128(18, 0), pa.decimal128(9, 9))
_TEXTS = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
_TIMES = (
    pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", tz="UTC"),
    pa.timestamp("ms", tz="Europe/Paris"),
)  # fmt: skip
_ANY = (pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.date32(), pa.null(), pa.time64("us"))

#: The types that become a column's own.
_TYPES: Mapping[str, Sequence[pa.DataType]] = {
    "n": (*_WHOLE, pa.float64(), pa.decimal128(18, 0)),
    "t": _TEXTS,
    "s": (*_WHOLE, *_FLOATS),
    "b": (*_WHOLE, pa.float64(), pa.decimal128(18, 0)),
    "r": (*_FLOATS * 4, pa.float16(), pa.int32(), *_DECIMALS),
    "d": (*_FLOATS * 4, pa.float16(), pa.int64(), *_DECIMALS),
    "m": (*_DECIMALS * 2, *_FLOATS, *_WHOLE),
    "f": (pa.bool_(),),
    "a": (*_TIMES * 2, pa.date32()),
    "y": (pa.date32(),),
    "j": _TEXTS,
}

#: How seldom a column has any type at all.
_STRANGE = 0.01


def _value(chance: random.Random, name: str, type_: pa.DataType) -> object:
    """A value that the Arrow type takes; that the column takes it too is likely."""
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    for holds, make in _MAKERS.items():
        if holds(plain):
            return make(chance, name, plain)
    return None


#: Bits that a column of whole numbers has.
_BITS = {"s": 16, "n": 32, "b": 64}


def _whole(chance: random.Random, name: str, type_: pa.DataType) -> int:
    """Now and then one that the column does not take."""
    unsigned = pa.types.is_unsigned_integer(type_)
    bits = type_.bit_width if chance.random() < 0.001 else min(type_.bit_width, _BITS.get(name, 24) + unsigned)
    least, most = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return chance.choice([0, 1, least, most, min(most, 7919), min(most, 79193)])


def _float(chance: random.Random, _: str, __: pa.DataType) -> float:
    return chance.choice([0.0, -0.0, 1.5, 7919.25, -0.125, chance.uniform(-1e4, 1e4), 0.1, 2.0**-14])


def _decimal(chance: random.Random, _: str, type_: pa.DataType) -> Decimal:
    digits = chance.randint(1, type_.precision)
    return Decimal(chance.randrange(-(10**digits) + 1, 10**digits)).scaleb(-type_.scale)


def _text(chance: random.Random, name: str, _: pa.DataType) -> str:
    if name == "j":
        return chance.choice(['{"k": "' + SECRET + '"}', "[1, 2.5, null]", "7919", '"é"', "{}"])
    return chance.choice(["", SECRET, "é" * chance.randint(0, 40), SECRET * chance.randint(1, 300), "a\tb\\N\n", "\\."])


def _instant(chance: random.Random, _: str, __: pa.DataType) -> datetime:
    # Whole milliseconds: no unit cuts them.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(-(10**12), 4 * 10**12))


def _day(chance: random.Random, _: str, __: pa.DataType) -> date:
    return date(1, 1, 1) + timedelta(chance.choice([0, chance.randrange(3_000_000), 719_162]))


_MAKERS: Mapping[Callable[[pa.DataType], bool], Callable[[random.Random, str, pa.DataType], object]] = {
    pa.types.is_boolean: lambda chance, *_: chance.random() < 0.5,
    pa.types.is_integer: _whole,
    pa.types.is_floating: _float,
    pa.types.is_decimal: _decimal,
    pa.types.is_timestamp: _instant,
    pa.types.is_date: _day,
    pa.types.is_binary: lambda chance, name, type_: _text(chance, name, type_).encode(),
    pa.types.is_string: _text,
    pa.types.is_large_string: _text,
}


def _options(chance: random.Random, rows: pa.Table) -> dict[str, object]:
    return {
        "compression": chance.choice(["snappy", "snappy", "none", "gzip", "zstd", "lz4", "brotli"]),
        "use_dictionary": chance.choice([True, True, False]),
        "data_page_version": chance.choice(["1.0", "1.0", "2.0"]),
        "version": chance.choice(["1.0", "2.4", "2.6"]),
        "data_page_size": chance.choice([None, 64, 4_096]),
        "row_group_size": chance.choice([None, None, 1_000, max(1, rows.num_rows // 3)]),
        "write_statistics": chance.choice([True, True, False]),
        "write_page_index": chance.choice([False, False, True]),
        "write_page_checksum": chance.choice([False, False, True]),
        "store_schema": chance.choice([True, False]),
        "coerce_timestamps": None,
    }


def _damaged(chance: random.Random, content: bytes, damage: str) -> bytes:
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    changed = bytearray(content)
    match damage:
        case "a byte of a page" if footer > 4:
            changed[chance.randrange(4, footer)] = chance.randrange(256)
        case "a byte of the footer":
            for _ in range(chance.choice([1, 1, 3])):
                changed[chance.randrange(footer, len(changed))] = chance.randrange(256)
        case "cut off":
            del changed[chance.randrange(len(changed)) :]
        case "a page moved" if footer > 40:
            start, to = chance.randrange(4, footer), chance.randrange(4, footer)
            changed[to : to + 32] = changed[start : start + 32]
        case "noise":
            changed = bytearray(chance.randbytes(chance.choice([1, 11, 12, 500])))
            changed[:4] = changed[-4:] = b"PAR1"
    return bytes(changed)
