"""Cloud Storage with the rules that fake-gcs-server leaves out, and with faults: both are for a proxy before it.

    with standing_before(cloud.storage.url) as proxy, proxy.fault(Rules()), proxy.fault(Faults()) as faults:
        faults.next("PUT", "upload_id=", Break.LOST)

Whatever reaches the server by another way is not seen here.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from http import HTTPStatus
from itertools import count
from urllib.parse import parse_qsl, urlencode, urlsplit

from local.proxy import Answer, Forward, Request, ResetError

#: Seconds that a slow answer takes.
SLOWLY = 1.5
#: Where a body is cut, if it is not shorter: an upload's chunks are multiples of it.
CUT_AT = 256 << 10

_OBJECT = re.compile(r"/storage/v1/b/[^/]+/o/[^/]+")
_COPY = re.compile(r"/storage/v1/b/[^/]+/o/[^/]+/(?:copyTo|rewriteTo)(/b/[^/]+/o/[^/]+)")
_SENT = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_NAME = re.compile(rb'"name": ?"([^"]+)"')
_GENERATION = "ifGenerationMatch"


class Break(Enum):
    """What becomes of a request that gets no answer, or no whole one."""

    RESET = auto()  #: the connection is reset, and nothing has been done
    LOST = auto()  #: what was asked for is done, and the connection is reset
    CUT = auto()  #: the connection breaks within the body, of the request if it has one, or of the answer
    DAMAGED = auto()  #: a bit of the answer's body has fallen over
    SLOW = auto()  #: the answer comes so late that others have long gone on
    SHORT = auto()  #: the first half is kept of what is sent of an upload, and the answer says so


type Fault = HTTPStatus | Break

#: The code beside a status (https://cloud.google.com/storage/docs/json_api/v1/status-codes).
_REASONS = {
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.PRECONDITION_FAILED: "conditionNotMet",
    HTTPStatus.TOO_MANY_REQUESTS: "rateLimitExceeded",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internalError",
    HTTPStatus.SERVICE_UNAVAILABLE: "backendError",
}


@dataclass
class _Next:
    method: str
    where: re.Pattern[str]
    fault: Fault
    times: float
    met: bool = False


class Faults:
    """The faults of the next requests, each for the first that it is meant for."""

    def __init__(self) -> None:
        self._next: list[_Next] = []
        self._lock = threading.Lock()
        self.met = 0

    def next(self, method: str, where: str, fault: Fault, times: float = 1) -> None:
        """Let the next requests with this method meet a fault, if the pattern is found in their path and query, or in
        the range that follows them after a space, or in the name of an object whose upload it begins.
        """
        with self._lock:
            self._next.append(_Next(method, re.compile(where), fault, times))

    def clear(self) -> int:
        """Forget the faults; how many requests have met one."""
        with self._lock:
            met, self.met = self.met, 0
            self._next.clear()
        return met

    def unmet(self) -> list[str]:
        """The requests of which none has met its fault yet."""
        with self._lock:
            return [f"{each.method} {each.where.pattern}" for each in self._next if not each.met]

    def __call__(self, request: Request, forward: Forward) -> Answer:
        fault = self._take(request)
        match fault:
            case None:
                return forward(request)
            case HTTPStatus():
                return refusal(fault)
            case Break.RESET:
                raise ResetError
            case Break.CUT if request.body:
                cut = replace(request, body=request.body[: _half(request.body)])
                if "upload_id=" in request.path:  # an upload keeps what has come of it
                    forward(cut)
                raise ResetError
            case Break.SHORT:
                sent = request.headers["content-range"].partition("/")[0]
                kept = {**request.headers, "content-range": f"{sent}/*"}
                return forward(replace(request, body=request.body[: _half(request.body)], headers=kept))
        answer = forward(request)
        match fault:
            case Break.CUT:
                return replace(answer, cut=_half(answer.body))
            case Break.SLOW:
                time.sleep(SLOWLY)
                return answer
            case Break.DAMAGED:
                return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:])
        raise ResetError

    def _take(self, request: Request) -> Fault | None:
        range_ = request.headers.get("content-range") or request.headers.get("range", "")
        name = uploaded(request)
        asked = f"{request.path} {range_}" + (f" {name}" if name else "")
        with self._lock:
            for each in self._next:
                if each.method == request.method and each.where.search(asked):
                    self.met, each.met = self.met + 1, True
                    each.times -= 1
                    if each.times <= 0:
                        self._next.remove(each)
                    return each.fault
        return None


def refusal(status: HTTPStatus) -> Answer:
    """As Cloud Storage words it."""
    said = {"message": status.phrase} | ({"reason": _REASONS[status]} if status in _REASONS else {})
    error = {"code": status.value, "message": status.phrase, "errors": [said]}
    return Answer(status, json.dumps({"error": error}).encode())


def uploaded(request: Request) -> str:
    """The name of the object that the request begins to upload."""
    found = _NAME.search(request.body[:4096]) if request.method == "POST" and "/upload/" in request.path else None
    return found[1].decode() if found else ""


def _half(body: bytes) -> int:
    return min(CUT_AT, len(body) // 2)


@dataclass
class _Upload:
    """An upload that goes on: the request that began it, and what has come."""

    begun: Request
    content: bytearray = field(default_factory=bytearray)
    answer: Answer | None = None


class Rules:
    """Preconditions of deletions and copies, and uploads that can be resumed
    (https://cloud.google.com/storage/docs/performing-resumable-uploads).

    The precondition of such an upload is looked at when it ends, with the object that it makes.
    """

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        url = urlsplit(request.path)
        query = dict(parse_qsl(url.query))
        if url.path.startswith("/upload/"):
            if "upload_id" in query:
                return self._go_on(request, query["upload_id"], forward)
            if query.get("uploadType") == "resumable":
                return self._begin(request, forward)
        changed = f"/storage/v1{copy[1]}" if (copy := _COPY.fullmatch(url.path)) else url.path
        if copy or (request.method == "DELETE" and _OBJECT.fullmatch(url.path)):
            with self._lock:
                return self._refusal(changed, query, forward) or forward(request)
        return forward(request)

    @staticmethod
    def _refusal(path: str, query: Mapping[str, str], forward: Forward) -> Answer | None:
        """What is said to whoever would change another generation of an object than the live one."""
        found = forward(Request("GET", path, {}, b""))
        live = json.loads(found.body)["generation"] if found.status == HTTPStatus.OK else "0"
        if query.get("generation", live) != live:
            return refusal(HTTPStatus.NOT_FOUND)
        if query.get(_GENERATION, live) != live:
            return refusal(HTTPStatus.PRECONDITION_FAILED)
        return None

    def _begin(self, request: Request, forward: Forward) -> Answer:
        path = urlsplit(request.path).path
        bucket = forward(Request("GET", path.removeprefix("/upload").removesuffix("/o"), {}, b""))
        if bucket.status != HTTPStatus.OK:
            return bucket
        with self._lock:
            number = str(next(self._numbers))
            self._uploads[number] = _Upload(request)
        said = {"uploadType": "resumable", "name": json.loads(request.body)["name"], "upload_id": number}
        return Answer(HTTPStatus.OK, headers={"Location": f"http://{request.headers['host']}{path}?{urlencode(said)}"})

    def _go_on(self, request: Request, number: str, forward: Forward) -> Answer:
        with self._lock:
            upload = self._uploads.get(number)
            if upload is None:
                return refusal(HTTPStatus.GONE)
            if request.method == "DELETE":
                del self._uploads[number]
                return Answer(499)
            if upload.answer is None:
                self._take(upload, request, forward)
            return upload.answer or _come(upload)

    @staticmethod
    def _take(upload: _Upload, request: Request, forward: Forward) -> None:
        """Keep what is new of a piece, and make the object once all has come."""
        sent = _SENT.fullmatch(request.headers["content-range"])
        start, total = (int(sent[1] or 0), sent[2]) if sent else (0, "*")
        if start <= len(upload.content):
            upload.content += request.body[len(upload.content) - start :]
        if total == str(len(upload.content)):
            upload.answer = forward(_whole(upload))


def _come(upload: _Upload) -> Answer:
    """How far an upload has come."""
    kept = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
    return Answer(HTTPStatus.PERMANENT_REDIRECT, headers=kept)


def _whole(upload: _Upload) -> Request:
    """The request that uploads all at once."""
    url = urlsplit(upload.begun.path)
    query = urlencode({**dict(parse_qsl(url.query)), "uploadType": "multipart"})
    kind = upload.begun.headers.get("x-upload-content-type", "application/octet-stream")
    mark = b"--recosync"
    body = b"\r\n".join(
        (mark, b"Content-Type: application/json", b"", upload.begun.body, mark, b"Content-Type: " + kind.encode(), b"",
         bytes(upload.content), mark + b"--", b"")
    )  # fmt: skip
    headers = {"content-type": "multipart/related; boundary=recosync"}
    return Request("POST", f"{url.path}?{query}", headers, body)
