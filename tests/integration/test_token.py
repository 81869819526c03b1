"""Objects are read with the function's own access token, by ranges, and the token is renewed."""

import re
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from shared.daily import arrival
from shared.errors import ConfigurationError, DataError, RetryableError
from shared.gcp.footer import Footer
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import FunctionToken
from shared.names import ObjectVersion, SnapshotId
from tests.kit.sessions import one
from tests.kit.uploads import Upload, parquet_bytes, rows

COUNT, GROUP = 150_000, 3_000
FIRST = "token-1"


@dataclass
class Request:
    """What was asked of the server, and its answer."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    status: int = 0
    bytes: int = 0


@dataclass
class Bucket:
    """A server of one object to those who have the valid token. `revoke_after` so many answers, another is valid.

    With a `status` it answers nothing else; the connection breaks after `breaks_after` bytes of a body.
    """

    content: bytes
    valid: str = FIRST
    revoke_after: int | None = None
    status: int | None = None
    breaks_after: int | None = None
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> bytes:
        """The body; sets the request's status."""
        self.requests.append(request)
        if self.revoke_after is not None and len(self.requests) > self.revoke_after:
            self.valid, self.revoke_after = "token-2", None
        if request.authorization != f"Bearer {self.valid}":
            request.status = 401
            return b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.range or "")
        if self.status is not None:
            request.status = self.status
            return b""
        request.status = 206 if asked else 200
        body = self.content[int(asked[1]) : int(asked[2]) + 1] if asked else self.content
        request.bytes = 0 if request.method == "HEAD" else len(body)
        return body


@contextmanager
def serving(bucket: Bucket) -> Iterator[str]:
    """The address of a server for the bucket."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a body waits 40 ms for the acknowledgement of its header

        def do_GET(self) -> None:
            request = Request(self.command, self.path, self.headers["Range"], self.headers["Authorization"])
            body = bucket.answer(request)
            self.send_response(request.status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"1"')
            if request.status == 206:
                self.send_header("Content-Range", f"{request.range.replace('=', ' ')}/{len(bucket.content)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: bucket.breaks_after])
                self.close_connection = bucket.breaks_after is not None

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Credentials:
    """What google.auth gives a function: a token, the naive UTC time it ends, and a way to the next."""

    def __init__(self, bucket: Bucket, token: str | None, life: timedelta | None) -> None:
        self._bucket = bucket
        self.token = token
        self.expiry = None if life is None else datetime.now(UTC).replace(tzinfo=None) + life
        self.renewals = 0

    def refresh(self, request: object) -> None:
        self.renewals += 1
        self.token, self.expiry = self._bucket.valid, None


class Setup:
    """A part in a bucket that asks for tokens, and the services of a function that has some."""

    def __init__(self, services, token: str | None = FIRST, life: timedelta | None = timedelta(hours=1)) -> None:
        table = "non_recommendable_items_data"
        self.upload = Upload(services, table, SnapshotId.parse("20260101T000000Z"))
        ids = [f"user-{n * 7919 % COUNT}-{n}" for n in range(COUNT)]
        content = parquet_bytes(rows(table, services, {"user_id": ids, "item_id": ids}), row_group_size=GROUP)
        self.bucket = Bucket(content)
        self.version = self.upload.part(content)
        self.credentials = Credentials(self.bucket, token, life)
        self.services = services

    @contextmanager
    def serving(self) -> Iterator[None]:
        token = FunctionToken()
        token._credentials = self.credentials
        with serving(self.bucket) as url:
            self.services = replace(self.services, parquet=Parquet(url, token, self.services.storage))
            yield

    def stage(self) -> str:
        return arrival.handle(self.services, self.version, 1)

    @property
    def statuses(self) -> list[int]:
        return [request.status for request in self.bucket.requests]


def staged_rows(database) -> list[int]:
    return [n for (n,) in database.execute("SELECT rows FROM recosync.part")]


def test_every_request_bears_the_token_and_names_the_generation(services, database):
    setup = Setup(services)
    with setup.serving():
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert {request.authorization for request in setup.bucket.requests} == {"Bearer token-1"}
    expected = f"/{setup.version.bucket}/{setup.version.name}?generation={setup.version.generation}"
    assert {request.path for request in setup.bucket.requests} == {expected}
    assert setup.credentials.renewals == 0


def test_an_object_is_read_by_ranges_and_once(services):
    setup = Setup(services)
    with setup.serving():
        setup.stage()
    reads = [request for request in setup.bucket.requests if request.method == "GET"]
    assert {request.status for request in reads} == {206}
    assert len(reads) > 3
    assert max(request.bytes for request in reads) < len(setup.bucket.content) / 2
    assert sum(request.bytes for request in reads) < 1.5 * len(setup.bucket.content)


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Any write to a file, in /tmp or elsewhere, fails in here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_object_is_not_copied_to_a_file(services, database, tmp_path):
    setup = Setup(services)
    with setup.serving(), no_file_may_grow():
        with pytest.raises(OSError, match="File too large"):
            (tmp_path / "file").write_text("x")
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]


@pytest.mark.parametrize(
    ("token", "life"),
    [(None, None), ("token-0", timedelta(hours=-1)), ("token-0", timedelta(minutes=3))],
    ids=["none yet", "expired", "too short-lived for a part"],
)
def test_a_token_that_would_not_last_is_renewed_before_it_is_used(services, token, life):
    setup = Setup(services, token, life)
    with setup.serving():
        assert setup.stage() == "staged"
    assert 401 not in setup.statuses
    assert setup.credentials.renewals == 1


def test_a_token_that_the_service_refuses_is_renewed(services):
    setup = Setup(services, "token-0")
    with setup.serving():
        assert setup.stage() == "staged"
    assert setup.statuses[0] == 401
    assert setup.credentials.renewals == 1


def test_a_token_that_is_refused_in_mid_stream_is_renewed_by_the_next_try(services, database):
    setup = Setup(services)
    with setup.serving():
        # The reader is some row groups ahead of the stream; the first of these requests are made before it starts.
        setup.bucket.revoke_after = COUNT // GROUP
        with pytest.raises(RetryableError):
            setup.stage()
        assert staged_rows(database) == []
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert setup.credentials.renewals == 1


@pytest.mark.parametrize("requests", [1, 2, 6])
def test_a_token_that_is_refused_before_the_stream_is_renewed_at_once(services, database, requests):
    setup = Setup(services)
    with setup.serving():
        setup.bucket.revoke_after = requests
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert 401 in setup.statuses
    assert setup.credentials.renewals == 1


def test_an_object_that_is_gone_is_not_waited_for(services, database):
    setup = Setup(services)
    services.storage._client.bucket(setup.version.bucket).blob(setup.version.name).delete()
    with setup.serving():
        assert setup.stage() == "gone"
    assert setup.bucket.requests == []


@dataclass
class Objects:
    """The footers of many objects with the same rows, for a test that needs nothing else."""

    parquet: Parquet
    credentials: Credentials

    def footer(self, number: int = 0) -> Footer:
        return self.parquet.footer(ObjectVersion("bucket", f"part-{number}.parquet", 1))


@contextmanager
def objects(bucket: Bucket) -> Iterator[Objects]:
    token = FunctionToken()
    token._credentials = Credentials(bucket, FIRST, timedelta(hours=1))
    with serving(bucket) as url:
        yield Objects(Parquet(url, token, Storage("nobodys")), token._credentials)


SMALL = parquet_bytes(pa.table({"n": range(100)}))


def test_threads_that_read_at_once_share_each_token_without_conflict():
    with objects(Bucket(SMALL, revoke_after=40)) as found, ThreadPoolExecutor(8) as executor:
        footers = list(executor.map(found.footer, range(150)))
    assert {footer.rows for footer in footers} == {100}
    assert found.credentials.renewals >= 1


@pytest.mark.parametrize(
    ("status", "failure"),
    [(404, DataError), (408, RetryableError), (429, RetryableError), (502, RetryableError), (503, RetryableError)],
)
def test_an_answer_that_no_token_mends_renews_none(status, failure):
    bucket = Bucket(SMALL, status=status)
    with objects(bucket) as found:
        found.parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        with pytest.raises(failure) as e:
            found.footer()
    assert type(e.value) is failure
    assert {request.status for request in bucket.requests} == {status}
    assert found.credentials.renewals == (status == 502)  # DuckDB does not tell it from a refusal


@pytest.mark.parametrize("status", [401, 403])
def test_an_object_that_a_new_token_may_not_read_either_is_a_wrong_deployment(status):
    with objects(Bucket(SMALL, status=status)) as found:
        found.parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        with pytest.raises(ConfigurationError, match=rf"\(HTTP {status}\)\. Grant the function's account"):
            found.footer()
    assert found.credentials.renewals == 1


@pytest.mark.parametrize(
    ("status", "failure"), [(401, RetryableError), (403, ConfigurationError), (404, DataError), (429, RetryableError)]
)
def test_a_stream_that_is_refused_means_what_its_status_says(services, status, failure):
    setup = Setup(services)
    with setup.serving():
        parquet = setup.services.parquet
        parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        stream = parquet.stream(setup.version, parquet.batches(setup.version, ["user_id"], 2048))
        next(stream)
        setup.bucket.status = status
        with pytest.raises(failure) as e:
            list(stream)
    assert type(e.value) is failure


def test_a_connection_that_breaks_in_mid_body_is_no_fault_of_the_part(services, database):
    setup = Setup(services)
    with setup.serving():
        parquet = setup.services.parquet
        parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        stream = parquet.stream(setup.version, parquet.batches(setup.version, ["user_id"], 2048))
        next(stream)
        setup.bucket.breaks_after = 1000
        with pytest.raises(RetryableError):
            list(stream)
        with pytest.raises(RetryableError):
            setup.stage()
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
