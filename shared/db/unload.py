"""Rows of a PostgreSQL query as Arrow batches, read by a DuckDB instance of its own within somebody else's snapshot.

Several queries over one DuckDB instance would share one server process and gain nothing; instances side by side, each
with a range of its own, keep the server busy.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import DataError, RetryableError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: DuckDB's working memory: it only hands rows on.
MEMORY_LIMIT = "128MB"

#: Rows of a batch: two of DuckDB's vectors, few enough that rows of some kilobytes stay in memory.
BATCH_ROWS = 4096

#: What DuckDB makes of a lost connection or a server that ends; its classes do not tell it from a value's fault.
_LOST = re.compile(
    r"connection|terminat|shut ?down|could not (send|receive)|recovery mode|starting up|timeout|snapshot",
    re.IGNORECASE,
)


def batches(conninfo: str, snapshot: str, statement: str, select: Sequence[str]) -> Generator[pa.RecordBatch]:
    """The rows of `statement`, a PostgreSQL query, seen in an exported snapshot, as the given DuckDB expressions.

    Raises RetryableError when the rows could not be read to their end, DataError when DuckDB could not read them.
    """
    import duckdb
    import pyarrow as pa

    try:
        with closing(_connect()) as duck:
            duck.execute(f"ATTACH {_literal(conninfo)} AS pg (TYPE postgres, READ_ONLY)")
            duck.execute("BEGIN")
            duck.execute(f"CALL postgres_execute('pg', {_literal(f"SET TRANSACTION SNAPSHOT '{snapshot}'")})")
            source = f"postgres_query('pg', {_literal(statement)})"
            yield from duck.execute(f"SELECT {', '.join(select)} FROM {source}").to_arrow_reader(BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as e:
        # The text may quote the URL, password and all, or a value.
        if isinstance(e, duckdb.IOException | OSError) or _LOST.search(str(e)):
            raise RetryableError("the rows could not be read to their end", where="PostgreSQL") from e
        raise DataError("DuckDB could not read the rows", where="PostgreSQL") from e


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    duck = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "threads": 1,
            "temp_directory": "",  # /tmp is memory in a function
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
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
