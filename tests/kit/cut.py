"""A place between a client and PostgreSQL that cuts one of its connections at a message of the client.

A message is what the frontend/backend protocol calls one (https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum

import psycopg

from shared.services import HourlyServices, Services
from shared.settings import DatabaseUrl

#: The codes of the first messages after which the client begins anew: SSLRequest and GSSENCRequest.
_ASKS_FOR_ENCRYPTION = {80877103, 80877104}


class Where(StrEnum):
    """What the server gets of the message at which the connection is cut."""

    BEFORE = "nothing of it"
    IN = "half of it"
    AFTER = "all of it"

    def of(self, message: bytes) -> bytes:
        return message[: {Where.BEFORE: 0, Where.IN: len(message) // 2}.get(self)]


@dataclass
class Cutter:
    """Counts the messages of all clients from 0, the first `spared` connections left out. No answer to message `at`
    comes through, and its connection is cut there, once what was `met` is done.
    """

    port: int
    where: Where
    at: int | None = None
    spared: int = 0
    messages: int = 0
    met: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self._connections = 0
        self._lock = threading.Lock()

    def serve(self, client: socket.socket) -> None:
        with ExitStack() as stack:
            stack.enter_context(client)
            server = stack.enter_context(without_delay(socket.create_connection(("127.0.0.1", self.port))))
            stack.callback(shut, client)
            stack.callback(shut, server)
            with self._lock:
                counted = self._connections >= self.spared
                self._connections += 1
            threading.Thread(target=hand_on, args=(server, client), daemon=True).start()
            for message in messages(client):
                with self._lock:
                    cut = counted and self.messages == self.at
                    self.messages += counted
                if cut:
                    self.met()
                    shut(client)
                    server.sendall(self.where.of(message))
                    return
                server.sendall(message)


@contextmanager
def standing_before(port: int, where: Where, at: int | None = None, spared: int = 0) -> Iterator[tuple[Cutter, int]]:
    """A cutter before the server at `port`, and the port where it listens."""
    cutter = Cutter(port, where, at, spared)
    with listening(cutter.serve) as through:
        yield cutter, through


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port, each of whose clients is served by a thread of its own."""

    def quietly(client: socket.socket) -> None:
        with suppress(OSError):  # one of the two is gone
            without_delay(client)
            serve(client)

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=quietly, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        shut(listener)


@contextmanager
def cut_off[S: (Services, HourlyServices)](
    services: S, where: Where, at: int | None = None, spared: int = 0
) -> Iterator[tuple[Cutter, S]]:
    """What cuts the way of these services to their database, and the services with that way."""
    dsn = services.settings.database.read()
    port = str(psycopg.conninfo.conninfo_to_dict(dsn)["port"])
    with standing_before(int(port), where, at, spared) as (cutter, through):
        url = DatabaseUrl(dsn.replace(f":{port}/", f":{through}/"))
        yield cutter, replace(services, settings=replace(services.settings, database=url))


def messages(client: socket.socket) -> Iterator[bytes]:
    """The client's messages, whole. Those that begin a connection have no type before their length."""
    beginning = True
    while length := _read(client, 4 if beginning else 5):
        body = _read(client, int.from_bytes(length[-4:]) - 4)
        beginning = beginning and int.from_bytes(body[:4]) in _ASKS_FOR_ENCRYPTION
        yield length + body


def _read(client: socket.socket, count: int) -> bytes:
    """So many bytes; none when the connection has ended."""
    content = b""
    while len(content) < count:
        more = client.recv(count - len(content))
        if not more:
            return b""
        content += more
    return content


def hand_on(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while content := server.recv(1 << 16):
            client.sendall(content)
    shut(client)


def without_delay(end: socket.socket) -> socket.socket:
    """Have the socket send each message when it comes, though the one before is not confirmed yet: that takes 40 ms."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
