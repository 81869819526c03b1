"""How a Parquet column becomes a PostgreSQL column: decisions only, no I/O.

Binary COPY checks nothing: the server believes the bytes. So each column gets an explicit DuckDB cast to one Arrow
type, the Arrow type one encoder, and both are asserted before the first byte. Where DuckDB would round, wrap or cut in
silence, an explicit guard refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.catalog import MAX_SRID, PG_TYPES, Column, PgType, could_be_of_another
from shared.duck import identifier
from shared.errors import DataError, UnlikeCatalogError

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.gcp.footer import Footer, ParquetColumn

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
#: Those that any float holds exactly.
_NARROW = {"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"}
_FLOATS = {"FLOAT", "DOUBLE"}
_INSTANT = "TIMESTAMP WITH TIME ZONE"
_TIMESTAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}
#: 4713 BC and the end of 294246 AD in microseconds from 1970.
_FIRST_US, _LAST_US = -210_863_520_000_000_000, 9_223_371_158_400_000_000
_INTEGER_BITS = {
    PgType.SMALLINT: ("SMALLINT", 16),
    PgType.INTEGER: ("INTEGER", 32),
    PgType.BIGINT: ("BIGINT", 64),
}
_ISO_DATETIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?"
_UUID = r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
#: What BigQuery makes of an INTERVAL as text, in its range of 10,000 years
#: (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#interval_type).
_INTERVAL = (
    r"(-?)([0-9]{1,5})-([0-9]{1,2}) (-?[0-9]{1,7}) (-?)([0-9]{1,8}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,6}))?"
)
#: The most digits before and behind the point of a BIGNUMERIC
#: (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types).
_WHOLE, _PLACES = 39, 38
_WKT = r"(?is)\s*[a-z ]+(\(.*\)|\bempty)\s*"
#: A number of WKT that may be too large for a float.
_HUGE = r"(?i)e\+?\d{3}|\d{309}"
#: The first two numbers of each vertex, as DuckDB writes them.
_VERTEX = "[(,] ?(-?[0-9][^ ,)]*|-?[a-z]+) (-?[0-9][^ ,)]*|-?[a-z]+)"
#: The last byte of a type in WKB that has a SRID, and Z, or M, or both.
_FLAGGED = ", ".join(f"'\\x{flags:02X}'::BLOB" for flags in (0x20, 0x60, 0xA0, 0xE0))
_REAL_MAX = "3.4028234663852886e38::DOUBLE"


@dataclass(frozen=True)
class Cast:
    """One column's way. `value` is the DuckDB expression, which fails where a value does not fit. `guard` is a
    predicate that every value must meet, where the expression would change the value instead of failing.

    `limit` says in words what a value exceeded. `arrow` is the Arrow type that the value must come out as, before it is
    encoded. `list` is the expression of the list that an array is made from.
    """

    column: Column
    value: str
    arrow: str
    guard: str = ""
    limit: str = ""
    list: str = ""

    @property
    def passes(self) -> bool:
        """Whether the value is what the file has, and so NULL where the file has none."""
        name = identifier(self.column.name)
        return not self.list and self.value in (name, f"{name}::VARCHAR")

    @property
    def absent(self) -> str:
        """Whether the file itself has no value; an empty list counts as none, as `Profile` says."""
        return f"coalesce(len({self.list}), 0) = 0" if self.list else f"{identifier(self.column.name)} IS NULL"

    @property
    def expression(self) -> str:
        return f"{self.guarded} AS {identifier(self.column.name)}"

    @property
    def guarded(self) -> str:
        if not self.guard:
            return self.value
        name = identifier(self.column.name)
        return f"CASE WHEN {name} IS NULL THEN NULL WHEN {self.guard} THEN {self.value} ELSE error('unfit') END"


def plan(columns: Sequence[Column], footer: Footer, where: str) -> tuple[Cast, ...]:
    """The casts for a file. Raises DataError unless the file holds exactly the catalog's columns, in order, of fitting
    types. If another version of the catalog could take the file's columns, that is an UnlikeCatalogError.
    """
    wanted, found = [c.name for c in columns], [c.name for c in footer.columns]
    if wanted != found:
        raise (UnlikeCatalogError if could_be_of_another(found, wanted) else DataError)(
            f"has the columns {', '.join(found) or '(none)'}, the catalog says {', '.join(wanted)}",
            where=where,
            remedy="Write the catalog's columns in the catalog's order",
        )
    casts = [
        (source, _cast(column, source) or _nothing(column, source))
        for column, source in zip(columns, footer.columns, strict=True)
    ]
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


def selected(casts: Sequence[Cast]) -> list[str]:
    """The DuckDB expressions that a file is read as: each column's value, and after these, for each that a cast makes,
    whether the file itself has none.
    """
    return [cast.expression for cast in casts] + [cast.absent for cast in casts if not cast.passes]


def arrow_type(cast: Cast) -> pa.DataType:
    """The Arrow type that a cast must come out as."""
    return _arrow_type(cast.arrow)


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow as pa

    if match := re.fullmatch(r"list<(.*)>", name):
        return pa.list_(_arrow_type(match[1]))
    if match := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return pa.decimal128(int(match[1]), int(match[2]))
    if name == "timestamp":
        return pa.timestamp("us")
    return pa.type_for_alias(name)


def _cast(column: Column, source: ParquetColumn) -> Cast | None:
    if source.digits is not None and source.digits > 38:
        return None  # DuckDB would read it as DOUBLE
    if match := _LIST_IN_GROUP.fullmatch(source.type):
        return _grouped(column, replace(source, type=match["list"]), match["name"])
    if column.type.array:
        return _array(column, source)
    if source.type.endswith("[]") != (column.type.plain in (PgType.VECTOR, PgType.HALFVEC)):
        return None
    if column.type.plain in (PgType.GEOMETRY, PgType.GEOGRAPHY):
        return _geometry(column, source)
    return _RULES[column.type.plain](column, source.type)


def _nothing(column: Column, source: ParquetColumn) -> Cast | None:
    """The cast of a column of any type that is said to hold no value, which every value refutes."""
    if not source.nulls:
        return None
    type_, arrow = _OF_NULLS[column.type.element.plain]
    if column.type.array:
        type_, arrow = f"{type_}[]", f"list<{arrow}>"
    limit = f"{_described(source)} can't become {column.type.sql}, unless every value is NULL"
    return Cast(column, f"NULL::{type_}", arrow, "false", limit)


def _may_become_any(source: ParquetColumn) -> bool:
    """Whether there is a type that another catalog could give the column."""
    array = bool(source.type.endswith("[]") or _LIST_IN_GROUP.fullmatch(source.type))
    types = (replace(type_, array=array) for type_ in PG_TYPES if type_ not in (PgType.VECTOR, PgType.HALFVEC))
    return any(_cast(Column(source.name, type_), source) is not None for type_ in types)


def _text(column: Column, source: str) -> Cast | None:
    if source not in ("VARCHAR", "JSON") and not source.startswith("ENUM"):
        return None
    # A NUL character is refused by the server, which looks at all text that it receives
    # (`pg_verify_mbstr`, https://github.com/postgres/postgres/blob/master/src/common/wchar.c).
    name, guard = identifier(column.name), ""
    document = f"{column.type.sql} takes one JSON document without NUL characters"
    limit = document if column.type in (PgType.JSON, PgType.JSONB) else "PostgreSQL's text holds no NUL character"
    if column.type.parameters:
        (most,) = column.type.parameters
        guard = f"length({name}::VARCHAR) <= {most}"
        limit = f"{column.type.sql} holds at most {most} characters, and no NUL character"
    if column.type.plain == PgType.CHAR:
        # The server fills up with spaces, after which nobody can tell those that were there.
        guard, limit = f"{guard} AND NOT suffix({name}::VARCHAR, ' ')", f"{limit} or space at the end"
    return Cast(column, f"{name}::VARCHAR", "string", guard, limit)


def _integer(column: Column, source: str) -> Cast | None:
    name, (type_, bits) = identifier(column.name), _INTEGER_BITS[column.type]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    limit = f"{column.type.sql} holds whole numbers from {low} to {high}"
    if source in _INTEGERS:
        return Cast(column, f"{name}::{type_}", f"int{bits}", limit=limit)
    if source in _FLOATS or source.startswith("DECIMAL"):
        # The upper bound as a DOUBLE would round up to one that does not fit; half-open intervals are exact.
        # A decimal of many places can't be compared with the bounds before it is cut.
        whole = f"trunc({name}) >= {low} AND trunc({name}) < {high + 1} AND {name} = trunc({name})"
        return Cast(column, f"{name}::{type_}", f"int{bits}", whole, limit)
    return None


def _real(column: Column, source: str) -> Cast | None:
    return _floating(column, source, _Float("FLOAT", "float", 24, f"abs({identifier(column.name)}) <= {_REAL_MAX}"))


def _double(column: Column, source: str) -> Cast | None:
    return _floating(column, source, _Float("DOUBLE", "double", 53, "true"))


@dataclass(frozen=True)
class _Float:
    """A type of floats: its names in DuckDB and Arrow, the bits of its whole numbers, the floats in its range."""

    type: str
    arrow: str
    bits: int
    in_range: str


def _floating(column: Column, source: str, float_: _Float) -> Cast | None:
    name, exact = identifier(column.name), 2**float_.bits
    limit = f"{column.type.sql} holds each whole number up to {exact}, and not every one beyond"
    if source in _INTEGERS:
        guard = f"{name} BETWEEN {-exact} AND {exact} OR TRY_CAST({name}::{float_.type} AS HUGEINT) = {name}"
        return Cast(column, f"{name}::{float_.type}", float_.arrow, "" if source in _NARROW else guard, limit)
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", source):
        value, whole = _nearest(name, int(match[1]), int(match[2]), float_), f"trunc({name})"
        read_back = f"TRY_CAST({whole}::{float_.type} AS DECIMAL(38,0)) = {whole}"
        guard = f"{whole} BETWEEN {-exact} AND {exact} OR ({name} = {whole} AND {read_back})"
        return Cast(column, value, float_.arrow, guard, limit)
    if source not in _FLOATS:
        return None
    limit = f"{column.type.sql} takes finite numbers in its range"
    return Cast(column, f"{name}::{float_.type}", float_.arrow, f"isfinite({name}) AND {float_.in_range}", limit)


def _nearest(name: str, precision: int, scale: int, float_: _Float) -> str:
    """The float that is nearest to a decimal.

    DuckDB divides the decimal's digits by a power of ten, which is right where a DOUBLE holds both exactly, and rounds
    twice where there are more digits or the result is a FLOAT. To round a DOUBLE to a FLOAT is right for up to 12
    places: between two FLOATs in the middle of which it could be, there is no other such decimal so near. Text is read
    right, and takes ten times as long.
    """
    by_text, quotient = f"{name}::VARCHAR::{float_.type}", f"{name}::DOUBLE::{float_.type}"
    if scale > (12 if float_.type == "FLOAT" else 22):
        return by_text
    if precision <= 15:
        return quotient
    most = f"{2**53 // 10**scale}.{2**53 % 10**scale:0{scale}d}" if scale else str(2**53)
    return f"CASE WHEN {name} BETWEEN -{most} AND {most} THEN {quotient} ELSE {by_text} END"


def _numeric(column: Column, source: str) -> Cast | None:
    """The number with its own digits, none of which the declared ones round."""
    name = identifier(column.name)
    cast = _any_numeric(column, source)
    if cast is None or not column.type.parameters:
        return cast
    precision, scale = column.type.parameters
    fits = _has_digits(f"{name}::VARCHAR", precision - scale, scale)
    limit = (
        f"{column.type.sql} holds {precision - scale} digits before the point and {scale} behind, and is not rounded"
    )
    return replace(cast, guard=" AND ".join(filter(None, (cast.guard, fits))), limit=limit)


def _has_digits(number: str, before: int, behind: int) -> str:
    """Whether a number as text, which may have an exponent as floats do, has no more digits."""
    exponent = f"regexp_extract({number}, 'e(.*)', 1)::INTEGER"
    places = f"length(rtrim(regexp_extract({number}, '\\.([0-9]*)', 1), '0')) - {exponent}"
    plain = f"regexp_full_match({number}, '-?0*[0-9]{{0,{before}}}(\\.[0-9]{{0,{behind}}}0*)?')"
    far = f"{exponent} < {before} AND {places} <= {behind}"
    return f"CASE WHEN contains({number}, 'e') THEN {far} ELSE {plain} END"


def _any_numeric(column: Column, source: str) -> Cast | None:
    name = identifier(column.name)
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", source):
        # Widened, so that Arrow has 128 bits for each.
        return Cast(column, f"{name}::DECIMAL(38,{match[2]})", f"decimal(38,{match[2]})")
    if source in _INTEGERS:
        return Cast(column, f"{name}::DECIMAL(38,0)", "decimal(38,0)")
    if source == "VARCHAR":
        # More digits than DuckDB's decimals have.
        guard = f"regexp_full_match({name}, '-?[0-9]{{1,{_WHOLE}}}(\\.[0-9]{{1,{_PLACES}}})?')"
        limit = f"a numeric as text has up to {_WHOLE} digits, and up to {_PLACES} behind a point"
        return Cast(column, name, "string", guard, limit)
    if source not in _FLOATS:
        return None
    # A float of 32 bits has a shorter decimal than the same number in 64.
    value = f"{name}::VARCHAR::DOUBLE" if source == "FLOAT" else name
    return Cast(column, value, "double", f"isfinite({name})", "a float becomes numeric when it is finite")


def _boolean(column: Column, source: str) -> Cast | None:
    return Cast(column, identifier(column.name), "bool") if source == "BOOLEAN" else None


def _date(column: Column, source: str) -> Cast | None:
    if source != "DATE":
        return None
    name = identifier(column.name)
    guard = f"isfinite({name}) AND {name} >= DATE '4713-01-01 (BC)'"
    return Cast(column, name, "date32", guard, "date takes finite days from 4713 BC")


def _time(column: Column, source: str) -> Cast | None:
    if source not in ("TIME", "TIME WITH TIME ZONE"):
        return None
    # Parquet has no offsets: a time with one is in UTC.
    return Cast(column, f"{identifier(column.name)}::TIME", "time64[us]", limit="time takes 00:00:00 to 24:00:00")


def _timestamptz(column: Column, source: str) -> Cast | None:
    """Nothing says which instant a time without a zone would be."""
    return _timestamp(column, source) if source == _INSTANT else None


def _bytea(column: Column, source: str) -> Cast | None:
    return Cast(column, identifier(column.name), "binary") if source == "BLOB" else None


def _uuid(column: Column, source: str) -> Cast | None:
    name = identifier(column.name)
    value = f"unhex(replace({name}::VARCHAR, '-', ''))"
    if source == "UUID":
        return Cast(column, value, "binary")
    limit = "a uuid as text is 32 hexadecimal digits, as 8-4-4-4-12"
    guard = f"regexp_full_match({name}, '{_UUID}')"
    return Cast(column, value, "binary", guard, limit) if source == "VARCHAR" else None


#: What an element of an array is called in an expression of it: no column is.
_ELEMENT = "an element"


def _array(column: Column, source: ParquetColumn) -> Cast | None:
    if not source.type.endswith("[]"):
        return None
    name, element = identifier(column.name), identifier(_ELEMENT)
    of = _cast(Column(_ELEMENT, column.type.element), replace(source, type=source.type.removesuffix("[]")))
    if of is None:
        return None
    value = f"list_transform({name}, lambda {element}: {of.guarded})"
    return Cast(column, value, f"list<{of.arrow}>", limit=of.limit, list=name)


#: A list whose group is not said to be one, as DuckDB reads it, and what it is called in an expression.
_LIST_IN_GROUP = re.compile(r"STRUCT\((?P<name>\w+|\"\w+\") (?P<list>(?:[^(),]|\(\d+,\d+\))*\[\])\)")
_LIST = "a list"


def _grouped(column: Column, source: ParquetColumn, member: str) -> Cast | None:
    """An array from a list whose writer did not say so: BigQuery's export writes repeated values as repeated groups
    (https://cloud.google.com/bigquery/docs/exporting-data#parquet_export_details).
    """
    of = _cast(replace(column, name=_LIST), source)
    if of is None:
        return None
    list_ = f"{identifier(column.name)}.{member}"
    value = f"list_transform([{list_}], lambda {identifier(_LIST)}: {of.guarded})[1]"
    return Cast(column, value, of.arrow, limit=of.limit, list=list_)


def _vector(column: Column, source: str) -> Cast | None:
    if source not in ("DOUBLE[]", "FLOAT[]"):
        return None
    name, (length,) = identifier(column.name), column.type.parameters
    # Half a unit beyond the greatest number, it would be rounded to infinity.
    most = _REAL_MAX if column.type.plain == PgType.VECTOR else "65504"
    numbers = f"list_filter({name}, lambda {identifier(_ELEMENT)}: abs({identifier(_ELEMENT)}) <= {most})"
    limit = f"{column.type.sql} takes {length} numbers, each finite and none NULL"
    guard = f"len({name}) = {length} AND len({numbers}) = {length}"
    return Cast(column, f"{name}::DOUBLE[]", "list<double>", guard, limit, list=name)


def _interval(column: Column, source: str) -> Cast | None:
    """As PostgreSQL receives one: microseconds, days and months
    (https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/timestamp.c).
    """
    if source != "VARCHAR":
        return None
    name = identifier(column.name)

    def field(number: int) -> str:
        return f"regexp_extract({name}, '{_INTERVAL}', {number})"

    def signed(number: int, magnitude: str) -> str:
        return f"CASE {field(number)} WHEN '-' THEN -1 ELSE 1 END * ({magnitude})"

    months = signed(1, f"{field(2)}::BIGINT * 12 + {field(3)}::BIGINT")
    minutes = f"{field(6)}::BIGINT * 60 + {field(7)}::BIGINT"
    seconds = f"({minutes}) * 60 + {field(8)}::BIGINT"
    micros = signed(5, f"({seconds}) * 1000000 + rpad({field(9)}, 6, '0')::BIGINT")
    whole = f"lpad(hex(({micros})::BIGINT), 16, '0')"
    rest = (f"lpad(hex((({each}) & 4294967295)::BIGINT), 8, '0')" for each in (f"{field(4)}::BIGINT", months))
    return Cast(
        column,
        f"unhex({' || '.join((whole, *rest))})",
        "binary",
        f"regexp_full_match({name}, '{_INTERVAL}')",
        "an interval as text is written Y-M D H:M:S[.ffffff], each of the three with its sign",
    )


def _timestamp(column: Column, source: str) -> Cast | None:
    name = identifier(column.name)
    limit = f"{column.type.sql.split()[0]} takes finite instants from 4713 BC to 294246 AD"
    if source == _INSTANT:
        # Its cast asks a calendar for the offset of UTC, row by row: 0.7 s per million where this takes 0.01 s.
        # Of the infinities, epoch_us is NULL.
        guard = f"epoch_us({name}) BETWEEN {_FIRST_US} AND {_LAST_US}"
        return Cast(column, f"make_timestamp(epoch_us({name}))", "timestamp", guard, limit)
    if source == "TIMESTAMP_NS":
        # A cast would cut those before 1970 towards it, and take the ends for infinities.
        value = f"make_timestamp(epoch_ns({name}) // 1000 - (epoch_ns({name}) % 1000 < 0)::BIGINT)"
        return Cast(column, value, "timestamp", limit=limit)
    if source in _TIMESTAMPS or source == "DATE":
        instant = f"TRY_CAST({name} AS TIMESTAMP)"
        guard = f"isfinite({name}) AND {instant} BETWEEN '4713-01-01 (BC) 00:00:00' AND '294246-12-31 00:00:00'"
        return Cast(column, f"{name}::TIMESTAMP", "timestamp", guard, limit)
    if source != "VARCHAR":
        return None
    # A DATETIME as text. An offset would be dropped by the cast, so only bare ISO text passes.
    shape = f"regexp_full_match({name}, '{_ISO_DATETIME}')"
    return Cast(
        column,
        f"{name}::TIMESTAMP",
        "timestamp",
        shape,
        "a timestamp as text is written YYYY-MM-DDTHH:MM:SS[.ffffff], without an offset",
    )


def _geometry(column: Column, source: ParquetColumn) -> Cast | None:
    name, declared = identifier(column.name), column.type.srid
    if None not in (source.srid, declared) and source.srid != declared:
        return None
    srid = declared if source.srid is None else source.srid
    limit = f"{column.type.plain.sql} takes WKB or WKT, finite, and with one SRID"
    if column.type.shape or column.type.plain == PgType.GEOGRAPHY:
        limit = f"{column.type.sql} takes WKB or WKT, finite, of that shape and SRID"
    if column.type.plain == PgType.GEOGRAPHY:
        limit = f"{limit}, with longitudes of ±180 and latitudes of ±90 at most"
    if source.type.startswith("GEOMETRY"):
        guard = _of_shape(column.type, name)
        return Cast(column, _with_srid(f"st_aswkb({name})", srid), "binary", guard, limit)
    if source.type == "BLOB":
        return _extended_wkb(column, srid, limit)
    if source.type == "VARCHAR":
        # DuckDB reads a geometry and drops what stands before and behind it, and takes 1e400 for an infinity.
        alone = f"regexp_full_match({name}, '{_WKT}') AND NOT regexp_matches({name}, '\\)\\s*[^\\s),]|(?i)nan|inf')"
        finite = f"NOT regexp_matches({name}, '{_HUGE}') OR NOT contains(st_astext({name}::GEOMETRY), 'inf')"
        value = _with_srid(f"st_aswkb({name}::GEOMETRY)", srid)
        guard = _all(alone, f"({finite})", _of_shape(column.type, f"{name}::GEOMETRY"))
        return Cast(column, value, "binary", guard, limit)
    return None


def _of_shape(type_: PgType, geometry: str) -> str:
    """Whether a geometry of DuckDB's is of the type's shape, and on the globe if that is a geography: PostGIS would
    move a vertex that is not to another place
    (https://postgis.net/docs/using_postgis_dbmanagement.html#PostGIS_Geography).
    """
    guards = []
    if type_.wkb_types:
        kinds = (f"unhex('{number.to_bytes(4, 'little').hex()}')" for number in type_.wkb_types)
        guards.append(f"st_aswkb({geometry})[2:5] IN ({', '.join(kinds)})")
    if type_.plain == PgType.GEOGRAPHY:
        for place, most in ((1, 180), (2, 90)):
            numbers = f"regexp_extract_all(st_astext({geometry}), '{_VERTEX}', {place})"
            guards.append(f"len(list_filter({numbers}, lambda number: NOT abs(number::DOUBLE) <= {most})) = 0")
    return _all(*guards)


def _all(*guards: str) -> str:
    return " AND ".join(filter(None, guards))


def _extended_wkb(column: Column, srid: int | None, limit: str) -> Cast:
    """WKB, or PostGIS's extension of it that may have a SRID (https://postgis.net/docs/using_postgis_dbmanagement.html).

    DuckDB reads past SRIDs. They show by the 4 bytes that each takes, and by a bit of the type; that of a geometry is
    put back where it was, and geometries inside have none of their own.
    """
    name = identifier(column.name)
    geometry = f"st_geomfromwkb({name})"
    wkb, little = f"st_aswkb({geometry})", f"{name}[1:1] = '\\x01'::BLOB"
    plain = f"octet_length({name}) = octet_length({wkb})"
    flag = f"CASE WHEN {little} THEN {name}[5:5] ELSE {name}[2:2] END IN ({_FLAGGED})"
    own = f"(CASE WHEN {little} THEN {name}[6:9] ELSE {_reversed(f'{name}[6:9]')} END)"
    number = f"('0x' || hex({_reversed(own)}))::BIGINT"
    one = f"BETWEEN 0 AND {MAX_SRID}" if srid is None else f"= {srid}"
    extended = f"octet_length({name}) = octet_length({wkb}) + 4 AND {flag} AND {number} {one}"
    value = f"CASE WHEN {plain} THEN {_with_srid(wkb, srid)} ELSE {_with_bytes(wkb, own)} END"
    either = _all(f"({plain} OR ({extended}))", _of_shape(column.type, geometry))
    # A zero-length WKB would crash the PostgreSQL server; 9 bytes are the shortest there is.
    guard = f"CASE WHEN octet_length({name}) < 9 THEN false ELSE {either} END"
    return Cast(column, value, "binary", guard, limit)


def _reversed(four_bytes: str) -> str:
    return " || ".join(f"{four_bytes}[{place}:{place}]" for place in (4, 3, 2, 1))


def _with_srid(wkb: str, srid: int | None) -> str:
    return wkb if srid is None else _with_bytes(wkb, f"unhex('{srid.to_bytes(4, 'little').hex()}')")


def _with_bytes(wkb: str, srid: str) -> str:
    """The expression of little-endian WKB without a SRID, with these bytes as its SRID."""
    return f"{wkb}[1:4] || '\\x20'::BLOB || {srid} || {wkb}[6:]"


_RULES: dict[PgType, Callable[[Column, str], Cast | None]] = {
    PgType.VARCHAR: _text,
    PgType.CHAR: _text,
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
    PgType.VECTOR: _vector,
    PgType.HALFVEC: _vector,
    PgType.TIME: _time,
    PgType.TIMESTAMP: _timestamp,
    PgType.TIMESTAMPTZ: _timestamptz,
    PgType.INTERVAL: _interval,
    PgType.BYTEA: _bytea,
    PgType.UUID: _uuid,
}

#: What NULLs of DuckDB and of Arrow become which type.
_OF_NULLS = {
    **dict.fromkeys((PgType.VARCHAR, PgType.CHAR, PgType.TEXT, PgType.JSON, PgType.JSONB), ("VARCHAR", "string")),
    **{type_: (duckdb, f"int{bits}") for type_, (duckdb, bits) in _INTEGER_BITS.items()},
    PgType.REAL: ("FLOAT", "float"),
    PgType.DOUBLE: ("DOUBLE", "double"),
    PgType.NUMERIC: ("DOUBLE", "double"),
    PgType.BOOLEAN: ("BOOLEAN", "bool"),
    PgType.DATE: ("DATE", "date32"),
    **dict.fromkeys((PgType.VECTOR, PgType.HALFVEC), ("DOUBLE[]", "list<double>")),
    PgType.TIME: ("TIME", "time64[us]"),
    **dict.fromkeys((PgType.TIMESTAMP, PgType.TIMESTAMPTZ), ("TIMESTAMP", "timestamp")),
    **dict.fromkeys((PgType.INTERVAL, PgType.BYTEA, PgType.UUID), ("BLOB", "binary")),
    **dict.fromkeys((PgType.GEOMETRY, PgType.GEOGRAPHY), ("BLOB", "binary")),
}


def _described(source: ParquetColumn) -> str:
    if source.srid is not None:
        return f"{source.type.partition('(')[0]} of SRID {source.srid}"
    if source.digits is not None and source.digits > 38:
        return f"a decimal of {source.digits} digits (38 at most)"
    return source.type
