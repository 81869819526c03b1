"""The trace that a piece of work belongs to: one search for it in Cloud Logging finds all lines of that work.

It is written as W3C's traceparent (https://www.w3.org/TR/trace-context/#traceparent-header). A call brings one along. A
snapshot keeps that of the call which exported it: its manifest, the ledger and the messages carry it on, unchanged, to
the calls that follow.
"""

from __future__ import annotations

import contextvars
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared import log

#: The name of the header, of the manifest's metadata, and of the attribute of a message
#: (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/distributed-tracing.md).
TRACEPARENT = "traceparent"

#: What Google's load balancers write, and callers that are older than W3C's header
#: (https://cloud.google.com/trace/docs/trace-context#legacy-http-header).
_GOOGLES = "X-Cloud-Trace-Context"

#: The field of a log line (https://cloud.google.com/logging/docs/structured-logging).
_FIELD = "logging.googleapis.com/trace"

_current: contextvars.ContextVar[str | None] = contextvars.ContextVar("traceparent", default=None)


def parse(text: str | None) -> str | None:
    """A traceparent, as somebody wrote it. What is none is left out: a trace is no reason to fail."""
    found = re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", text or "")
    return found[0] if found else None


def of_headers(get: Callable[[str], str | None]) -> str | None:
    """The traceparent that a call came with, in either header; `get` gives a header by its name."""
    return parse(get(TRACEPARENT)) or _of_googles(get(_GOOGLES) or "")


def _of_googles(text: str) -> str | None:
    found = re.fullmatch(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([01]))?", text, re.IGNORECASE)
    if found is None:
        return None
    span = int(found[2] or 0) % 2**64 or secrets.randbits(63) + 1
    return parse(f"00-{found[1].lower()}-{span:016x}-0{found[3] or 0}")


def current() -> str | None:
    """The traceparent of what is being worked on."""
    return _current.get()


@contextmanager
def bound(traceparent: str | None, project: str) -> Iterator[None]:
    """Have the lines inside the block, and what is sent there, belong to that trace. Without one, or with that of
    before, nothing changes; else the lines name the trace of before as `call_trace`.
    """
    before = _current.get()
    if traceparent is None or traceparent == before:
        yield
        return
    fields = {_FIELD: f"projects/{project}/traces/{_id(traceparent)}"}
    if before is not None and _id(before) != _id(traceparent):
        fields["call_trace"] = _id(before)
    token = _current.set(traceparent)
    try:
        with log.bound(**fields):
            yield
    finally:
        _current.reset(token)


def _id(traceparent: str) -> str:
    return traceparent.split("-")[1]
