"""A server of one object that tells what it was asked, for what DuckDB does of itself on its way to Cloud Storage."""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa

from shared.gcp.footer import Footer
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import FunctionToken
from shared.names import ObjectVersion
from tests.kit.uploads import parquet_bytes

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
    """A server of one object to those who have the token that is valid, if one is. `revoke_after` so many answers,
    another is.

    A `status` is all that it answers, so many `times`; the connection breaks after `breaks_after` bytes of a body.
    """

    content: bytes
    valid: str | None = FIRST
    revoke_after: int | None = None
    status: int | None = None
    times: float = math.inf
    breaks_after: int | None = None
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> bytes:
        """The body; sets the request's status."""
        self.requests.append(request)
        if self.revoke_after is not None and len(self.requests) > self.revoke_after:
            self.valid, self.revoke_after = "token-2", None
        if self.valid and request.authorization != f"Bearer {self.valid}":
            request.status = 401
            return b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.range or "")
        if self.status is not None and self.times > 0:
            self.times -= 1
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
