"""Parquet objects read by DuckDB straight from Cloud Storage: ranged HTTPS requests, no copy in /tmp.

An object is addressed with its generation, so that what is read is the version that was announced, whatever replaced it
meanwhile (https://cloud.google.com/storage/docs/xml-api/reference-headers#querygeneration). DuckDB gets the function's
own access token as a bearer token; it knows nothing of its renewal, so that is done here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from shared.errors import DataError, RetryableError

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pyarrow as pa

    from shared.names import ObjectVersion

#: Seconds of life that a token needs at the start of a read, a little more than an event function may run.
TOKEN_MARGIN = 600

#: DuckDB's working memory. Row groups of BigQuery's files are far smaller; what exceeds it fails instead of swapping.
MEMORY_LIMIT = "256MB"

_UNREACHABLE = re.compile(r"\b(HTTP|IO|Connection|INTERRUPT) Error\b")


@dataclass(frozen=True)
class ParquetColumn:
    """A column of a file: its name and the DuckDB type it is read as. `digits` is its precision if it is a decimal."""

    name: str
    type: str
    digits: int | None


@dataclass(frozen=True)
class Footer:
    """What a file says of itself. `row_groups` are their row counts, in order."""

    columns: tuple[ParquetColumn, ...]
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)

    def row_group_of(self, row: int) -> int:
        """The index of the row group that holds the row, both counted from 0."""
        for index, rows in enumerate(self.row_groups):
            if row < rows:
                return index
            row -= rows
        return len(self.row_groups)


class AccessToken(Protocol):
    """Where bearer tokens come from."""

    def get(self, *, renew: bool) -> str | None:
        """A token that lives long enough, a new one on `renew`; None where none is needed."""


class NoToken:
    """The emulator asks for none."""

    def get(self, *, renew: bool) -> None:
        return None


class FunctionToken:
    """The access token of the account that the function runs as, renewed before it is too short-lived to use."""

    @cached_property
    def _credentials(self) -> GoogleCredentials:
        import google.auth

        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
        return credentials

    def get(self, *, renew: bool) -> str | None:
        from datetime import UTC, datetime, timedelta

        from google.auth.transport.requests import Request

        from shared.gcp.errors import translated

        soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=TOKEN_MARGIN)
        expiry = self._credentials.expiry
        if renew or self._credentials.token is None or (expiry is not None and expiry < soon):
            with translated("renewing the access token"):
                self._credentials.refresh(Request())
        return self._credentials.token


class GoogleCredentials(Protocol):
    """The part of google.auth.credentials.Credentials that is used here; `expiry` is naive UTC."""

    token: str | None

    @property
    def expiry(self) -> datetime | None: ...

    def refresh(self, request: object) -> None: ...


class Parquet:
    """A DuckDB instance that reads objects, for any number of threads: each read has a connection of its own.

    Methods raise RetryableError when the object could not be reached, DataError when it is no Parquet file.
    """

    def __init__(self, endpoint: str, token: AccessToken) -> None:
        self._endpoint, self._token = endpoint, token
        self._lock = threading.Lock()
        self._instance: duckdb.DuckDBPyConnection | None = None

    def _connection(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._instance is None:
                self._instance = self._open()
            return self._instance.cursor()

    @staticmethod
    def _open() -> duckdb.DuckDBPyConnection:
        import duckdb

        connection = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": 2,
                "temp_directory": "",  # /tmp is memory in a function: spilling there would only hide the need
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        connection.execute(f"LOAD '{_httpfs()}'")
        connection.execute("SET http_retries = 5")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")
        # GeoParquet metadata is a claim about bytes; the bytes are checked as WKB instead.
        connection.execute("SET enable_geoparquet_conversion = false")
        # A version of an object never changes, so what was learnt of it need not be asked again; its data is read once.
        connection.execute("SET enable_http_metadata_cache = true")
        connection.execute("SET enable_external_file_cache = false")
        return connection

    def footer(self, version: ObjectVersion) -> Footer:
        """The columns and row groups of a file."""
        url = _literal(self._url(version))

        def read() -> Footer:
            connection = self._connection()
            query = connection.execute
            described = query(f"DESCRIBE SELECT * FROM read_parquet({url})").fetchall()
            schema = query(f"SELECT name, precision FROM parquet_schema({url})").fetchall()
            groups = query(
                f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata({url}) ORDER BY 1"
            ).fetchall()
            digits = dict(schema)
            columns = (ParquetColumn(name, type_, digits.get(name)) for name, type_, *_ in described)
            return Footer(tuple(columns), tuple(int(rows) for _, rows in groups))

        return self._reading(version, read)

    def batches(self, version: ObjectVersion, expressions: Sequence[str], batch_rows: int) -> pa.RecordBatchReader:
        """The rows of a file, in its order, as Arrow batches of the given DuckDB expressions."""
        query = f"SELECT {', '.join(expressions)} FROM read_parquet({_literal(self._url(version))})"
        return self._reading(version, lambda: self._connection().execute(query).to_arrow_reader(batch_rows))

    def first_row_where(self, version: ObjectVersion, predicate: str) -> int | None:
        """The number, from 0, of the first row for which the DuckDB predicate holds."""
        query = (
            "SELECT min(file_row_number)"
            f" FROM read_parquet({_literal(self._url(version))}, file_row_number = true) WHERE {predicate}"
        )
        found = self._reading(version, lambda: self._connection().execute(query).fetchone())
        return None if found is None or found[0] is None else int(found[0])

    def _url(self, version: ObjectVersion) -> str:
        return f"{self._endpoint}/{version.bucket}/{quote(version.name)}?generation={version.generation}"

    def _reading[R](self, version: ObjectVersion, read: Callable[[], R]) -> R:
        """Run one read; a token that was refused is renewed once."""
        import duckdb

        self._authorize(renew=False)
        with translated(version):
            try:
                return read()
            except duckdb.HTTPException:
                if not self._authorize(renew=True):
                    raise
                return read()

    def _authorize(self, *, renew: bool) -> bool:
        token = self._token.get(renew=renew)
        if token is None:
            return False
        bearer, scope = _literal(token), _literal(self._endpoint)
        self._connection().execute(f"CREATE OR REPLACE SECRET gcs (TYPE http, BEARER_TOKEN {bearer}, SCOPE {scope})")
        return True


@contextmanager
def translated(version: ObjectVersion) -> Iterator[None]:
    """Turn DuckDB's failures into ours. Its messages may quote values, so they stay out.

    A stream of Arrow batches hands DuckDB's failures on as pyarrow's, with only the message left to tell them apart.
    """
    import duckdb
    import pyarrow as pa

    unfit = (duckdb.DataError, duckdb.InvalidInputException, duckdb.NotSupportedError, pa.ArrowException)
    try:
        yield
    except (duckdb.IOException, duckdb.InterruptException) as e:
        raise _unreachable(version) from e
    except (duckdb.OutOfMemoryException, *unfit, OSError) as e:
        if _UNREACHABLE.search(str(e)):
            raise _unreachable(version) from e
        if "Out of Memory" in str(e):
            raise DataError(
                f"a row group needs more than {MEMORY_LIMIT} of memory",
                where=str(version),
                remedy="Write smaller row groups",
            ) from e
        raise DataError("is no readable Parquet file, or holds a value that does not fit", where=str(version)) from e


def _unreachable(version: ObjectVersion) -> RetryableError:
    return RetryableError("the object could not be read to its end", where=str(version))


def stream(version: ObjectVersion, reader: pa.RecordBatchReader) -> Generator[pa.RecordBatch]:
    """The batches of a reader, with failures translated as the reader's first read has them."""
    with translated(version):
        yield from reader


def _httpfs() -> str:
    import duckdb_extension_httpfs

    folder = Path(duckdb_extension_httpfs.__file__).parent
    return str(next(folder.glob("extensions/*/httpfs.duckdb_extension")))


def _literal(text: str) -> str:
    return "'" + re.sub("'", "''", text) + "'"
