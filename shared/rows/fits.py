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
    """The values of a column that DuckDB read, decimals as text. They are rounded half away from zero."""
    arrow = arrow_type(column.target)
    match column.type, column.target:
        case PgType.NUMERIC, BigQueryType.FLOAT64:
            return _doubles(found)
        case PgType.NUMERIC, _:
            return _decimals(found, arrow)
        case PgType.TIMESTAMP | PgType.DATE, _:
            return _in_calendar(found, arrow)
        case _:
            return Fitted(found if found.type == arrow else found.cast(arrow))


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
