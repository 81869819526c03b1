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
from shared.rows.fits import Fitted, arrow_type, digits_after_point, fit

if TYPE_CHECKING:
    import pyarrow as pa

_OF_ANY_LENGTH = {PgType.VARCHAR, PgType.TEXT, PgType.JSON, PgType.JSONB, PgType.NUMERIC}

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
            sql.SQL("coalesce(octet_length({}::text), 0)").format(sql.Identifier(c.name))
            for c in self._table.columns
            if c.type in _OF_ANY_LENGTH
        ]
        return sql.SQL(" + ").join([*lengths, sql.SQL("100::bigint")])

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow types of a part's columns, in order."""
        import pyarrow as pa

        fields = [(column.name, arrow_type(column.target)) for column in self._table.columns]
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
    """DuckDB would read a decimal of no declared size as a double; of JSON it reads the text."""
    name = sql.Identifier(column.name)
    return sql.SQL("{}::text").format(name) if column.type == PgType.NUMERIC else name


def _notes(column: HourlyColumn, fitted: Fitted, keys: pa.Array) -> Iterator[Note]:
    import pyarrow.compute as pc

    excess = None
    if column.refuse_excess_scale:
        excess = f"has more than {digits_after_point(column.target)} digits after the point"
    for marked, problem in ((fitted.rounded, excess), (fitted.unfit, f"holds what no {column.target.name} can be")):
        rows = pc.sum(marked).as_py() if marked is not None else 0
        if rows:
            yield Note(column.name, problem, rows, keys[pc.index(marked, True).as_py()].as_py())
