"""A profile: what BigQuery, a reader of Parquet and PostgreSQL can each count of rows, cheaply, whatever their order.

It has the rows, the values of each column that are not NULL, and, where each system can add a column up exactly, a sum:
of integers, of true as 1, of the bytes of text. Of arrays, those that are not empty count: BigQuery has none that is
NULL. Profiles that agree make a receipt.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import psycopg
from msgspec import Struct
from psycopg import sql

from shared.catalog import Column, PgType
from shared.documents import Count, Reader, Text
from shared.gcp.batches import together
from shared.words import quantity

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.rows.casts import Cast

_TEXT = (PgType.VARCHAR, PgType.TEXT)
_INTEGERS = (PgType.SMALLINT, PgType.INTEGER, PgType.BIGINT)

#: How many columns a query counts, with two expressions for each: a row has 1,664 at most
#: (https://www.postgresql.org/docs/current/limits.html).
_AT_ONCE = 800


@dataclass(frozen=True)
class ColumnProfile:
    """How many values are not NULL; their sum, None where it is not known exactly."""

    values: int = 0
    sum: int | None = None

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        known = self.sum is not None and other.sum is not None
        return ColumnProfile(self.values + other.values, (self.sum or 0) + (other.sum or 0) if known else None)


@dataclass(frozen=True)
class Profile:
    """What was counted of some rows. `keys` is how many different keys they have, where that was counted."""

    rows: int
    columns: Mapping[str, ColumnProfile] = field(default_factory=dict)
    keys: int | None = None

    def __add__(self, other: Profile) -> Profile:
        """The profile of both rows together: of the columns that both know. The keys of both may be the same."""
        common = [name for name in self.columns if name in other.columns]
        return Profile(self.rows + other.rows, {name: self.columns[name] + other.columns[name] for name in common})

    def null_share(self, column: str) -> float | None:
        """The share of NULLs among the rows; None of no rows, or of a column that was not counted."""
        if not self.rows or column not in self.columns:
            return None
        return 1 - self.columns[column].values / self.rows

    def differences(self, other: Profile) -> list[str]:
        """Where two profiles of the same rows contradict each other, in words without any value."""
        found = [] if self.rows == other.rows else [f"{quantity(self.rows, 'row')} and {other.rows:,}"]
        for name, mine in self.columns.items():
            theirs = other.columns.get(name, mine)
            if mine.values != theirs.values:
                found.append(f"{quantity(mine.values, 'value')} of {name} and {theirs.values:,}")
            elif mine.sum is not None and theirs.sum is not None and mine.sum != theirs.sum:
                found.append(f"different contents of {name}")
        return found

    def to_json(self) -> Mapping[str, object]:
        columns = {name: {"values": column.values, "sum": column.sum} for name, column in self.columns.items()}
        return {"rows": self.rows, "columns": columns, "keys": self.keys}

    @classmethod
    def from_json(cls, document: object) -> Profile:
        """The inverse of `to_json`. Raises MalformedError for anything else."""
        return _READER.convert(document).profile()


class _ColumnDocument(Struct, frozen=True):
    values: Count
    sum: int | None


class ProfileDocument(Struct, frozen=True):
    """A profile as JSON. It counts no more values or keys than there are rows."""

    rows: Count
    columns: dict[Text, _ColumnDocument]
    keys: Count | None = None

    def __post_init__(self) -> None:
        if max((self.keys or 0, *(column.values for column in self.columns.values()))) > self.rows:
            raise ValueError("counts more values or keys than rows")

    def profile(self) -> Profile:
        columns = {name: ColumnProfile(column.values, column.sum) for name, column in self.columns.items()}
        return Profile(self.rows, columns, self.keys)


class Tap:
    """Takes the profile of Arrow batches that flow by, of the expressions that `casts.selected` gives. Only the values
    flow on.
    """

    def __init__(self, plan: Sequence[Cast]) -> None:
        self._plan = plan
        sums = {c.column.name: ColumnProfile(0, 0 if is_summed(c.column) else None) for c in plan}
        self.profile = Profile(0, sums)

    def through(self, batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
        for table in together(batches):
            width = len(self._plan)
            self.profile += self._of(table.num_rows, table.columns[:width], iter(table.columns[width:]))
            yield from table.select(range(width)).to_batches()

    def _of(self, rows: int, values: Sequence[pa.ChunkedArray], absent: Iterator[pa.ChunkedArray]) -> Profile:
        """`absent` says of each column that a cast made, in which rows the file has no value."""
        found = {}
        for made, array in zip(self._plan, values, strict=True):
            nulls = array.null_count if made.passes else sum(chunk.true_count for chunk in next(absent).chunks)
            total = _arrow_sum(made.column, array) if is_summed(made.column) else None
            found[made.column.name] = ColumnProfile(rows - nulls, total)
        return Profile(rows, found)


def of_table(
    connection: psycopg.Connection, table: sql.Composable, columns: Sequence[Column], expected: Profile | None = None
) -> Profile:
    """The profile of a table's rows, by PostgreSQL.

    The columns that are `expected` to hold no NULL are counted together, which is a fifth less work than to count each.
    Each is counted only if there is a NULL after all. A query counts as many columns as a row of its result may have.
    """
    pieces = [columns[start : start + _AT_ONCE] for start in range(0, len(columns), _AT_ONCE)]
    found = [_of_columns(connection, table, piece, expected) for piece in pieces]
    return Profile(found[0].rows, {name: column for each in found for name, column in each.columns.items()})


def _of_columns(
    connection: psycopg.Connection, table: sql.Composable, columns: Sequence[Column], expected: Profile | None
) -> Profile:
    whole = [c for c in columns if expected and expected.rows and expected.null_share(c.name) == 0]
    counted = [column for column in columns if column not in whole]
    expressions = sql.SQL(", ").join(
        [
            sql.SQL("count(*)"),
            sql.SQL("count(*) FILTER (WHERE {} > 0)").format(_nulls(whole)) if whole else sql.SQL("0"),
            *(sql.SQL("count({})").format(_value(column)) for column in counted),
            *map(_sum, columns),
        ]
    )
    query = sql.SQL("SELECT {} FROM {}").format(expressions, table)
    rows, incomplete, *found = cast(tuple[int | None, ...], connection.execute(query).fetchone())
    if incomplete:
        return _of_columns(connection, table, columns, None)
    values = dict.fromkeys((column.name for column in whole), int(rows or 0))
    values |= {column.name: int(count or 0) for column, count in zip(counted, found, strict=False)}
    return Profile(
        int(rows or 0),
        {
            column.name: ColumnProfile(values[column.name], int(total or 0) if is_summed(column) else None)
            for column, total in zip(columns, found[len(counted) :], strict=True)
        },
    )


def _nulls(columns: Sequence[Column]) -> sql.Composable:
    """How many of a row's values are NULL. A function takes 100 arguments at most
    (https://www.postgresql.org/docs/current/limits.html).
    """
    pieces = [columns[start : start + 100] for start in range(0, len(columns), 100)]
    each = (sql.SQL("num_nulls({})").format(sql.SQL(", ").join(map(_value, piece))) for piece in pieces)
    return sql.SQL(" + ").join(each)


def is_summed(column: Column) -> bool:
    """Whether its values add up to the same integer everywhere."""
    return column.type.plain in (*_TEXT, *_INTEGERS, PgType.BOOLEAN)


def _name(column: Column) -> sql.Identifier:
    return sql.Identifier(column.name)


def _value(column: Column) -> sql.Composable:
    """What counts of a column."""
    return sql.SQL("nullif({}, '{{}}')").format(_name(column)) if column.type.array else _name(column)


def _sum(column: Column) -> sql.Composable:
    name = _name(column)
    if column.type.plain in _TEXT:
        return sql.SQL("sum(octet_length({}))").format(name)
    if column.type in _INTEGERS:
        return sql.SQL("sum({})").format(name)
    if column.type == PgType.BOOLEAN:
        return sql.SQL("count(*) FILTER (WHERE {})").format(name)
    return sql.SQL("NULL")


def _arrow_sum(column: Column, array: pa.ChunkedArray) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type.plain in _TEXT:
        array = pc.binary_length(array)
    elif column.type == PgType.BIGINT:
        # Of 64-bit integers, the sum can be longer.
        array = array.cast(pa.decimal128(19)).cast(pa.decimal128(38))
    return int(pc.sum(array).as_py() or 0)


_READER = Reader(ProfileDocument)
