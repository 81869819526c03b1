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

from shared.errors import DataError, RetryableError, SyncError

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pyarrow as pa

    from shared.names import ObjectVersion

#: Seconds of life that a token needs at the start of a read. The metadata server has no fresher one before the last
#: five minutes; a token that ends in mid-read fails it, and the retry has a new one.
TOKEN_MARGIN = 240

#: DuckDB's working memory. Row groups of BigQuery's files are far smaller; what exceeds it fails instead of swapping.
MEMORY_LIMIT = "256MB"

_UNREACHABLE = re.compile(r"\b(HTTP|IO|Connection|INTERRUPT|FATAL|TransactionContext) Error\b")
_INVALIDATED = re.compile(r"\b(FATAL|INTERNAL) Error\b")
#: 0 is how DuckDB reports a HEAD request that was refused.
_REFUSED = re.compile(r"\(HTTP (401|403|0)\b")
#: A version that is gone never comes back by itself.
_GONE = re.compile(r"\(HTTP 404\b")
_BEYOND_END = re.compile(r"\(HTTP 416\b|incorrectly set page offsets")


@dataclass(frozen=True)
class ParquetColumn:
    """A column of a file: its name and the DuckDB type it is read as. `digits` is its precision if it is a decimal."""

    name: str
    type: str
    digits: int | None


@dataclass(frozen=True)
class Footer:
    """What a file says of itself: the rows of each row group, in order, and the bytes of its values, unpacked."""

    columns: tuple[ParquetColumn, ...]
    row_groups: tuple[int, ...]
    bytes: int = 0

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
        """A token to start a read with, a new one on `renew`; None where none is needed."""


class NoToken:
    """The emulator asks for none."""

    def get(self, *, renew: bool) -> None:
        return None


class FunctionToken:
    """The access token of the account that the function runs as, renewed in its last minutes."""

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
        self._installed: str | None = None

    def _connection(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._open().cursor()

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._instance is None:
            self._instance = self._new()
        return self._instance

    @staticmethod
    def _new() -> duckdb.DuckDBPyConnection:
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
            described = query(f"DESCRIBE SELECT * FROM {_table(url)}").fetchall()
            schema = query(f"SELECT name, precision FROM parquet_schema({url})").fetchall()
            groups = query(
                "SELECT any_value(row_group_num_rows), sum(total_uncompressed_size)"
                f" FROM parquet_metadata({url}) GROUP BY row_group_id ORDER BY row_group_id"
            ).fetchall()
            digits = dict(schema)
            columns = (ParquetColumn(name, type_, digits.get(name)) for name, type_, *_ in described)
            rows, sizes = [int(rows) for rows, _ in groups], [int(size) for _, size in groups]
            return Footer(tuple(columns), tuple(rows), sum(sizes))

        return self._reading(version, read)

    def rows(self, versions: Sequence[ObjectVersion]) -> int:
        """How many rows the footers of some files count in all. A failure names the first."""
        urls = ", ".join(_literal(self._url(version)) for version in versions)
        query = f"SELECT sum(num_rows) FROM parquet_file_metadata([{urls}])"
        found = self._reading(versions[0], lambda: self._connection().execute(query).fetchall())
        return int(found[0][0])

    def batches(self, version: ObjectVersion, expressions: Sequence[str], batch_rows: int) -> pa.RecordBatchReader:
        """The rows of a file, in its order, as Arrow batches of the given DuckDB expressions."""
        query = f"SELECT {', '.join(expressions)} FROM {_table(_literal(self._url(version)))}"
        return self._reading(version, lambda: self._connection().execute(query).to_arrow_reader(batch_rows))

    def first_row_where(self, version: ObjectVersion, predicate: str) -> int | None:
        """The number, from 0, of the first row for which the DuckDB predicate holds."""
        files = _table(_literal(self._url(version)), "file_row_number = true")
        query = f"SELECT min(file_row_number) FROM {files} WHERE {predicate}"
        found = self._reading(version, lambda: self._connection().execute(query).fetchone())
        return None if found is None or found[0] is None else int(found[0])

    def aggregates(self, versions: Sequence[ObjectVersion], expressions: Sequence[str]) -> tuple[object, ...]:
        """The values of DuckDB aggregates over all rows of some files. Their failure names the first."""
        query = f"SELECT {', '.join(expressions)} FROM {self._files(versions)}"
        found = self._reading(versions[0], lambda: self._connection().execute(query).fetchall())
        return tuple(found[0])

    def absent(
        self, versions: Sequence[ObjectVersion], column: str, values: pa.Table, limit: int, where: str
    ) -> list[int]:
        """The whole numbers of `values` (a table of one column) that no row of the files has in `column`: the least
        `limit` of them. Of the files, only rows are looked at for which the DuckDB predicate holds.
        """
        (name,) = values.column_names
        query = (
            f"SELECT {name} FROM given ANTI JOIN (SELECT {column} AS known FROM {self._files(versions)} WHERE {where})"
            f" ON {name} = known ORDER BY 1 LIMIT {limit}"
        )

        def read() -> list[int]:
            connection = self._connection()
            connection.register("given", values)
            try:
                return [int(value) for (value,) in connection.execute(query).fetchall()]
            finally:
                connection.unregister("given")

        return self._reading(versions[0], read)

    def _files(self, versions: Sequence[ObjectVersion]) -> str:
        return _table("[" + ", ".join(_literal(self._url(version)) for version in versions) + "]")

    def _url(self, version: ObjectVersion) -> str:
        return f"{self._endpoint}/{version.bucket}/{quote(version.name)}?generation={version.generation}"

    def stream(self, version: ObjectVersion, reader: pa.RecordBatchReader) -> Generator[pa.RecordBatch]:
        """The batches of a reader, its failures translated."""
        with self._translated(version):
            yield from reader

    def _reading[R](self, version: ObjectVersion, read: Callable[[], R]) -> R:
        """Run one read; a token that was refused is renewed once."""
        import duckdb

        with self._translated(version):
            self._authorize(renew=False)
            try:
                return read()
            except duckdb.HTTPException as e:
                if not _REFUSED.search(str(e)) or not self._authorize(renew=True):
                    raise
                return read()

    def _authorize(self, *, renew: bool) -> bool:
        """Let DuckDB send a token; False where none is needed."""
        with self._lock:
            token = self._token.get(renew=renew)
            if token is not None and token != self._installed:
                bearer, scope = _literal(token), _literal(self._endpoint)
                # Threads that replace a secret at once would conflict.
                self._open().execute(f"CREATE OR REPLACE SECRET gcs (TYPE http, BEARER_TOKEN {bearer}, SCOPE {scope})")
                self._installed = token
            return token is not None

    @contextmanager
    def _translated(self, version: ObjectVersion) -> Iterator[None]:
        """Turn DuckDB's failures into ours. Its messages may quote values, so they stay out.

        A stream of Arrow batches hands DuckDB's failures on as pyarrow's, with only the message to tell them apart.
        Of a broken file, DuckDB's reader complains in errors of many classes, and of none.
        """
        import duckdb
        import pyarrow as pa

        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as e:
            raise self._failure(e, version) from e

    def _failure(self, e: Exception, version: ObjectVersion) -> SyncError:
        import duckdb

        message = str(e)
        if isinstance(e, duckdb.FatalException | duckdb.InternalException) or _INVALIDATED.search(message):
            # The instance is of no more use to anybody. Whether this file is to blame shows on a new one.
            with self._lock:
                self._instance, self._installed = None, None
        if _GONE.search(message):
            return DataError("is gone", where=str(version), remedy="Restore it, or write it anew")
        if _BEYOND_END.search(message):
            return DataError("is cut off: its footer points beyond its end", where=str(version))
        transient = duckdb.IOException | duckdb.InterruptException | duckdb.FatalException | duckdb.TransactionException
        if isinstance(e, transient) or _UNREACHABLE.search(message):
            return RetryableError("the object could not be read to its end", where=str(version))
        if "Out of Memory" in message:
            return DataError(
                f"a row group needs more than {MEMORY_LIMIT} of memory",
                where=str(version),
                remedy="Write smaller row groups",
            )
        return DataError("is no readable Parquet file, or holds a value that does not fit", where=str(version))


def _httpfs() -> str:
    import duckdb_extension_httpfs

    folder = Path(duckdb_extension_httpfs.__file__).parent
    return str(next(folder.glob("extensions/*/httpfs.duckdb_extension")))


def _table(files: str, *options: str) -> str:
    """The table that files are to DuckDB. Their columns are their own: a name like `date=20260101/` is no more than a
    name.
    """
    return f"read_parquet({', '.join((files, 'hive_partitioning = false', *options))})"


def _literal(text: str) -> str:
    return "'" + re.sub("'", "''", text) + "'"
