"""Ways to a server that are cut, at an instant or at a message that says something, and refused for a while."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.cut import Where, hand_on, listening, messages, shut


class Way:
    """Hands on what comes. `cut_at` breaks the next connection whose client sends a message like that; `cut` breaks all
    that are there; `refuse` takes none.
    """

    def __init__(self, host: str, port: int, *, spoken: bool) -> None:
        """`spoken`: PostgreSQL's protocol, of which messages are known."""
        self._server, self._spoken = (host, port), spoken
        self._armed: list[tuple[re.Pattern[bytes], Where]] = []
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.refuse = False

    def cut_at(self, pattern: bytes, where: Where) -> None:
        with self._lock:
            self._armed.append((re.compile(pattern), where))

    def cut(self) -> None:
        with self._lock:
            for end in self._ends:
                shut(end)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()
            self.refuse = False

    def serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            if self.refuse:
                return
            with self._lock:
                self._ends |= {client, server}
            try:
                threading.Thread(target=hand_on, args=(server, client), daemon=True).start()
                for message in messages(client) if self._spoken else _chunks(client):
                    where = self._met(message)
                    if where is not None:
                        shut(client)
                        server.sendall(where.of(message))
                        return
                    server.sendall(message)
            finally:
                shut(client)
                shut(server)
                with self._lock:
                    self._ends -= {client, server}

    def _met(self, message: bytes) -> Where | None:
        if not self._armed:
            return None
        with self._lock:
            for armed in self._armed:
                if armed[0].search(message):
                    self._armed.remove(armed)
                    return armed[1]
        return None


@contextmanager
def way(host: str, port: int, *, spoken: bool) -> Iterator[tuple[Way, int]]:
    """A way to the server, and the port where it begins."""
    made = Way(host, port, spoken=spoken)
    with listening(made.serve) as port_here:
        yield made, port_here


def _chunks(client: socket.socket) -> Iterator[bytes]:
    while content := client.recv(1 << 16):
        yield content
