"""Rows of a PostgreSQL query as Arrow batches, read by a DuckDB instance of its own within somebody else's snapshot.

Several queries over one DuckDB instance would share one server process and gain nothing; instances side by side, each
with a range of its own, keep the server busy.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import DataError, RetryableError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: DuckDB's working memory. It only hands rows on, and needs more than a tenth of this for rows of kilobytes alone.
MEMORY_LIMIT = "256MB"

#: The hour's halves are read side by side: workers of PostgreSQL's own would hand rows from process to process, and
#: compiling a list of columns takes longer than it saves. PostgreSQL 17 and later may end a transaction for its length.
_SETTINGS = (
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL jit = off",
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'",
)

#: Rows of a batch: the size of DuckDB's own vectors, the least that it can do.
BATCH_ROWS = 2048


def batches(conninfo: str, snapshot: str, statement: str) -> Generator[pa.RecordBatch]:
    """The rows of `statement`, a PostgreSQL query, seen in an exported snapshot.

    Raises RetryableError when the rows could not be read to their end, DataError when DuckDB could not read them.
    """
    import duckdb
    import pyarrow as pa

    try:
        with _transaction(conninfo, snapshot) as duck:
            source = f"postgres_query('pg', {_literal(statement)})"
            yield from duck.execute(f"FROM {source}").to_arrow_reader(BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as e:
        # The text may quote the URL, password and all, or a value.
        if isinstance(e, duckdb.IOException | OSError):
            raise RetryableError("the rows could not be read to their end", where="PostgreSQL") from e
        if "Out of Memory" in str(e):
            raise DataError(
                f"{BATCH_ROWS} rows need more than {MEMORY_LIMIT} of memory",
                where="PostgreSQL",
                remedy="Shorten the rows, or raise the limit and the function's memory",
            ) from e
        raise DataError("DuckDB could not read the rows", where="PostgreSQL", remedy="Report this as a bug") from e


@contextmanager
def _transaction(conninfo: str, snapshot: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB instance in a transaction of PostgreSQL that sees the snapshot."""
    import duckdb

    duck = _connect()
    try:
        duck.execute(f"ATTACH {_literal(conninfo)} AS pg (TYPE postgres, READ_ONLY)")
        duck.execute("BEGIN")
        for statement in (f"SET TRANSACTION SNAPSHOT '{snapshot}'", *_SETTINGS):
            duck.execute(f"CALL postgres_execute('pg', {_literal(statement)})")
        yield duck
    finally:
        # Left to its destructor, a rollback over a lost connection ends the whole process.
        with suppress(duckdb.Error):
            duck.execute("ROLLBACK")
        duck.close()


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    duck = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "threads": 1,
            "temp_directory": "",  # /tmp is memory in a function
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # Its signature is of a file that was compared with the lock file's hash when it was installed; to check it
            # again takes 0.1 s each time.
            "allow_unsigned_extensions": "true",
        }
    )
    duck.execute(f"LOAD {_literal(_extension())}")
    return duck


def _extension() -> str:
    import duckdb_extension_postgres_scanner

    folder = Path(duckdb_extension_postgres_scanner.__file__).parent
    return str(next(folder.glob("extensions/*/postgres_scanner.duckdb_extension")))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
