"""Whether BigQuery's types hold what leaves PostgreSQL, decided on Arrow arrays, a batch at a time.

PostgreSQL would change values in silence: `::numeric(38, 9)` rounds, and DuckDB reads its NaN as 0. So decimals leave
PostgreSQL as text and times as they are, and here they become what BigQuery reads. That is cheap: a cast of a whole
array fails where a value does not fit, and only then is it worth asking which value.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING

from shared.catalog import BigQueryType, HourlyColumn, PgType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: What no type of BigQuery holds outside: its years are 1 to 9999. Days and microseconds from 1970.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ((date.min - _EPOCH.date()).days, (date.max - _EPOCH.date()).days)
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)


@dataclass(frozen=True)
class Fitted:
    """A column as BigQuery reads it, with NULL where the BigQuery type does not hold the value. `unfit` marks those
    rows, and `rounded` the rows that lost digits; None means that there are none.
    """

    values: pa.Array
    unfit: pa.BooleanArray | None = None
    rounded: pa.BooleanArray | None = None


def fit(column: HourlyColumn, found: pa.Array) -> Fitted:
    """The values of a column as `outbound` asks for them and DuckDB read them. Decimals round half away from zero."""
    return _lists(column, found) if column.type.array else _fit(column.type.plain, column.target, found)


def _fit(type_: PgType, target: BigQueryType, found: pa.Array) -> Fitted:
    """Single values, or the elements of arrays."""
    arrow = arrow_type(target)
    match type_, target:
        case PgType.NUMERIC, BigQueryType.FLOAT64:
            return _doubles(found)
        case PgType.NUMERIC, _:
            return _decimals(found, arrow)
        case PgType.TIMESTAMP | PgType.TIMESTAMPTZ | PgType.DATE, _:
            return _in_calendar(found, arrow)
        case PgType.TIME, _:
            return _in_day(found)
        case PgType.INTERVAL, _:
            return _intervals(found)
        case _:
            return Fitted(found if found.type == arrow else found.cast(arrow))


def column_type(column: HourlyColumn) -> pa.DataType:
    """The Arrow type of a column. A list's elements have the name that Parquet's specification asks for
    (https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#lists).
    """
    import pyarrow as pa

    arrow = arrow_type(column.target)
    return pa.list_(pa.field("element", arrow)) if column.type.array else arrow


def digits_after_point(target: BigQueryType) -> int:
    """How many a decimal type has."""
    return int(arrow_type(target).scale)


def arrow_type(target: BigQueryType) -> pa.DataType:
    """The Arrow type whose Parquet form BigQuery loads into a column.

    BIGNUMERIC holds a little more than 38 digits before the point; Arrow's decimals, of 76 digits in all, do not.
    """
    import pyarrow as pa

    match target:
        case BigQueryType.STRING | BigQueryType.JSON:
            return pa.string()
        case BigQueryType.INT64:
            return pa.int64()
        case BigQueryType.FLOAT64:
            return pa.float64()
        case BigQueryType.NUMERIC:
            return pa.decimal128(38, 9)
        case BigQueryType.BIGNUMERIC:
            return pa.decimal256(76, 38)
        case BigQueryType.BOOL:
            return pa.bool_()
        case BigQueryType.DATE:
            return pa.date32()
        case BigQueryType.DATETIME:
            return pa.timestamp("us")
        case BigQueryType.TIMESTAMP:
            return pa.timestamp("us", tz="UTC")
        case BigQueryType.TIME:
            return pa.time64("us")
        case BigQueryType.BYTES:
            return pa.binary()


def _decimals(texts: pa.Array, arrow: pa.DataType) -> Fitted:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow wraps a number with more digits before the point than the type has, without a word.
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    widest = arrow_type(BigQueryType.BIGNUMERIC)
    if longest <= arrow.precision - arrow.scale:
        with suppress(pa.ArrowInvalid):  # digits in excess after it, or no number
            return Fitted(texts.cast(arrow))
    if longest <= widest.precision - widest.scale:
        with suppress(pa.ArrowInvalid):  # too many before it, or no number
            exact = texts.cast(widest)
            rounded = pc.round(exact, arrow.scale, "half_towards_infinity")
            return Fitted(rounded.cast(arrow), rounded=pc.not_equal(exact, rounded))
    return _one_by_one(texts, arrow)


def _one_by_one(texts: pa.Array, arrow: pa.DataType) -> Fitted:
    import pyarrow as pa

    # One digit more than there may be: what is rounded up to 10 to the power of them.
    context = Context(prec=arrow.precision + 1, rounding=ROUND_HALF_UP)
    unit = Decimal(1).scaleb(-arrow.scale)
    values: list[Decimal | None] = []
    unfit, rounded = [], []
    for text in texts.to_pylist():
        exact = None if text is None else Decimal(text)
        value = exact
        if exact is not None and _fits(exact, arrow):
            value = exact.quantize(unit, context=context)
        fits = value is None or _fits(value, arrow)
        values.append(value if fits else None)
        unfit.append(not fits)
        rounded.append(fits and value != exact)
    return Fitted(pa.array(values, arrow), pa.array(unfit), pa.array(rounded))


def _fits(value: Decimal, arrow: pa.DataType) -> bool:
    """Whether the type has the digits before the point."""
    return value.is_finite() and (not value or value.adjusted() < arrow.precision - arrow.scale)


def _doubles(texts: pa.Array) -> Fitted:
    """The nearest double, as IEEE 754 has it. NaN and the infinities are numbers to FLOAT64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = texts.cast(pa.float64())
    infinite = pc.is_inf(values)
    if not pc.any(infinite).as_py():
        return Fitted(values)
    unfit = pc.and_(infinite, pc.invert(pc.is_in(texts, pa.array(["Infinity", "-Infinity"]))))
    return Fitted(pc.if_else(unfit, pa.scalar(None, pa.float64()), values), unfit)


def _in_calendar(found: pa.Array, arrow: pa.DataType) -> Fitted:
    """PostgreSQL's infinities are the integers at the ends."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = pa.types.is_date32(found.type)
    units = found.view(pa.int32() if days else pa.int64())
    first, last = (pa.scalar(limit, units.type) for limit in (_DAYS if days else _MICROSECONDS))
    unfit = pc.or_(pc.less(units, first), pc.greater(units, last))
    if not pc.any(unfit).as_py():
        return Fitted(found.view(arrow))
    return Fitted(pc.if_else(unfit, pa.scalar(None, found.type), found).view(arrow), unfit)


def _in_day(found: pa.Array) -> Fitted:
    """PostgreSQL has 24:00:00, the end of a day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unfit = pc.greater_equal(found.view(pa.int64()), pa.scalar(86_400_000_000, pa.int64()))
    if not pc.any(unfit).as_py():
        return Fitted(found)
    return Fitted(pc.if_else(unfit, pa.scalar(None, found.type), found), unfit)


def _intervals(texts: pa.Array) -> Fitted:
    """As ISO 8601 writes them. It has no infinities, as PostgreSQL 17 and later do."""
    import pyarrow.compute as pc

    return Fitted(texts, pc.invert(pc.starts_with(texts, "P")))


def _lists(column: HourlyColumn, found: pa.ListArray) -> Fitted:
    """Lists as arrays of BigQuery, none of which is NULL or has a NULL in it
    (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls).
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    elements = found.flatten()
    if column.type.plain.element == PgType.BYTEA:
        elements = _from_hex(elements)
    fitted = _fit(column.type.plain.element, column.target, elements)
    lengths = pc.list_value_length(found).fill_null(0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), fitted.values, column_type(column))
    absent = pc.or_(found.is_null(), _any(elements.is_null(), starts))
    unfit = absent if fitted.unfit is None else pc.or_(absent, _any(fitted.unfit, starts))
    return Fitted(values, unfit, None if fitted.rounded is None else _any(fitted.rounded, starts))


def _any(marked: pa.BooleanArray, starts: npt.NDArray[np.int64]) -> pa.BooleanArray:
    """Which lists have a marked element; `starts` are the elements that they begin with."""
    import numpy as np
    import pyarrow as pa

    counted = np.concatenate([[0], np.cumsum(marked.fill_null(False).to_numpy(zero_copy_only=False))])
    return pa.array(counted[starts[1:]] > counted[starts[:-1]])


def _from_hex(texts: pa.Array) -> pa.Array:
    """Bytes as PostgreSQL writes them (https://www.postgresql.org/docs/current/datatype-binary.html)."""
    import pyarrow as pa

    return pa.array([None if text is None else bytes.fromhex(text[2:]) for text in texts.to_pylist()], pa.binary())
