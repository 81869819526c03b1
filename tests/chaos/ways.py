"""Ways to services that break: cut, at an instant or at a message that says something, or refused for a while."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus

from local.proxy import Answer, Forward, Request
from local.strict_storage import refusal, uploaded
from tests.kit.cut import Where, hand_on, listening, messages, shut, without_delay


@dataclass
class _Armed:
    pattern: re.Pattern[bytes]
    where: Where
    after: int


class Way:
    """Hands on what comes. `cut_at` breaks the next connection whose client sends a message like that; `cut` breaks all
    that are there; `refuse` takes none.
    """

    def __init__(self, host: str, port: int, *, spoken: bool) -> None:
        """`spoken`: PostgreSQL's protocol, of which messages are known."""
        self._server, self._spoken = (host, port), spoken
        self._armed: list[_Armed] = []
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.refuse = False

    def cut_at(self, pattern: bytes, where: Where, after: int = 0) -> None:
        """`after`: so many messages like that are spared."""
        with self._lock:
            self._armed.append(_Armed(re.compile(pattern), where, after))

    def unmet(self) -> list[str]:
        """The patterns that no message has met yet."""
        with self._lock:
            return [armed.pattern.pattern.decode() for armed in self._armed]

    def cut(self) -> None:
        with self._lock:
            for end in self._ends:
                shut(end)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()
            self.refuse = False

    def serve(self, client: socket.socket) -> None:
        with client, without_delay(socket.create_connection(self._server)) as server:
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
                if not armed.pattern.search(message):
                    continue
                if armed.after:
                    armed.after -= 1
                    continue
                self._armed.remove(armed)
                return armed.where
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


class Storm:
    """Others change manifests all the while: for some seconds, no write of one meets its precondition."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._met: set[float] = set()

    def last(self, seconds: float) -> None:
        self._ends.append(time.monotonic() + seconds)

    def unmet(self) -> list[str]:
        """A word for each storm that no write has met."""
        return ["storm" for end in self._ends if end not in self._met]

    def clear(self) -> None:
        self._ends.clear()
        self._met.clear()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        now = time.monotonic()
        met = [end for end in self._ends if now < end]
        if met and "manifest" in uploaded(request):
            self._met.update(met)
            return refusal(HTTPStatus.PRECONDITION_FAILED)
        return forward(request)


class FailingJobs:
    """The next jobs that move objects are started and fail, by a reason that a later one need not meet. The emulator
    fails for what is not there, so that is what such a job asks for, and its answers say another reason.
    """

    def __init__(self) -> None:
        #: Of each time that jobs were to fail, how many are to, and how many of these have not yet.
        self._acts: list[list[int]] = []
        self._failing: set[str] = set()
        self._lock = threading.Lock()

    def next(self, times: int) -> None:
        with self._lock:
            self._acts.append([times, times])

    def unmet(self) -> list[str]:
        """A word for each time of which no job has failed."""
        return ["job" for times, left in self._acts if left == times]

    def clear(self) -> None:
        with self._lock:
            self._acts.clear()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if request.method == "POST" and request.path.partition("?")[0].endswith("/jobs"):
            request = self._spoilt(request)
        answer = forward(request)
        if answer.status != HTTPStatus.OK or not any(job.encode() in answer.body for job in self._failing):
            return answer
        body = re.sub(rb'"reason": ?"[^"]*"', b'"reason": "backendError"', answer.body)
        return replace(answer, body=body)

    def _spoilt(self, request: Request) -> Request:
        asked = json.loads(request.body)
        configuration = asked["configuration"]
        with self._lock:
            act = next((act for act in self._acts if act[1]), None)
            if act is None or not configuration.keys() & {"load", "extract"}:
                return request
            act[1] -= 1
            self._failing.add(asked["jobReference"]["jobId"])
        if "load" in configuration:
            configuration["load"]["sourceUris"] = ["gs://of-nobody/part"]
        else:
            configuration["extract"]["destinationUris"] = ["gs://of-nobody/part-*"]
        return replace(request, body=json.dumps(asked).encode())
