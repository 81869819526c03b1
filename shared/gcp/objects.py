"""DuckDB reading objects straight from Cloud Storage: its instance, its token, and what its failures mean.

An object is addressed with its generation, so that a read gets the version that was announced, whatever replaced it
meanwhile (https://cloud.google.com/storage/docs/xml-api/reference-headers#querygeneration). DuckDB gets the function's
own access token as a bearer token. DuckDB does not know how to renew a token, so this module does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared import duck
from shared.duck import Fault, literal
from shared.errors import ConfigurationError, DataError, RetryableError, SyncError, UnreadableError
from shared.gcp.tokens import AccessToken

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from shared.gcp.storage import Storage
    from shared.names import ObjectVersion

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


class Objects:
    """A DuckDB instance that reads objects, for any number of threads: each read has a connection of its own. `storage`
    fetches the same objects in its own way, for what DuckDB can't tell.
    """

    def __init__(self, endpoint: str, token: AccessToken, storage: Storage) -> None:
        self._endpoint, self._token, self.storage = endpoint, token, storage
        self._lock = threading.Lock()
        self._instance: duckdb.DuckDBPyConnection | None = None
        self._installed: str | None = None

    def connection(self) -> duckdb.DuckDBPyConnection:
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

    def url(self, version: ObjectVersion) -> str:
        return f"{self._endpoint}/{version.bucket}/{quote(version.name)}?generation={version.generation}"

    def reader(self, query: str, batch_rows: int) -> pa.RecordBatchReader:
        connection = self.connection()
        connection.execute(f"SET streaming_buffer_size = {literal(_AHEAD)}")  # a connection's own, and no instance's
        return connection.execute(query).to_arrow_reader(batch_rows)

    def reading[R](self, version: ObjectVersion, read: Callable[[], R], again: Callable[[], object] | None = None) -> R:
        """Run one read; a token that was refused is renewed once. `again` reads to the end what `read` only begins:
        how far DuckDB gets before it hands a reader over is chance.
        """
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
        except failures() as e:
            raise self.failure(e, version, again or read, renewed=renewed) from e

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

    def failure(
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
        if not self.storage.fetch(version):
            return Fault.GONE
        try:
            again()
        except failures() as e:
            fault = duck.fault(e)
            return Fault.CONTENT if fault is Fault.UNCLEAR else fault
        return Fault.LATER

    def _status(self, version: ObjectVersion) -> int:
        """The status that a HEAD request is answered with now, which DuckDB does not tell; 0 without an answer."""
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        headers = {"Authorization": f"Bearer {self._installed}"} if self._installed else {}
        request = Request(self.url(version), method="HEAD", headers=headers)  # noqa: S310 - Cloud Storage's address
        try:
            with urlopen(request, timeout=STATUS_TIMEOUT) as response:  # noqa: S310
                return int(response.status)
        except HTTPError as e:
            return e.code
        except OSError:
            return 0


def failures() -> tuple[type[Exception], ...]:
    """What DuckDB raises, and pyarrow for it: of a broken file, its reader complains in errors of many classes."""
    import duckdb
    import pyarrow as pa

    return duckdb.Error, pa.ArrowException, OSError
