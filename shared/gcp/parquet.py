"""Parquet objects read by DuckDB straight from Cloud Storage: ranged HTTPS requests, no copy in /tmp.

An object is addressed with its generation, so that what is read is the version that was announced, whatever replaced it
meanwhile (https://cloud.google.com/storage/docs/xml-api/reference-headers#querygeneration). DuckDB gets the function's
own access token as a bearer token; it knows nothing of its renewal, so that is done here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from shared import duck
from shared.duck import Fault, literal
from shared.errors import ConfigurationError, DataError, RetryableError, SyncError
from shared.gcp import layout, long_rows
from shared.gcp.batches import apart, together

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pyarrow as pa

    from shared.gcp.storage import Storage
    from shared.names import ObjectVersion

#: Seconds of life that a token needs at the start of a read. The metadata server has no fresher one before the last
#: five minutes; a token that ends in mid-read fails it, and the retry has a new one.
TOKEN_MARGIN = 240

#: Rows of a DuckDB vector: it has no less in memory at once. So many bytes may each of a part's rows have in its text
#: and binary columns, for all of a vector to be some 64 MiB; where one has more, it is pyarrow's turn.
VECTOR_ROWS = 2048
ROW_BYTES = 32 << 10
_TOO_LONG = "a row is too long"

#: What DuckDB holds back of a stream. It counts no text, so that what is more than a vector can be many of them.
_AHEAD = "1KB"

#: Seconds to wait for the answer that tells why a read was refused.
STATUS_TIMEOUT = 10

#: Errors that leave an instance of DuckDB unusable.
_SPOILED = {"FATAL", "INTERNAL"}

#: How a token that is no longer taken shows. 0 is how DuckDB reports a HEAD request that was refused.
_REFUSED = {0, 401, 403}


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


@dataclass(frozen=True)
class _Part:
    """What is made of a part: DuckDB expressions of its columns; and who has its bytes."""

    columns: Sequence[ParquetColumn]
    expressions: Sequence[str]
    storage: Storage


@dataclass(frozen=True)
class Rows:
    """A query over a file, and its rows as Arrow batches; without a reader where the first are too long for it."""

    query: str
    batch_rows: int
    schema: pa.Schema
    reader: pa.RecordBatchReader | None = None
    part: _Part | None = None


class Parquet:
    """A DuckDB instance that reads objects, for any number of threads: each read has a connection of its own. `storage`
    fetches the same objects in its own way, for what DuckDB can't tell.

    Methods raise RetryableError when the object could not be reached, ConfigurationError when it may not be read, and
    DataError when it is no Parquet file, or gone.
    """

    def __init__(self, endpoint: str, token: AccessToken, storage: Storage | None = None) -> None:
        self._endpoint, self._token, self._storage = endpoint, token, storage
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
        connection = duck.connect("httpfs", {"threads": 2})
        connection.execute("SET http_retries = 5")
        connection.execute(f"SET streaming_buffer_size = '{_AHEAD}'")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")
        # GeoParquet metadata is a claim about bytes; the bytes are checked as WKB instead.
        connection.execute("SET enable_geoparquet_conversion = false")
        # A version of an object never changes, so what was learnt of it need not be asked again; its data is read once.
        connection.execute("SET enable_http_metadata_cache = true")
        connection.execute("SET enable_external_file_cache = false")
        return connection

    def footer(self, version: ObjectVersion) -> Footer:
        """The columns and row groups of a file. Raises DataError too where it says what can't be so."""
        url = literal(self._url(version))

        def read() -> Footer:
            connection = self._connection()
            query = connection.execute
            file = query(f"SELECT num_rows, file_size_bytes, footer_size FROM parquet_file_metadata({url})").fetchall()
            wrong = layout.wrong(layout.File(*file[0]), self._chunks(version))
            if wrong:
                raise DataError(wrong, where=str(version), remedy="Write the part anew")
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

    def _chunks(self, version: ObjectVersion) -> list[layout.Chunk]:
        found = self._connection().execute(
            "SELECT row_group_id, row_group_num_rows, path_in_schema, num_values, data_page_offset,"
            " dictionary_page_offset, index_page_offset, total_compressed_size, total_uncompressed_size"
            f" FROM parquet_metadata({literal(self._url(version))})"
        )
        return [layout.Chunk(*chunk) for chunk in found.fetchall()]

    def rows(self, versions: Sequence[ObjectVersion]) -> int:
        """How many rows the footers of some files count in all. A failure names the first."""
        urls = ", ".join(literal(self._url(version)) for version in versions)
        query = f"SELECT sum(num_rows) FROM parquet_file_metadata([{urls}])"
        found = self._reading(versions[0], lambda: self._connection().execute(query).fetchall())
        return int(found[0][0])

    def batches(self, version: ObjectVersion, expressions: Sequence[str], batch_rows: int) -> Rows:
        """The rows of a file, in its order, as Arrow batches of the given DuckDB expressions."""
        query = f"SELECT {', '.join(expressions)} FROM {_table(literal(self._url(version)))}"
        reader = self._reading(version, lambda: self._reader(query, batch_rows))
        return Rows(query, batch_rows, reader.schema, reader)

    def part(self, version: ObjectVersion, footer: Footer, expressions: Sequence[str]) -> Rows:
        """The same, of a part with rows of any length. The batches have a size in bytes: see `shared.gcp.batches`."""
        if self._storage is None:
            return self.batches(version, expressions, VECTOR_ROWS)
        part = _Part(footer.columns, expressions, self._storage)
        query = (
            f"SELECT {', '.join(expressions)} FROM {_table(literal(self._url(version)))}"
            f" WHERE CASE WHEN {_length(footer.columns)} <= {ROW_BYTES} THEN true ELSE error('{_TOO_LONG}') END"
        )

        def read() -> Rows:
            try:
                reader = self._reader(query, VECTOR_ROWS)
            except _failures() as e:
                if not _is_too_long(e):
                    raise
                return Rows(query, VECTOR_ROWS, self._reader(f"{query} LIMIT 0", VECTOR_ROWS).schema, part=part)
            return Rows(query, VECTOR_ROWS, reader.schema, reader, part)

        return self._reading(version, read)

    def _reader(self, query: str, batch_rows: int) -> pa.RecordBatchReader:
        return self._connection().execute(query).to_arrow_reader(batch_rows)

    def first_row_where(self, version: ObjectVersion, predicate: str) -> int | None:
        """The number, from 0, of the first row for which the DuckDB predicate holds."""
        files = _table(literal(self._url(version)), "file_row_number = true")
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
        return _table("[" + ", ".join(literal(self._url(version)) for version in versions) + "]")

    def _url(self, version: ObjectVersion) -> str:
        return f"{self._endpoint}/{version.bucket}/{quote(version.name)}?generation={version.generation}"

    def stream(self, version: ObjectVersion, rows: Rows) -> Generator[pa.RecordBatch]:
        """The batches, their failures translated."""
        if rows.part is None:
            yield from self._stream(version, rows)
            return
        taken = 0
        try:
            for table in together(self._stream(version, rows)):
                for batch in apart(table):
                    taken += batch.num_rows
                    yield batch
        except _TooLongError:
            yield from self._long_rows(version, rows.part, taken)

    def _stream(self, version: ObjectVersion, rows: Rows) -> Generator[pa.RecordBatch]:
        def again() -> None:
            for _ in self._reader(rows.query, rows.batch_rows):
                pass

        if rows.reader is None:
            raise _TooLongError
        try:
            yield from rows.reader
        except _failures() as e:
            if rows.part is not None and _is_too_long(e):
                raise _TooLongError from e
            raise self._failure(e, version, again) from e

    def _long_rows(self, version: ObjectVersion, part: _Part, taken: int) -> Generator[pa.RecordBatch]:
        """The rows after those that are taken already, however long, made by DuckDB of what pyarrow reads."""
        connection = self._connection()
        types = ", ".join(_retyped(column) for column in part.columns)
        query = f"SELECT {', '.join(part.expressions)} FROM (SELECT {types} FROM given)"
        try:
            with part.storage.opened(version) as file:
                for table in together(long_rows.batches(file, self._chunks(version), taken, str(version))):
                    connection.register("given", table)
                    made = connection.execute(query).to_arrow_table()
                    connection.unregister("given")
                    yield from apart(made)
        except _failures() as e:
            raise self._failure(e, version, lambda: None) from e

    def _reading[R](self, version: ObjectVersion, read: Callable[[], R]) -> R:
        """Run one read; a token that was refused is renewed once."""
        import duckdb

        renewed = False
        try:
            self._authorize(renew=False)
            try:
                return read()
            except duckdb.HTTPException as e:
                if duck.status(e) not in _REFUSED or not self._authorize(renew=True):
                    raise
                renewed = True
                return read()
        except _failures() as e:
            raise self._failure(e, version, read, renewed=renewed) from e

    def _authorize(self, *, renew: bool) -> bool:
        """Let DuckDB send a token; False where none is needed."""
        with self._lock:
            token = self._token.get(renew=renew)
            if token is not None and token != self._installed:
                bearer, scope = literal(token), literal(self._endpoint)
                # Threads that replace a secret at once would conflict.
                self._open().execute(f"CREATE OR REPLACE SECRET gcs (TYPE http, BEARER_TOKEN {bearer}, SCOPE {scope})")
                self._installed = token
            return token is not None

    def _failure(
        self, e: Exception, version: ObjectVersion, again: Callable[[], object], *, renewed: bool = False
    ) -> SyncError:
        """DuckDB's failure as ours. Its messages may quote values, so they stay out. `renewed`: the token is new;
        `again` reads once more.
        """
        if duck.kind(e) in _SPOILED:
            # The instance is of no more use to anybody. Whether this file is to blame shows on a new one.
            with self._lock:
                self._instance, self._installed = None, None
        where, status, fault = str(version), duck.status(e), duck.fault(e)
        if status == 0:
            status = self._status(version)
            fault = duck.of_status(status)
        if status == HTTPStatus.UNAUTHORIZED and renewed:
            fault = Fault.DEPLOYMENT
        if fault is Fault.UNCLEAR:
            try:
                fault = self._cleared(version, again)
            except SyncError as unreachable:
                return unreachable
        match fault:
            case Fault.LATER | Fault.UNCLEAR:
                return RetryableError("the object could not be read to its end", where=where)
            case Fault.DEPLOYMENT:
                return ConfigurationError(
                    f"Cloud Storage refused to give the object (HTTP {status})",
                    where=where,
                    remedy="Grant the function's account roles/storage.objectViewer on the bucket",
                )
            case Fault.GONE:  # a version that is gone never comes back by itself
                return DataError("is gone", where=where, remedy="Restore it, or write it anew")
            case Fault.CUT_OFF:
                return DataError("is cut off: its footer points beyond its end", where=where)
            case Fault.MEMORY:
                return DataError(
                    f"a row group needs more than {duck.MEMORY_LIMIT} of memory",
                    where=where,
                    remedy="Write smaller row groups",
                )
            case Fault.CONTENT | Fault.SERVER:
                return DataError("is no readable Parquet file, or holds a value that does not fit", where=where)

    def _cleared(self, version: ObjectVersion, again: Callable[[], object]) -> Fault:
        """Whether the way or the content was at fault: the content, if all bytes are to be had, and can't be read again
        for a reason that is not the way's. Raises what `Storage.fetch` does.
        """
        if self._storage is not None and not self._storage.fetch(version):
            return Fault.GONE
        try:
            again()
        except _failures() as e:
            fault = duck.fault(e)
            return Fault.CONTENT if fault is Fault.UNCLEAR else fault
        return Fault.LATER

    def _status(self, version: ObjectVersion) -> int:
        """The status that a HEAD request is answered with now, which DuckDB does not tell; 0 without an answer."""
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        headers = {"Authorization": f"Bearer {self._installed}"} if self._installed else {}
        request = Request(self._url(version), method="HEAD", headers=headers)  # noqa: S310 - Cloud Storage's address
        try:
            with urlopen(request, timeout=STATUS_TIMEOUT) as response:  # noqa: S310
                return int(response.status)
        except HTTPError as e:
            return e.code
        except OSError:
            return 0


class _TooLongError(Exception):
    """A row, or a page, is too long for DuckDB."""


def _is_too_long(e: Exception) -> bool:
    return duck.fault(e) is Fault.MEMORY or (duck.kind(e) == "Invalid Input" and _TOO_LONG in str(e))


def _length(columns: Sequence[ParquetColumn]) -> str:
    """The bytes of a row in its columns that may have any number."""
    lengths = ["0"]
    for column in columns:
        name = duck.identifier(column.name)
        if column.type in ("VARCHAR", "JSON"):
            lengths.append(f"coalesce(strlen({name}), 0)")
        elif column.type == "BLOB":
            lengths.append(f"coalesce(octet_length({name}), 0)")
        elif column.type.startswith("GEOMETRY"):
            lengths.append(f"coalesce(octet_length(st_aswkb({name})), 0)")
    return " + ".join(lengths)


def _retyped(column: ParquetColumn) -> str:
    """A column that pyarrow read, as DuckDB would have read it."""
    name = duck.identifier(column.name)
    made = f"st_geomfromwkb({name})" if column.type.startswith("GEOMETRY") else f"{name}::{column.type}"
    return f"{made} AS {name}"


def _failures() -> tuple[type[Exception], ...]:
    """What DuckDB raises, and pyarrow for it: of a broken file, its reader complains in errors of many classes."""
    import duckdb
    import pyarrow as pa

    return duckdb.Error, pa.ArrowException, OSError


def _table(files: str, *options: str) -> str:
    """The table that files are to DuckDB. Their columns are their own: a name like `date=20260101/` is no more than a
    name.
    """
    return f"read_parquet({', '.join((files, 'hive_partitioning = false', *options))})"
