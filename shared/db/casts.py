"""How a Parquet column becomes a PostgreSQL column: decisions only, no I/O.

Binary COPY checks nothing: the server believes the bytes. So each column gets an explicit DuckDB cast to one Arrow
type, the Arrow type one encoder, and both are asserted before the first byte. Where DuckDB would round, wrap or cut in
silence, an explicit guard refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.catalog import Column, PgType, could_be_of_another
from shared.errors import DataError, UnlikeCatalogError

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.gcp.parquet import Footer, ParquetColumn

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_FLOATS = {"FLOAT", "DOUBLE"}
_INSTANT = "TIMESTAMP WITH TIME ZONE"
_TIMESTAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
#: 4713 BC and the end of 294246 AD in microseconds from 1970.
_FIRST_US, _LAST_US = -210_863_520_000_000_000, 9_223_371_158_400_000_000
_INTEGER_BITS = {
    PgType.SMALLINT: ("SMALLINT", 16),
    PgType.INTEGER: ("INTEGER", 32),
    PgType.BIGINT: ("BIGINT", 64),
}
_ISO_DATETIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?"
_WKT = r"(?is)\s*[a-z ]+(\(.*\)|\bempty)\s*"
_REAL_MAX = "3.4028234663852886e38::DOUBLE"


@dataclass(frozen=True)
class Cast:
    """One column's way: `value` is the DuckDB expression, and `fits` the predicate that every non-NULL value must meet.

    `guard` is the cheap part of `fits` that the cast itself would not enforce; `limit` says in words what was exceeded.
    `arrow` is the Arrow type that the value must come out as, before it is encoded.
    """

    column: Column
    value: str
    arrow: str
    fits: str = ""
    guard: str = ""
    limit: str = ""

    @property
    def expression(self) -> str:
        name = _quoted(self.column.name)
        if not self.guard:
            return f"{self.value} AS {name}"
        return (
            f"CASE WHEN {name} IS NULL THEN NULL WHEN {self.guard} THEN {self.value} ELSE error('unfit') END AS {name}"
        )

    @property
    def misfit(self) -> str:
        """The predicate of a row whose value does not fit."""
        return f"{_quoted(self.column.name)} IS NOT NULL AND NOT coalesce({self.fits}, false)"


def plan(columns: Sequence[Column], footer: Footer, where: str) -> tuple[Cast, ...]:
    """The casts for a file. Raises DataError unless it holds exactly the catalog's columns, in order, of fitting
    types; UnlikeCatalogError of it, where another catalog may be served by what it holds.
    """
    wanted, found = [c.name for c in columns], [c.name for c in footer.columns]
    if wanted != found:
        raise (UnlikeCatalogError if could_be_of_another(found, wanted) else DataError)(
            f"has the columns {', '.join(found) or '(none)'}, the catalog says {', '.join(wanted)}",
            where=where,
            remedy="Write the catalog's columns in the catalog's order",
        )
    casts = [(source, _cast(column, source)) for column, source in zip(columns, footer.columns, strict=True)]
    wrong = [
        f"{source.name} is {_described(source)}, which can't become {column.type.sql}"
        for column, (source, cast) in zip(columns, casts, strict=True)
        if cast is None
    ]
    if wrong:
        other = all(cast is not None or _may_become_any(source) for source, cast in casts)
        raise (UnlikeCatalogError if other else DataError)(
            "; ".join(wrong), where=where, remedy="Write columns of the catalog's types"
        )
    return tuple(cast for _, cast in casts if cast is not None)


def arrow_type(cast: Cast) -> pa.DataType:
    """The Arrow type that a cast must come out as."""
    import pyarrow as pa

    if match := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", cast.arrow):
        return pa.decimal128(int(match[1]), int(match[2]))
    if cast.arrow == "timestamp":
        return pa.timestamp("us")
    return pa.type_for_alias(cast.arrow)


def _cast(column: Column, source: ParquetColumn) -> Cast | None:
    if source.digits is not None and source.digits > 38:
        return None  # DuckDB would read it as DOUBLE
    return _RULES[column.type](column, source.type)


def _may_become_any(source: ParquetColumn) -> bool:
    """Whether there is a type that another catalog could give the column."""
    return any(_cast(Column(source.name, type_), source) is not None for type_ in PgType)


def _text(column: Column, source: str) -> Cast | None:
    if source not in ("VARCHAR", "JSON") and not source.startswith("ENUM"):
        return None
    name = _quoted(column.name)
    fits = f"NOT contains({name}::VARCHAR, chr(0))"
    document = f"{column.type.sql} takes one JSON document without NUL characters"
    limit = document if column.type in (PgType.JSON, PgType.JSONB) else "PostgreSQL's text holds no NUL character"
    return Cast(column, f"{name}::VARCHAR", "string", fits, fits, limit)


def _integer(column: Column, source: str) -> Cast | None:
    name, (type_, bits) = _quoted(column.name), _INTEGER_BITS[column.type]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    limit = f"{column.type.sql} holds whole numbers from {low} to {high}"
    in_range = f"{name} BETWEEN {low} AND {high}"
    if source in _INTEGERS:
        return Cast(column, f"{name}::{type_}", f"int{bits}", in_range, limit=limit)
    if source in _FLOATS or source.startswith("DECIMAL"):
        # The upper bound as a DOUBLE would round up to one that does not fit; half-open intervals are exact.
        # A decimal of many places can't be compared with the bounds before it is cut.
        whole = f"trunc({name}) >= {low} AND trunc({name}) < {high + 1} AND {name} = trunc({name})"
        return Cast(column, f"{name}::{type_}", f"int{bits}", whole, whole, limit)
    return None


def _real(column: Column, source: str) -> Cast | None:
    return _floating(column, source, "FLOAT", "float", f"abs({_quoted(column.name)}) <= {_REAL_MAX}")


def _double(column: Column, source: str) -> Cast | None:
    return _floating(column, source, "DOUBLE", "double", "true")


def _floating(column: Column, source: str, type_: str, arrow: str, in_range: str) -> Cast | None:
    name = _quoted(column.name)
    if source in _INTEGERS or source.startswith("DECIMAL"):
        return Cast(column, f"{name}::{type_}", arrow)
    if source not in _FLOATS:
        return None
    fits = f"isfinite({name}) AND {in_range}"
    return Cast(column, f"{name}::{type_}", arrow, fits, fits, f"{column.type.sql} takes finite numbers in its range")


def _numeric(column: Column, source: str) -> Cast | None:
    name = _quoted(column.name)
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", source):
        # Widened, so that Arrow has 128 bits for each.
        return Cast(column, f"{name}::DECIMAL(38,{match[2]})", f"decimal(38,{match[2]})")
    if source in _INTEGERS:
        return Cast(column, f"{name}::DECIMAL(38,0)", "decimal(38,0)")
    if source not in _FLOATS:
        return None
    # A float of 32 bits has a shorter decimal than the same number in 64.
    value = f"{name}::VARCHAR::DOUBLE" if source == "FLOAT" else name
    fits = f"isfinite({name})"
    return Cast(column, value, "double", fits, fits, "a float becomes numeric when it is finite")


def _boolean(column: Column, source: str) -> Cast | None:
    return Cast(column, _quoted(column.name), "bool") if source == "BOOLEAN" else None


def _date(column: Column, source: str) -> Cast | None:
    if source != "DATE":
        return None
    name = _quoted(column.name)
    fits = f"isfinite({name}) AND {name} >= DATE '4713-01-01 (BC)'"
    return Cast(column, name, "date32", fits, fits, "date takes finite days from 4713 BC")


def _timestamp(column: Column, source: str) -> Cast | None:
    name = _quoted(column.name)
    limit = "timestamp takes finite instants from 4713 BC to 294246 AD"
    if source == _INSTANT:
        # Its cast asks a calendar for the offset of UTC, row by row: 0.7 s per million where this takes 0.01 s.
        # Of the infinities, epoch_us is NULL.
        fits = f"epoch_us({name}) BETWEEN {_FIRST_US} AND {_LAST_US}"
        return Cast(column, f"make_timestamp(epoch_us({name}))", "timestamp", fits, fits, limit)
    if source in _TIMESTAMPS or source == "DATE":
        # Nanoseconds can't be compared with the bounds as they are: they end in 2262.
        instant = f"TRY_CAST({name} AS TIMESTAMP)"
        fits = f"isfinite({name}) AND {instant} BETWEEN '4713-01-01 (BC) 00:00:00' AND '294246-12-31 00:00:00'"
        return Cast(column, f"{name}::TIMESTAMP", "timestamp", fits, fits, limit)
    if source != "VARCHAR":
        return None
    # A DATETIME as text. An offset would be dropped by the cast, so only bare ISO text passes.
    shape = f"regexp_full_match({name}, '{_ISO_DATETIME}')"
    return Cast(
        column,
        f"{name}::TIMESTAMP",
        "timestamp",
        f"{shape} AND TRY_CAST({name} AS TIMESTAMP) IS NOT NULL",
        shape,
        "a timestamp as text is written YYYY-MM-DDTHH:MM:SS[.ffffff], without an offset",
    )


def _geometry(column: Column, source: str) -> Cast | None:
    name = _quoted(column.name)
    limit = "geometry takes WKB or WKT"
    if source.startswith("GEOMETRY"):
        return Cast(column, f"st_aswkb({name})", "binary")
    if source == "BLOB":
        # A zero-length WKB would crash the PostgreSQL server; 9 bytes are the shortest there is.
        long_enough = f"octet_length({name}) >= 9"
        fits = f"CASE WHEN {long_enough} THEN TRY(st_geomfromwkb({name})) IS NOT NULL ELSE false END"
        return Cast(column, f"st_aswkb(st_geomfromwkb({name}))", "binary", fits, long_enough, limit)
    if source == "VARCHAR":
        # DuckDB reads a geometry and drops what stands before and behind it.
        alone = f"regexp_full_match({name}, '{_WKT}') AND NOT regexp_matches({name}, '\\)\\s*[^\\s),]')"
        fits = f"{alone} AND TRY({name}::GEOMETRY) IS NOT NULL"
        return Cast(column, f"st_aswkb({name}::GEOMETRY)", "binary", fits, alone, limit)
    return None


_RULES: dict[PgType, Callable[[Column, str], Cast | None]] = {
    PgType.VARCHAR: _text,
    PgType.TEXT: _text,
    PgType.JSON: _text,
    PgType.JSONB: _text,
    PgType.SMALLINT: _integer,
    PgType.INTEGER: _integer,
    PgType.BIGINT: _integer,
    PgType.REAL: _real,
    PgType.DOUBLE: _double,
    PgType.NUMERIC: _numeric,
    PgType.BOOLEAN: _boolean,
    PgType.DATE: _date,
    PgType.TIMESTAMP: _timestamp,
    PgType.GEOMETRY: _geometry,
}


def _described(source: ParquetColumn) -> str:
    if source.digits is not None and source.digits > 38:
        return f"a decimal of {source.digits} digits (38 at most)"
    return source.type


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
