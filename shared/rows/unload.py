"""Rows of a PostgreSQL query as Arrow batches, read by a DuckDB instance of its own within somebody else's snapshot.

Several queries over one DuckDB instance would share one process of PostgreSQL and gain nothing. Instances side by side,
each with a range of its own, keep PostgreSQL busy.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from shared import duck
from shared.db.postgres import opened, translated
from shared.duck import Fault, literal
from shared.errors import DataError, RetryableError, SyncError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: The hour's halves are read side by side: workers of PostgreSQL's own would hand rows from process to process, and
#: compiling a list of columns takes longer than it saves. PostgreSQL 17 and later may end a transaction for its length.
#: BigQuery has no INTERVAL of Parquet's, and reads the text of ISO 8601 as one.
_SETTINGS = (
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL jit = off",
    "SET LOCAL intervalstyle = iso_8601",
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'",
)

_INSTANCE: Mapping[str, str | int] = {
    "threads": 1,
    # Its signature is of a file that was compared with the lock file's hash when it was installed; to check it again
    # takes 0.1 s each time.
    "allow_unsigned_extensions": "true",
}

#: Rows of a batch at most: the size of DuckDB's own vectors, the least that it can do.
BATCH_ROWS = 2048


class TooLongError(DataError):
    """So many rows as DuckDB reads at once need too much memory."""


def batches(conninfo: str, snapshot: str, *statements: str) -> Generator[pa.RecordBatch]:
    """The rows of PostgreSQL queries, one after the other, seen in an exported snapshot.

    Raises RetryableError when the rows could not be read to their end, ConfigurationError when they may not be read,
    TooLongError where the rows are too long to be read by this query, and DataError for a row that PostgreSQL or DuckDB
    can't read.
    """
    import duckdb
    import pyarrow as pa

    statement = "SELECT"  # before the first of them, only the way to the server can be at fault
    try:
        with _transaction(conninfo, snapshot) as instance:
            for statement in statements:
                source = f"postgres_query('pg', {literal(statement)})"
                yield from instance.execute(f"FROM {source}").to_arrow_reader(BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as e:
        raise _failure(e, conninfo, statement) from e


def _failure(e: Exception, conninfo: str, statement: str) -> SyncError:
    """DuckDB's failure as ours. Its text may quote the URL, password and all, or a value, so it stays out."""
    match duck.fault(e):
        case Fault.LATER:
            return RetryableError("the rows could not be read to their end", where="PostgreSQL")
        case Fault.UNCLEAR if duck.kind(e) == "IO":  # no file is read here
            return RetryableError("the rows could not be read to their end", where="PostgreSQL")
        case Fault.SERVER:
            return _said(conninfo, statement)
        case Fault.MEMORY:
            return TooLongError(
                f"rows that are read at once need more than {duck.MEMORY_LIMIT} of memory",
                where="PostgreSQL",
                remedy="Shorten them, then ask for their hour by date and hour",
            )
        case _:
            return DataError(
                f"DuckDB could not read the rows ({duck.kind(e) or type(e).__name__})",
                where="PostgreSQL",
                remedy="Report this as a bug",
            )


def _said(conninfo: str, statement: str) -> SyncError:
    """What the server says when the query runs once more, over the driver, whose errors have codes. A RetryableError
    when there is nothing: what failed was its session, or its snapshot.
    """
    query = b"COPY (" + statement.encode() + b") TO STDOUT (FORMAT binary)"
    try:
        with (
            translated("reading the rows"),
            opened(conninfo) as connection,
            connection.cursor().copy(query) as rows,
        ):
            for _ in rows:
                pass
    except DataError as e:
        return DataError(e.what, where=e.where, remedy="Mend the row, then ask for its hour by date and hour")
    except SyncError as e:
        return e
    return RetryableError("the rows could not be read to their end", where="PostgreSQL")


@contextmanager
def _transaction(conninfo: str, snapshot: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB instance in a transaction of PostgreSQL that sees the snapshot."""
    import duckdb

    instance = duck.connect("postgres_scanner", _INSTANCE)
    try:
        instance.execute(f"ATTACH {literal(conninfo)} AS pg (TYPE postgres, READ_ONLY)")
        instance.execute("BEGIN")
        for statement in (f"SET TRANSACTION SNAPSHOT '{snapshot}'", *_SETTINGS):
            instance.execute(f"CALL postgres_execute('pg', {literal(statement)})")
        yield instance
    finally:
        # Left to its destructor, a rollback over a lost connection ends the whole process.
        with suppress(duckdb.Error):
            instance.execute("ROLLBACK")
        instance.close()
