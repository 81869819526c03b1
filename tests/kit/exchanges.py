"""Places between the product and what it asks: sessions of PostgreSQL and the answers that are waited for are counted
there, and requests to Google.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from psycopg import conninfo

from local.proxy import Answer, Forward, Request, standing_before
from tests.kit.cut import without_delay

#: Messages of a client after which it waits for an answer: a query, the end of a pipeline, the end of a COPY
#: (https://www.postgresql.org/docs/current/protocol-message-formats.html). And one that has a statement's text.
_QUERY, _SYNC, _PARSE = b"Q", b"S", b"P"


@dataclass
class Exchanges:
    """What clients have asked a server: `waits` has, for each answer that was waited for, the statements behind it."""

    port: int = 0
    sessions: int = 0
    number: int = 0
    waits: list[list[str]] = field(default_factory=list)
    #: The sessions of before hear no answer any more, as if the way to them were gone and nobody had told.
    silenced: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        self.sessions, self.waits = 0, []

    def silence(self) -> None:
        self.silenced = self.number

    def follow(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what a client sends, and note it."""
        with self._lock:
            self.sessions += 1
            self.number += 1
            number = self.number
        kept, asked, begun = b"", list[str](), False
        with suppress(OSError):
            while piece := client.recv(1 << 16):
                if number <= self.silenced:
                    continue
                server.sendall(piece)
                kept += piece
                while len(kept) >= 5:
                    length = int.from_bytes(kept[1:5] if begun else kept[:4]) + begun
                    if len(kept) < length:
                        break
                    message, kept = kept[:length], kept[length:]
                    if not begun:  # a request for TLS is a message without a type too
                        begun = length > 8
                        continue
                    if message[:1] == _PARSE:
                        asked.append(message[5:].split(b"\0")[1].decode())
                    elif message[:1] == _QUERY:
                        asked.append(message[5:-1].decode())
                    if message[:1] in (_QUERY, _SYNC):
                        with self._lock:
                            self.waits.append(asked)
                        asked = []


@dataclass(frozen=True)
class Asked:
    """What was asked by the places that stand before a database and emulators; `places` is where, by their URLs."""

    exchanges: Exchanges
    places: dict[str, str] = field(default_factory=dict)
    _requests: list[str] = field(default_factory=list)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """An environment whose URLs are those of the places."""
        return {name: self.places.get(value, value) for name, value in env.items()}

    def taken(self) -> dict[str, int]:
        """How much since the last look."""
        found = {
            "requests": len(self._requests),
            "sessions": self.exchanges.sessions,
            "answers": len(self.exchanges.waits),
        }
        self._requests.clear()
        self.exchanges.clear()
        return found

    def note(self, request: Request, forward: Forward) -> Answer:
        self._requests.append(str(request))
        return forward(request)


@contextmanager
def noted(dsn: str, *urls: str) -> Iterator[Asked]:
    """Counts what is asked of a database and of emulators by other ports of this machine."""
    to = conninfo.conninfo_to_dict(dsn)
    with ExitStack() as stack:
        asked = Asked(stack.enter_context(counted(str(to["host"]), int(str(to["port"])))))
        asked.places[dsn] = dsn.replace(f":{to['port']}/", f":{asked.exchanges.port}/")
        for url in urls:
            proxy = stack.enter_context(standing_before(url))
            stack.enter_context(proxy.fault(asked.note))
            asked.places[url] = proxy.url
        yield asked


@contextmanager
def counted(host: str, port: int) -> Iterator[Exchanges]:
    """Counts what comes by another port of this machine."""
    found, listening = Exchanges(), socket.create_server(("127.0.0.1", 0))
    found.port = listening.getsockname()[1]
    open_: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection((host, port))
                open_.extend(without_delay(end) for end in (client, server))
                threading.Thread(target=_both, args=(found, client, server), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield found
    finally:
        for end in (listening, *open_):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _both(found: Exchanges, client: socket.socket, server: socket.socket) -> None:
    answers = threading.Thread(target=_hand_on, args=(server, client), daemon=True)
    answers.start()
    found.follow(client, server)
    with suppress(OSError):
        server.shutdown(socket.SHUT_WR)
    answers.join()


def _hand_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
