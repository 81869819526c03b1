"""A place between a function and an emulator: requests are seen here, held, answered, and cut off."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    """What a client asks for, the names of the headers in small letters. What is changed here is asked for instead."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {unquote(self.path)}"


@dataclass
class Answer:
    """An answer. Of one that is `cut`, only so many bytes of the body are given before its connection is closed."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None


class CutOffError(Exception):
    """Raised by a fault: the client gets no answer, its connection is closed."""


class ResetError(CutOffError):
    """The same, as if the other machine had lost the connection."""


type Forward = Callable[[Request], Answer]

#: What becomes of a request: it is handed on by the call of `Forward`, or not.
type Fault = Callable[[Request, Forward], Answer]


class Proxy:
    """Hands on to the server at `upstream`, and answers as it does, unless there is a fault."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.url = ""

    @contextmanager
    def fault[F: Fault](self, fault: F) -> Iterator[F]:
        """Inside the block, every request goes through `fault`: those of inner blocks come first."""
        with self._lock:
            self._faults = [*self._faults, fault]
        try:
            yield fault
        finally:
            with self._lock:
                self._faults = [known for known in self._faults if known is not fault]

    def answer(self, request: Request) -> Answer:
        forward: Forward = self._forward
        for fault in self._faults:
            forward = _through(fault, forward)
        return forward(request)

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self._upstream).netloc)
        try:
            headers = {name: value for name, value in request.headers.items() if name not in _HOP}
            connection.request(request.method, request.path, request.body, headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        # An upload goes on where the answer to its start says, and an object is where its description says: here.
        given = {name: value.replace(self._upstream, self.url) for name, value in response.getheaders()}
        if response.headers.get_content_type() == "application/json":
            body = body.replace(self._upstream.encode(), self.url.encode())
        return Answer(response.status, body, given)


#: Seconds after which a proxy notices that it is to end.
_LOOK = 0.05

#: Headers that are about one connection.
_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}


def _through(fault: Fault, forward: Forward) -> Forward:
    return lambda request: fault(request, forward)


@contextmanager
def standing_before(upstream: str) -> Iterator[Proxy]:
    """A proxy on a loopback port of its own."""
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a body waits 40 ms for the acknowledgement of its header

        def handle_any(self) -> None:
            body = self._read()
            try:
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = proxy.answer(Request(self.command, self.path, headers, body))
                self._write(answer)
            except ResetError:
                self._reset()
            except (CutOffError, OSError):  # an OSError: whoever asked is gone
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def _read(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _write(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer.body))
            for name, value in answer.headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut])
            self.close_connection = self.close_connection or answer.cut is not None

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # else it is shut down first, which ends it in good order

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client was killed between two requests

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(_LOOK,), daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()
