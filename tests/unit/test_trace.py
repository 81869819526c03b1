"""Traces: which one a call brings along, and which lines belong to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import log, trace
from shared.errors import DataError

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{ID}-{SPAN}-01"
OTHER = f"00-{ID[::-1]}-{SPAN}-00"


def of(**headers):
    return trace.of_headers({name.replace("_", "-"): value for name, value in headers.items()}.get)


def test_w3cs_header_is_taken_as_it_is_and_before_googles():
    assert of(traceparent=PARENT) == PARENT
    assert of(traceparent=PARENT, X_Cloud_Trace_Context=f"{ID[::-1]}/1;o=1") == PARENT


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        (f"{ID}/{int(SPAN, 16)};o=1", PARENT),
        (f"{ID}/{int(SPAN, 16)}", f"00-{ID}-{SPAN}-00"),
        (f"{ID.upper()}/1;o=0", f"00-{ID}-0000000000000001-00"),
    ],
)
def test_googles_header_becomes_w3cs(text, parent):
    assert of(X_Cloud_Trace_Context=text) == parent
    assert of(X_Cloud_Trace_Context=text, traceparent="strange") == parent


@pytest.mark.parametrize("text", [ID, f"{ID}/0", f"{ID};o=1"])
def test_googles_header_without_a_span_gets_one(text):
    parent = of(X_Cloud_Trace_Context=text)
    assert parent.startswith(f"00-{ID}-")
    assert trace.parse(parent) == parent


@pytest.mark.parametrize(
    "text",
    [
        *("", "secret", PARENT[:-1], f"{PARENT}\n", PARENT.upper(), f"01{PARENT[2:]}", f"{PARENT}-00"),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01", PARENT.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}")),
    ],
)
def test_what_is_no_trace_is_left_out(text):
    assert trace.parse(text) is None
    assert of(traceparent=text, X_Cloud_Trace_Context=f"/{text}") is None


def test_lines_are_of_the_innermost_trace_and_name_that_of_their_call(lines):
    with trace.bound(PARENT, "p"), trace.bound(None, "p"), trace.bound(OTHER, "p"):
        assert trace.current() == OTHER
        log.info("of both")
    with trace.bound(PARENT, "p"), trace.bound(PARENT, "p"):
        log.info("of one")
    assert trace.current() is None
    found = [(line["logging.googleapis.com/trace"], line.get("call_trace")) for line in lines()]
    assert found == [(f"projects/p/traces/{ID[::-1]}", ID), (f"projects/p/traces/{ID}", None)]


def test_a_failure_is_logged_in_the_trace_in_which_it_came(lines):
    with pytest.raises(DataError) as e, trace.bound(PARENT, "p"):
        raise DataError("x")
    log.error("failed", e.value)
    assert lines()[0]["logging.googleapis.com/trace"] == f"projects/p/traces/{ID}"


def test_a_thread_works_in_the_trace_of_whoever_started_it():
    with ThreadPoolExecutor(1) as executor, trace.bound(PARENT, "p"):
        assert log.submit(executor, trace.current).result() == PARENT
