"""What a log's columns become on their way out: the SELECT list, the Arrow types, and what to look out for in each row.

PostgreSQL only hands values over, each in the form that costs PostgreSQL least. A value that does not fit is found on
this side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from shared.catalog import IMPORT_HOUR, HourlyColumn, HourlyTable, PgType
from shared.names import Hour
from shared.rows.fits import Fitted, column_type, digits_after_point, fit

if TYPE_CHECKING:
    import pyarrow as pa

_OF_ANY_LENGTH = {
    *(PgType.VARCHAR, PgType.CHAR, PgType.TEXT, PgType.JSON, PgType.JSONB, PgType.NUMERIC),
    *(PgType.BYTEA, PgType.ENUM),
}

#: Types that leave as the text that the server makes of them. DuckDB would read a decimal of no declared size as a
#: double, and knows nothing of most others.
_AS_TEXT = {PgType.NUMERIC, PgType.INTERVAL, PgType.UUID, PgType.CIDR, PgType.ENUM}

#: Of these, a cast gives other text than a reader of the column gets: it leaves out the spaces at the end, and adds the
#: length of the network.
_SHOWN = {PgType.CHAR: "bpcharout", PgType.INET: "inet_out"}

#: Types whose own length is what leaves. Of others, it is the text's.
_MEASURED = {PgType.BYTEA, PgType.CHAR}

#: A name that no column has: an identifier of the catalog holds no space.
XMIN = "row xmin"


@dataclass(frozen=True)
class Note:
    """A finding about `rows` rows of a column, the first of which has `key`; `problem` is what is wrong.

    Without a problem, a decimal has been rounded, which the receipt counts.
    """

    column: str
    problem: str | None
    rows: int
    key: int


class Outbound:
    """How the rows of one log leave."""

    def __init__(self, table: HourlyTable) -> None:
        self._table = table

    @property
    def select(self) -> sql.Composed:
        """The SELECT list: every column in a form that DuckDB reads without loss, then the row's version."""
        columns = [sql.SQL("{} AS {}").format(_value(c), sql.Identifier(c.name)) for c in self._table.columns]
        columns.append(sql.SQL("xmin::text::bigint AS {}").format(sql.Identifier(XMIN)))
        return sql.SQL(", ").join(columns)

    @property
    def length(self) -> sql.Composed:
        """The expression for a row's length in bytes: that of the columns which have no size of their own."""
        lengths = [
            sql.SQL("coalesce({}, 0)").format(_length(c))
            for c in self._table.columns
            if c.type.array or c.type.plain in _OF_ANY_LENGTH
        ]
        return sql.SQL(" + ").join([*lengths, sql.SQL("100::bigint")])

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow types of a part's columns, in order."""
        import pyarrow as pa

        fields = [(column.name, column_type(column)) for column in self._table.columns]
        return pa.schema([*fields, (self._table.day, pa.date32()), (IMPORT_HOUR, pa.int64())])

    @cached_property
    def keys_schema(self) -> pa.Schema:
        """The Arrow types of what says which rows a part holds: their keys, times, and versions (`xmin`)."""
        import pyarrow as pa

        return pa.schema([("key", pa.int64()), ("time", pa.timestamp("us")), ("xmin", pa.int64())])

    def rows(self, batch: pa.RecordBatch, hour: Hour) -> tuple[pa.RecordBatch, list[Note]]:
        """The part's columns of a batch that DuckDB read of an hour, and what is to be said of them."""
        import pyarrow as pa

        columns: list[pa.Array] = []
        notes: list[Note] = []
        for column in self._table.columns:
            fitted = fit(column, batch.column(column.name))
            columns.append(fitted.values)
            notes.extend(_notes(column, fitted, batch.column(self._table.key)))
        for value, arrow in ((hour.day, pa.date32()), (hour.number, pa.int64())):
            columns.append(pa.repeat(pa.scalar(value, arrow), batch.num_rows))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema), notes

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The keys of a batch that DuckDB read."""
        import pyarrow as pa

        columns = [batch.column(name) for name in (self._table.key, self._table.time, XMIN)]
        return pa.RecordBatch.from_arrays(columns, names=self.keys_schema.names).cast(self.keys_schema)


def _value(column: HourlyColumn) -> sql.Composable:
    """A column in a form that DuckDB reads as it is: of JSON it reads the text."""
    name = sql.Identifier(column.name)
    if column.type.array:
        return _array(column, name)
    if shown := _SHOWN.get(column.type.plain):
        return sql.SQL("textin({}({}))").format(sql.SQL(shown), name)
    return sql.SQL("{}::text").format(name) if column.type.plain in _AS_TEXT else name


def _array(column: HourlyColumn, name: sql.Identifier) -> sql.Composable:
    """An array, or NULL instead of one with several dimensions: neither DuckDB reads it, nor can BigQuery have it."""
    element = column.type.plain.element
    value: sql.Composable = name
    if element in {*_AS_TEXT, *_SHOWN, PgType.BYTEA}:
        value = sql.SQL("textin(array_out({}))::text[]").format(name)
    absent = sql.SQL("WHEN {} IS NULL THEN '{{}}' ").format(name) if column.empty_for_null else sql.SQL("")
    return sql.SQL("CASE {}WHEN array_ndims({}) > 1 THEN NULL ELSE {} END").format(absent, name, value)


def _length(column: HourlyColumn) -> sql.Composable:
    """The bytes of a value; a number in an array may be shorter as text than it is in memory. A `char(n)` is as long as
    it leaves, filled up with spaces: as text it is without them.
    """
    name = sql.Identifier(column.name)
    if column.type.array:
        return sql.SQL("octet_length({0}::text) + 8 * cardinality({0})").format(name)
    return sql.SQL("octet_length({}{})").format(name, sql.SQL("" if column.type.plain in _MEASURED else "::text"))


def _notes(column: HourlyColumn, fitted: Fitted, keys: pa.Array) -> Iterator[Note]:
    import pyarrow.compute as pc

    excess = None
    if column.refuse_excess_scale:
        excess = f"has more than {digits_after_point(column.target)} digits after the point"
    misfit = f"holds what no {column.bigquery} can be"
    if column.type.array:
        null = "" if column.empty_for_null else """be NULL (null_array = "empty" makes it an empty one), """
        misfit += f": it may {null}have a NULL in it, or several dimensions"
    for marked, problem in ((fitted.rounded, excess), (fitted.unfit, misfit)):
        rows = pc.sum(marked).as_py() if marked is not None else 0
        if rows:
            yield Note(column.name, problem, rows, keys[pc.index(marked, True).as_py()].as_py())
