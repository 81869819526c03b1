"""A log in PostgreSQL: its hours counted, read in one snapshot, and deleted row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import psycopg
from psycopg import sql

from shared.catalog import HourlyTable, KeyPath
from shared.db import queries, session
from shared.db.postgres import translated
from shared.errors import DataError, TargetError
from shared.names import Hour
from shared.rows.outbound import Outbound

#: A deletion waits behind whoever changes one of its rows, and nobody queues behind that.
ROW_LOCK_TIMEOUT = "10s"


#: The length of the rows that are read at once where rows are long: DuckDB has 2,048 in memory, whatever their length.
PIECE_BYTES = 16 << 20

#: The length of a row that can be read: DuckDB has it in memory some three times.
MAX_ROW_BYTES = 64 << 20

#: A row's place in the order of time and key: its time, naive UTC, and its key.
type Place = tuple[datetime, int]


@dataclass(frozen=True)
class Range:
    """The rows in `[start, end)` of the time column, in UTC; with `keys`, only the rows that have one of them; and of
    those, only the rows `after` one place and up to another.
    """

    start: datetime
    end: datetime
    keys: tuple[int, ...] | None = None
    after: Place | None = None
    up_to: Place | None = None

    @classmethod
    def of(cls, hour: Hour, keys: Sequence[int] | None = None) -> Range:
        return cls(hour.start, hour.end, None if keys is None else tuple(keys))

    def halves(self) -> tuple[Range, Range]:
        middle = self.start + (self.end - self.start) / 2
        return Range(self.start, middle, self.keys), Range(middle, self.end, self.keys)


@dataclass(frozen=True)
class Found:
    """What the server has of a log: the type of each column, as it is printed with its modifiers and without; the
    columns of which an index serves ranges; and the columns that alone are a key, that of the primary key first.
    """

    columns: Mapping[str, tuple[str, str]]
    indexed: frozenset[str]
    keys: tuple[str, ...]
    has_children: bool


def find(connection: psycopg.Connection, schema: str, name: str) -> Found | None:
    """What the server has of a table; None when there is no such table."""
    table = {"table": sql.Identifier(schema, name).as_string(connection)}
    block = queries.load("log_table")
    with translated(f"looking at {schema}.{name}"):
        columns = connection.execute(block["columns"], table).fetchall()
        return (
            Found(
                columns={column: (type_, plain) for column, type_, plain in columns},
                indexed=frozenset(column for (column,) in connection.execute(block["indexed"], table)),
                keys=tuple(column for (column,) in connection.execute(block["keys"], table)),
                has_children=connection.execute(block["has_children"], table).fetchone() == (True,),
            )
            if columns
            else None
        )


class LogTable:
    """One log, over a connection of its own. Times in the log are UTC, without a time zone."""

    def __init__(self, connection: psycopg.Connection, schema: str, table: HourlyTable) -> None:
        self.connection, self._schema, self.table = connection, schema, table
        self.outbound = Outbound(table)
        self._relation = sql.Identifier(schema, table.name)
        self._time, self._key = sql.Identifier(table.time), sql.Identifier(table.key)

    def check(self) -> None:
        """Raises TargetError unless the table is as the catalog says, with the key and the index that it needs."""
        found = [what for _, what in self.differences()]
        if found:
            alike = [each.what for each in found if each.remedy == found[0].remedy]
            raise TargetError("; ".join(alike), where=found[0].where, remedy=found[0].remedy)
        with translated(f"looking at {self.where}"):
            session.check_sees_all(self.connection, self._relation.as_string(self.connection), self.where)

    @property
    def where(self) -> str:
        """The table's name in messages."""
        return f"{self._schema}.{self.table.name}"

    def differences(self) -> Iterator[tuple[KeyPath, TargetError]]:
        """What is not as the catalog says, or as the flow needs it, by its path in the log's block.

        Without the index, an hour would cost a read of the whole table.
        """
        found, log = find(self.connection, self._schema, self.table.name), self.table
        if found is None:
            yield (), TargetError("does not exist", where=self.where, remedy="Make it, or correct the catalog")
            return
        for column in log.columns:
            types = found.columns.get(column.name, ("missing",))
            if column.type.sql not in types:
                what = f"column {column.name} is {types[0]}, the catalog says {column.type.sql}"
                remedy = "Correct the catalog, or mend the table"
                yield ("columns", column.name), TargetError(what, where=self.where, remedy=remedy)
        if found.has_children:
            what = "has child tables, for whose rows its key does not hold"
            remedy = "Make it a partitioned table, or export the children as logs of their own"
            yield (), TargetError(what, where=self.where, remedy=remedy)
        if log.time not in found.indexed:
            what = f"has no B-tree index that begins with {log.time}"
            yield ("time",), TargetError(what, where=self.where, remedy="Create it")
        if log.key not in found.keys:
            what = f"has no primary key or unique index on NOT NULL {log.key}"
            yield ("key",), TargetError(what, where=self.where, remedy="Create it")

    @contextmanager
    def snapshot(self) -> Iterator[str]:
        """One instant of the table for all that is read in the block, here and by whoever imports the snapshot
        (https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION).
        """
        with translated("reading in one snapshot"), self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            (name,) = self.connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
            yield name

    def content(self, rows: Range) -> tuple[object, object, object]:
        """How many rows, and the sum and bitwise XOR of their keys."""
        statement = sql.SQL("SELECT count(*), sum({0}), bit_xor({0}) FROM {1} WHERE {2}").format(
            self._key, self._relation, self._where(rows)
        )
        with translated("counting an hour"):
            return self.connection.execute(statement).fetchone() or (0, 0, 0)

    def rows_up_to(self, rows: Range, most: int) -> int:
        """How many rows there are; `most` if there are that many or more, which takes no longer for a large hour."""
        statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) AS few").format(
            self._relation, self._where(rows), sql.Literal(most)
        )
        with translated("counting an hour"):
            (count,) = self.connection.execute(statement).fetchone() or (0,)
            return int(count)

    def statement(self, rows: Range) -> str:
        """The query for the rows, as `outbound` wants them."""
        statement = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            self.outbound.select, self._relation, self._where(rows)
        )
        return statement.as_string(self.connection)

    def pieces(self, rows: Range) -> list[Range]:
        """The same rows in ranges of PIECE_BYTES and one row at most, in the order of time and key.

        Raises DataError for a row of more than MAX_ROW_BYTES.
        """
        measured = sql.SQL("SELECT {} AS time, {} AS key, {} AS length FROM {} WHERE {}").format(
            self._time, self._key, self.outbound.length, self._relation, self._where(rows)
        )
        longest = sql.SQL("SELECT key, length FROM ({}) AS measured ORDER BY length DESC LIMIT 1").format(measured)
        ends = sql.SQL(
            "SELECT DISTINCT ON (piece) time, key FROM (SELECT time, key,"
            " (sum(length) OVER (ORDER BY time, key ROWS UNBOUNDED PRECEDING) - length)::bigint / {} AS piece"
            " FROM ({}) AS measured) AS placed ORDER BY piece, time DESC, key DESC"
        ).format(sql.Literal(PIECE_BYTES), measured)
        with translated("measuring an hour"):
            key, length = self.connection.execute(longest).fetchone() or (0, 0)
            if length > MAX_ROW_BYTES:
                raise DataError(
                    f"is {length} bytes long; at most {MAX_ROW_BYTES} can leave",
                    where=f"{self.table.name}, the row with {self.table.key} {key}",
                    remedy="Shorten it, then ask for its hour by date and hour",
                )
            places: list[Place] = self.connection.execute(ends).fetchall()
        return [replace(rows, after=after, up_to=up_to) for after, up_to in pairwise([rows.after, *places])]

    def keys_statement(self, rows: Range, modulus: int, remainder: int) -> str:
        """The query for the rows' keys alone, as `key`: those whose magnitude leaves the remainder."""
        statement = sql.SQL("SELECT {0}::bigint AS key FROM {1} WHERE {2} AND abs(mod({0}, {3})) = {4}").format(
            self._key, self._relation, self._where(rows), sql.Literal(modulus), sql.Literal(remainder)
        )
        return statement.as_string(self.connection)

    def rows_of(self, hour: Hour, seconds: int) -> int | None:
        """How many rows belong to the hour; None when counting them takes longer than that."""
        return self._count(sql.SQL("{}").format(self._where(Range.of(hour))), seconds)

    def rows_before(self, hour: Hour, seconds: int) -> int | None:
        """How many rows belong to earlier hours; None when counting them takes longer than that."""
        earlier = sql.SQL("{0} > '-infinity' AND {0} < {1}").format(self._time, _timestamp(hour.start))
        return self._count(earlier, seconds)

    def rows_from(self, hour: Hour, seconds: int) -> int | None:
        """How many rows belong to that hour or later ones; None when counting them takes longer than that."""
        later = sql.SQL("{0} >= {1} AND {0} < 'infinity'").format(self._time, _timestamp(hour.start))
        return self._count(later, seconds)

    def rows_without_time(self, seconds: int) -> int | None:
        """How many rows belong to no hour, because their time is NULL or infinite; None when that takes longer."""
        stray = sql.SQL("{0} IS NULL OR {0} = 'infinity' OR {0} = '-infinity'").format(self._time)
        return self._count(stray, seconds)

    def delete(self, keys: Sequence[int], versions: Sequence[int], first: datetime, last: datetime) -> int:
        """Delete the rows that have one of the keys and still are in that version, in one transaction; how many.

        `versions` are the rows' `xmin`, which every change of a row renews. The times, naive UTC, are the least and the
        greatest of the rows' times: they lead to the index, however large the table is.
        """
        statement = sql.SQL(
            "DELETE FROM {0} AS log USING unnest(%(keys)s::bigint[], %(versions)s::bigint[]) AS gone (key, version)"
            " WHERE log.{1} = gone.key AND log.xmin = gone.version::text::xid"
            " AND log.{2} BETWEEN %(first)s AND %(last)s"
        ).format(self._relation, self._key, self._time)
        values = {"keys": list(keys), "versions": list(versions), "first": first, "last": last}
        with translated("deleting exported rows"), self.connection.transaction():
            self.connection.execute("SELECT set_config('lock_timeout', %s, true)", [ROW_LOCK_TIMEOUT])
            return self.connection.execute(statement, values).rowcount

    def present(self, keys: Sequence[int]) -> list[int]:
        """The keys among these that a row still has."""
        statement = sql.SQL("SELECT {0} FROM {1} WHERE {0} = ANY(%s::bigint[])").format(self._key, self._relation)
        with translated("looking for changed rows"):
            return [key for (key,) in self.connection.execute(statement, [list(keys)])]

    def _count(self, where: sql.Composed, seconds: int) -> int | None:
        statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(self._relation, where)
        with translated("counting rows"):
            try:
                with self.connection.transaction():
                    timeout = f"{seconds}s"
                    self.connection.execute("SELECT set_config('statement_timeout', %s, true)", [timeout])
                    (rows,) = self.connection.execute(statement).fetchone() or (0,)
                    return int(rows)
            except psycopg.errors.QueryCanceled:
                return None

    def _where(self, rows: Range) -> sql.Composed:
        within = sql.SQL("{0} >= {1} AND {0} < {2}").format(self._time, _timestamp(rows.start), _timestamp(rows.end))
        if rows.keys is not None:
            keys = sql.Literal("{" + ",".join(map(str, rows.keys)) + "}")
            within = sql.SQL("{} AND {} = ANY({}::bigint[])").format(within, self._key, keys)
        for place, comparison in ((rows.after, sql.SQL(">")), (rows.up_to, sql.SQL("<="))):
            if place is not None:
                at, key = sql.Literal(place[0].isoformat(sep=" ")), sql.Literal(place[1])
                within = sql.SQL("{} AND ({}, {}) {} ({}::timestamp, {})").format(
                    within, self._time, self._key, comparison, at, key
                )
        return within


def _timestamp(at: datetime) -> sql.Composed:
    """An instant as the log writes it."""
    return sql.SQL("{}::timestamp").format(sql.Literal(at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")))
