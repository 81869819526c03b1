"""What a log's columns become on their way out: the SELECT list, the Arrow types, and what to look out for in each row.

Leaving PostgreSQL, a cast is silent: `::numeric(38,9)` rounds, and a NaN is read as 0. So what a BigQuery type can't
hold is tested in the query itself, and each row brings notes along: one bit for each thing that may be wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from itertools import batched
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from shared.catalog import IMPORT_DATE, IMPORT_HOUR, BigQueryType, HourlyColumn, HourlyTable, PgType

if TYPE_CHECKING:
    import pyarrow as pa

#: Digits after the point, and the least magnitude that is out of range once rounded to them
#: (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types). BIGNUMERIC holds a little
#: more than 38 digits before the point; Arrow's decimals, of 76 digits in all, do not.
_DECIMALS: Mapping[BigQueryType, tuple[LiteralString, LiteralString]] = {
    BigQueryType.NUMERIC: ("9", "9" * 29 + "." + "9" * 9 + "5"),
    BigQueryType.BIGNUMERIC: ("38", "9" * 38 + "." + "9" * 38 + "5"),
}

#: Half of the least double, which is rounded to 0, and the least number that is rounded to infinity.
_EXACT = Context(prec=1100)
_UNDERFLOW = _EXACT.power(Decimal(2), -1075)
_OVERFLOW = Decimal(2**1024 - 2**970)

#: Names that no column has: an identifier of the catalog holds no space.
XMIN = "row xmin"
_NOTES = "row notes"

#: Bits of a bigint that are used for notes.
_BITS = 62


@dataclass(frozen=True)
class Note:
    """Something that may be so for a column of a row: `predicate` says when, and `problem` what is wrong with it.

    Without a problem, a decimal has been rounded, which is counted.
    """

    column: str
    predicate: sql.Composed
    problem: str | None


class Outbound:
    """How the rows of one log leave."""

    def __init__(self, table: HourlyTable) -> None:
        self._table = table
        self.notes = tuple(note for column in table.columns for note in _notes(column))

    @property
    def select(self) -> sql.Composed:
        """The SELECT list: every column as its BigQuery type wants it, then the row's version and notes."""
        columns = [sql.SQL("{} AS {}").format(_value(c), sql.Identifier(c.name)) for c in self._table.columns]
        columns.append(sql.SQL("xmin::text::bigint AS {}").format(sql.Identifier(XMIN)))
        for number, notes in enumerate(batched(self.notes, _BITS)):
            bits = (sql.SQL("CASE WHEN {} THEN {} ELSE 0 END").format(n.predicate, 1 << i) for i, n in enumerate(notes))
            total = sql.SQL("({})::bigint").format(sql.SQL(" + ").join(bits))
            columns.append(sql.SQL("{} AS {}").format(total, sql.Identifier(f"{_NOTES} {number}")))
        return sql.SQL(", ").join(columns)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow types of a part's columns, in order."""
        import pyarrow as pa

        fields = [(column.name, _arrow(column.target)) for column in self._table.columns]
        return pa.schema([*fields, (IMPORT_DATE, pa.date32()), (IMPORT_HOUR, pa.int64())])

    @cached_property
    def keys_schema(self) -> pa.Schema:
        """The Arrow types of what says which rows a part holds: their keys, times, and versions (`xmin`)."""
        import pyarrow as pa

        return pa.schema([("key", pa.int64()), ("time", pa.timestamp("us")), ("xmin", pa.int64())])

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The part's columns of a batch that DuckDB read."""
        return batch.select(self.schema.names).cast(self.schema)

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The keys of a batch that DuckDB read."""
        import pyarrow as pa

        columns = [batch.column(name) for name in (self._table.key, self._table.time, XMIN)]
        return pa.RecordBatch.from_arrays(columns, names=self.keys_schema.names).cast(self.keys_schema)

    def noted(self, batch: pa.RecordBatch) -> Iterator[tuple[Note, int, int]]:
        """The notes that rows of the batch bear: each with how many do, and the key of the first."""
        import pyarrow.compute as pc

        for number, notes in enumerate(batched(self.notes, _BITS)):
            bits = batch.column(f"{_NOTES} {number}")
            if not pc.any(pc.not_equal(bits, 0)).as_py():
                continue
            for index, note in enumerate(notes):
                bears = pc.not_equal(pc.bit_wise_and(bits, 1 << index), 0)
                count = pc.sum(bears).as_py()
                if count:
                    yield note, count, batch.column(self._table.key)[pc.index(bears, True).as_py()].as_py()


def _value(column: HourlyColumn) -> sql.Composable:
    """The column as an expression whose binary form DuckDB reads as the right type."""
    name = sql.Identifier(column.name)
    match column.type, column.target:
        case PgType.NUMERIC, BigQueryType.NUMERIC:
            return sql.SQL("(CASE WHEN abs({0}) < {1} THEN {0} END)::numeric(38, 9)").format(name, _bound(column))
        case PgType.NUMERIC, BigQueryType.BIGNUMERIC:
            return sql.SQL("(CASE WHEN abs({0}) < {1} THEN round({0}, 38) END)::text").format(name, _bound(column))
        case PgType.NUMERIC, _:
            # The cast fails where it would overflow, and where it would underflow to 0.
            return sql.SQL(
                "CASE WHEN abs({0}) <= {1} THEN 0 WHEN {2} THEN {0}::double precision END::double precision"
            ).format(name, sql.Literal(_UNDERFLOW), _is_double(column))
        case PgType.JSON | PgType.JSONB, _:
            return sql.SQL("{}::text").format(name)
        case PgType.TIMESTAMP | PgType.DATE, _:
            return sql.SQL("CASE WHEN {1} THEN {0} END").format(name, _in_calendar(column))
        case _:
            return name


def _notes(column: HourlyColumn) -> Iterator[Note]:
    name = sql.Identifier(column.name)
    match column.type, column.target:
        case PgType.NUMERIC, BigQueryType.NUMERIC | BigQueryType.BIGNUMERIC:
            digits, _ = _DECIMALS[column.target]
            fits = sql.SQL("abs({}) < {}").format(name, _bound(column))
            rounded = sql.SQL("scale({0}) > {1} AND {2} AND {0} <> round({0}, {1})").format(name, sql.SQL(digits), fits)
            excess = f"has more than {digits} digits after the point" if column.refuse_excess_scale else None
            yield Note(column.name, rounded, excess)
            yield _unless(column, fits)
        case PgType.NUMERIC, _:
            yield _unless(column, _is_double(column))
        case PgType.TIMESTAMP | PgType.DATE, _:
            yield _unless(column, _in_calendar(column))


def _unless(column: HourlyColumn, fits: sql.Composed) -> Note:
    # NULL fits: NOT NULL is not true.
    return Note(column.name, sql.SQL("NOT ({})").format(fits), f"holds what no {column.target.name} can be")


def _bound(column: HourlyColumn) -> sql.SQL:
    return sql.SQL(_DECIMALS[column.target][1])


def _is_double(column: HourlyColumn) -> sql.Composed:
    """NaN and the infinities are numbers to FLOAT64. In PostgreSQL, NaN equals itself."""
    return sql.SQL("abs({0}) < {1} OR {0} IN ('NaN', 'Infinity', '-Infinity')").format(
        sql.Identifier(column.name), sql.Literal(_OVERFLOW)
    )


def _in_calendar(column: HourlyColumn) -> sql.Composed:
    """BigQuery's years are 1 to 9999; the infinities are in none."""
    return sql.SQL("({0} >= '0001-01-01' AND {0} < '10000-01-01')").format(sql.Identifier(column.name))


def _arrow(target: BigQueryType) -> pa.DataType:
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
