"""Parquet objects read by DuckDB straight from Cloud Storage: ranged HTTPS requests, no copy in /tmp.

An object is addressed with its generation, so that a read gets the version that was announced, whatever replaced it
meanwhile (https://cloud.google.com/storage/docs/xml-api/reference-headers#querygeneration). DuckDB gets the function's
own access token as a bearer token. DuckDB does not know how to renew a token, so this module does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from itertools import batched
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from shared import duck
from shared.duck import Fault, identifier, literal
from shared.errors import ConfigurationError, DataError, RetryableError, SyncError, UnreadableError
from shared.gcp import layout, long_rows, ranged
from shared.gcp.batches import apart, together
from shared.gcp.crs import Said
from shared.gcp.footer import CHUNK, FIELD, FILE, Footer, ParquetColumn, footer_of

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

#: Expressions that DuckDB makes at once of what pyarrow read: each has a vector for itself.
_EXPRESSIONS = 256

#: What DuckDB holds back of a stream. It counts no text, so that what is more than a vector can be many of them.
_AHEAD = "1KB"

#: Seconds to wait for the answer that tells why a read was refused.
STATUS_TIMEOUT = 10

#: The optimizers of DuckDB that make something of a file's statistics and Bloom filters, or bring filters to its scan,
#: which does.
_CREDULOUS = (
    "statistics_propagation",
    "filter_pushdown",
    "join_filter_pushdown",
    "row_group_pruner",
    "top_n",
    "late_materialization",
)

#: Errors that leave an instance of DuckDB unusable.
_SPOILED = {"FATAL", "INTERNAL"}

#: How a token that is no longer taken shows. 0 is how DuckDB reports a HEAD request that was refused.
_REFUSED = {0, 401, 403}


@dataclass(frozen=True)
class Misread:
    """Where reading a file fails. `broken` says how; it is empty when a value does not fit the type that it should
    become.
    """

    column: str
    row_group: int
    broken: str = ""


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
    """What is made of a part: DuckDB expressions of its columns."""

    footer: Footer
    expressions: Sequence[str]


@dataclass(frozen=True)
class Rows:
    """A query over a file, and its rows as Arrow batches; without a reader where DuckDB does not read them."""

    query: str
    batch_rows: int
    schema: pa.Schema
    reader: pa.RecordBatchReader | None = None
    part: _Part | None = None


class Parquet:
    """A DuckDB instance that reads objects, for any number of threads: each read has a connection of its own. `storage`
    fetches the same objects in its own way, for what DuckDB can't tell.

    Methods raise RetryableError when the object could not be reached, ConfigurationError when it may not be read,
    DataError when it is gone, and UnreadableError when it is no Parquet file, or a broken one.
    """

    def __init__(self, endpoint: str, token: AccessToken, storage: Storage) -> None:
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
        # For all connections to the instance: without GLOBAL, most settings are those of this one alone.
        for setting, value in {
            "http_retries": "5",
            "TimeZone": "'UTC'",
            # GeoParquet metadata is a claim about bytes; the bytes are checked as WKB instead.
            "enable_geoparquet_conversion": "false",
            # A version of an object never changes, so what was learnt of it need not be asked again; its data is read
            # once. Footers are not kept: nothing limits their memory.
            "enable_http_metadata_cache": "true",
            "enable_external_file_cache": "false",
            "parquet_metadata_cache": "false",
            # What a footer says of values is a claim too. Believed, it makes NULLs of values, and leaves rows out.
            "disabled_optimizers": literal(",".join(_CREDULOUS)),
        }.items():
            connection.execute(f"SET GLOBAL {setting} = {value}")
        return connection

    def footer(self, version: ObjectVersion) -> Footer:
        """The columns and row groups of a file. Raises DataError too where it says what can't be so."""
        url = literal(self._url(version))

        def read() -> Footer:
            query = self._connection().execute
            described = query(f"DESCRIBE SELECT * FROM {_table(url)}").fetchall()
            fields = query(f"SELECT {FIELD} FROM parquet_schema({url})").fetchall()
            metadata = query(f"SELECT key, value FROM parquet_kv_metadata({url})").fetchall()
            said = Said.of(dict(metadata), str(version))
            file, chunks = self._layout(version)
            wrong = layout.wrong(file, chunks)
            if wrong:
                raise DataError(wrong, where=str(version), remedy="Write the part anew")
            return footer_of([str(type_) for _, type_, *_ in described], fields, chunks, said)

        return self._reading(version, read)

    def _layout(self, version: ObjectVersion) -> tuple[layout.File, list[layout.Chunk]]:
        """Where the footer says that the pages lie, and how they are written."""
        import duckdb

        url, query = literal(self._url(version)), self._connection().execute
        try:
            (file,) = query(f"SELECT {FILE} FROM parquet_file_metadata({url})").fetchall()
            chunks = query(f"SELECT {CHUNK} FROM parquet_metadata({url})").fetchall()
            return layout.File(*file), [layout.Chunk(*chunk) for chunk in chunks]
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            # DuckDB makes text of all statistics and signatures, and can't of each.
            return self._layout_alone(version)

    def _layout_alone(self, version: ObjectVersion) -> tuple[layout.File, list[layout.Chunk]]:
        with self._storage.opened(version) as file:
            try:
                return layout.read_from(file)
            except layout.EncryptedError:
                raise UnreadableError("is encrypted", where=str(version)) from None
            except ValueError:
                raise UnreadableError("is no readable Parquet file", where=str(version)) from None

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
        """The rows of a part, as `batches` gives them of a file, with rows of any length, or of a part that DuckDB does
        not read. The batches have a size in bytes: see `shared.gcp.batches`.
        """
        part = _Part(footer, expressions)
        query = (
            f"SELECT {', '.join(expressions)} FROM {_table(literal(self._url(version)))}"
            f" WHERE CASE WHEN {_length(footer.columns)} <= {ROW_BYTES} THEN true ELSE error('{_TOO_LONG}') END"
        )

        def read() -> Rows:
            if not footer.beyond_duckdb:
                try:
                    reader = self._reader(query, VECTOR_ROWS)
                    return Rows(query, VECTOR_ROWS, reader.schema, reader, part)
                except _failures() as e:
                    if not _is_too_long(e):
                        raise
            with self._storage.opened(version) as file:
                nothing = ranged.nothing(ranged.opened(file), [column.name for column in footer.columns])
            return Rows(query, VECTOR_ROWS, self._made(nothing, part).schema, part=part)

        return self._reading(version, read)

    def _reader(self, query: str, batch_rows: int) -> pa.RecordBatchReader:
        connection = self._connection()
        connection.execute(f"SET streaming_buffer_size = {literal(_AHEAD)}")  # a connection's own, and no instance's
        return connection.execute(query).to_arrow_reader(batch_rows)

    def misread(self, version: ObjectVersion, footer: Footer, expressions: Mapping[str, str]) -> Misread | None:
        """The first place, row group by row group, where the file can't be read or these DuckDB expressions of its
        columns fail. None when no failure is the file's fault.
        """
        import duckdb
        import pyarrow as pa

        def read() -> Misread | None:
            with self._storage.opened(version) as file:
                opened = ranged.opened(file)
                for chunk in footer.chunks:
                    if chunk.column not in expressions:
                        continue
                    try:
                        for batch in long_rows.of_row_group(file, opened, [chunk], str(version)):
                            self._made(batch, _Part(footer, [expressions[chunk.column]]))
                    except duckdb.Error as e:
                        if duck.fault(e) in (Fault.CONTENT, Fault.UNCLEAR):
                            return Misread(chunk.column, chunk.row_group)
                        raise
                    except (pa.ArrowException, OSError) as e:
                        return Misread(chunk.column, chunk.row_group, ranged.broken(e, chunk))
            return None

        return self._reading(version, read)

    def _made(self, given: pa.RecordBatch | pa.Table, part: _Part) -> pa.Table:
        """DuckDB expressions of rows that pyarrow read, whose columns get the types that the footer has for them."""
        import pyarrow as pa

        types = {column.name: column.type for column in part.footer.columns}
        columns = ", ".join(_retyped(name, types[name]) for name in given.schema.names)
        connection = self._connection()
        connection.register("given", given if isinstance(given, pa.Table) else pa.Table.from_batches([given]))
        made: dict[str, pa.ChunkedArray] = {}
        try:
            for some in batched(part.expressions, _EXPRESSIONS):
                query = f"SELECT {', '.join(some)} FROM (SELECT {columns} FROM given)"
                found = connection.execute(query).to_arrow_table()
                made |= zip(found.schema.names, found.columns, strict=True)
        finally:
            connection.unregister("given")
        return pa.table(made)

    def aggregates(self, versions: Sequence[ObjectVersion], expressions: Sequence[str]) -> tuple[object, ...]:
        """The values of DuckDB aggregates over all rows of some files. Their failure names the first."""
        query = f"SELECT {', '.join(expressions)} FROM {self._files(versions)}"
        found = self._reading(versions[0], lambda: self._connection().execute(query).fetchall())
        return tuple(found[0])

    def absent(
        self, versions: Sequence[ObjectVersion], column: str, values: pa.Table, limit: int, where: str
    ) -> list[int]:
        """The whole numbers of `values` (a table of one column) that no row of the files has in `column`: the `limit`
        smallest. Only the rows count for which the DuckDB predicate holds.
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
        except _BeyondDuckDBError:
            yield from self._by_pyarrow(version, rows.part, taken)

    def _stream(self, version: ObjectVersion, rows: Rows) -> Generator[pa.RecordBatch]:
        def again() -> None:
            try:
                for _ in self._reader(rows.query, rows.batch_rows):
                    pass
            except _failures() as e:
                if rows.part is None or not _is_too_long(e):
                    raise  # what is too long for DuckDB is no fault of the part

        if rows.reader is None:
            raise _BeyondDuckDBError
        try:
            yield from rows.reader
        except _failures() as e:
            if rows.part is not None and _is_too_long(e):
                raise _BeyondDuckDBError from e
            raise self._failure(e, version, again) from e

    def _by_pyarrow(self, version: ObjectVersion, part: _Part, taken: int) -> Generator[pa.RecordBatch]:
        """The rows after those that are taken already, however long, made by DuckDB of what pyarrow reads."""
        try:
            with self._storage.opened(version) as file:
                for table in together(long_rows.batches(file, part.footer.chunks, taken, str(version))):
                    yield from apart(self._made(table, part))
        except _failures() as e:
            # The way has errors of its own here.
            raise self._failure(e, version, partial(_raise, e)) from e

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
                return UnreadableError(duck.said_of_parquet(e) or "is no readable Parquet file", where=where)

    def _cleared(self, version: ObjectVersion, again: Callable[[], object]) -> Fault:
        """Whether the way or the content was at fault: the content, if all bytes are to be had, and can't be read again
        for a reason that is not the way's. Raises what `Storage.fetch` does.
        """
        if not self._storage.fetch(version):
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


class _BeyondDuckDBError(Exception):
    """A row, or a page, is too long for DuckDB, or the file is none that it reads."""


def _is_too_long(e: Exception) -> bool:
    return duck.fault(e) is Fault.MEMORY or (duck.kind(e) == "Invalid Input" and _TOO_LONG in str(e))


def _raise(e: Exception) -> None:
    raise e


def _length(columns: Sequence[ParquetColumn]) -> str:
    """The bytes of a row in its columns that may have any number."""
    lengths = ["0"]
    for column in columns:
        name = identifier(column.name)
        if column.type in ("VARCHAR", "JSON"):
            lengths.append(f"coalesce(strlen({name}), 0)")
        elif column.type == "BLOB":
            lengths.append(f"coalesce(octet_length({name}), 0)")
        elif column.type.startswith("GEOMETRY"):
            lengths.append(f"coalesce(octet_length(st_aswkb({name})), 0)")
    return " + ".join(lengths)


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


def _retyped(name: str, type_: str) -> str:
    """A column that pyarrow read, as DuckDB would have read it."""
    column = identifier(name)
    made = f"st_geomfromwkb({column})" if type_.startswith("GEOMETRY") else f"{column}::{type_}"
    return f"{made} AS {column}"
