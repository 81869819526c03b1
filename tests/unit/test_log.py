"""Log lines as Cloud Logging reads them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import log
from shared.errors import DataError, RetryableError


def test_a_line_has_its_severity_message_and_fields(lines):
    log.info("part staged", rows=3, seconds=0.25)
    assert lines() == [{"severity": "INFO", "message": "part staged", "logger": "recosync", "rows": 3, "seconds": 0.25}]


def test_configuring_twice_logs_once(lines):
    log.configure()
    log.info("once")
    assert len(lines()) == 1


@pytest.mark.parametrize(("write", "severity"), [(log.warning, "WARNING"), (log.error, "ERROR")])
def test_a_failure_says_what_it_is_names_its_kind_and_whether_it_mends_itself(lines, write, severity):
    write("failed", RetryableError("x"))
    write("failed", DataError("y", where="z"))
    found = [(line["severity"], line["message"], line["error"], line["retryable"]) for line in lines()]
    assert found == [
        (severity, "failed: x", "RetryableError", True),
        (severity, "failed: z: y", "DataError", False),
    ]


def test_text_is_printed_as_it_is_and_on_one_line(lines):
    log.info("théâtre\nœuvre 100% {x} %s", name='"\N{PILE OF POO}')
    (line,) = lines()
    assert (line["message"], line["name"]) == ("théâtre\nœuvre 100% {x} %s", '"\N{PILE OF POO}')


def test_what_is_worked_on_stands_in_every_line_beneath(lines):
    with log.bound(table="users", snapshot="s1"):
        with log.bound(part="p1"):
            log.info("inner")
        log.info("outer")
    log.info("outside")
    found = [[line.get(key) for key in ("table", "snapshot", "part")] for line in lines()]
    assert found == [["users", "s1", "p1"], ["users", "s1", None], [None, None, None]]


def test_a_failure_that_is_logged_further_up_says_what_was_worked_on(lines):
    with pytest.raises(DataError) as e, log.bound(table="users", snapshot="s1"), log.bound(part="p1"):
        raise DataError("x")
    log.error("failed", e.value)
    (line,) = lines()
    assert [line.get(key) for key in ("table", "snapshot", "part")] == ["users", "s1", "p1"]


def test_a_field_is_unbound_when_its_block_fails(lines):
    with pytest.raises(ZeroDivisionError), log.bound(table="users"):
        _ = 1 / 0
    log.info("after")
    assert "table" not in lines()[0]


def test_a_thread_keeps_the_fields_it_was_submitted_with(lines):
    with ThreadPoolExecutor(2) as executor:
        for table in ("users", "offers"):
            with log.bound(table=table):
                log.submit(executor, log.info, "in a thread", of=table).result()
    assert [(line["table"], line["of"]) for line in lines()] == [("users", "users"), ("offers", "offers")]


def test_a_field_of_a_thread_does_not_leak_into_the_next(lines):
    with ThreadPoolExecutor(1) as executor:
        with log.bound(table="users"):
            log.submit(executor, log.info, "first").result()
        log.submit(executor, log.info, "second").result()
    assert ["table" in line for line in lines()] == [True, False]


def test_an_exception_shows_its_frames_but_never_its_text(lines):
    def fail() -> None:
        try:
            raise ValueError("row: ('alice', 'postgresql://u:hunter2@h/db')")
        except ValueError as e:
            raise DataError("a value does not fit", where="users.user_id") from e

    with pytest.raises(DataError) as e:
        fail()
    log.error("event failed", e.value)
    (line,) = lines()
    assert line["message"] == "event failed: users.user_id: a value does not fit"
    assert line["exception"][0] == "ValueError"
    assert line["exception"][-1].endswith("in fail")
    assert "alice" not in json.dumps(line)
    assert "hunter2" not in json.dumps(line)


LONG = {
    "long": "x" * 10**6,
    "escaped": '"\\' * 10**4,
    "controls": "\u202e\0" * 10**4,
    "accents": "é" * 10**4,
    "half a pair": "\ud800" * 9_000,
}


@pytest.mark.parametrize("long", LONG.values(), ids=LONG)
def test_a_line_is_short_enough_to_be_read_whatever_others_wrote(lines, long):
    with log.bound(table="users", snapshot=long, **{"logging.googleapis.com/labels": {"execution_id": long}}):
        log.error(f"failed: {long}", DataError(long, where=long), part=long, reasons=[long] * 9)
    (line,) = lines()
    encoded = log.printable(json.dumps(line, ensure_ascii=False))
    assert len(encoded.encode()) <= log.MAX_LINE
    assert all(c.isprintable() for c in encoded)
    assert (line["severity"], line["table"], line["error"], line["retryable"]) == ("ERROR", "users", "DataError", False)
    assert str(line["message"]).startswith("failed: ")


def test_of_a_deep_recursion_the_innermost_frames_are_told(lines):
    def fall(depth: int) -> None:
        if depth == 0:
            raise RecursionError
        fall(depth - 1)

    with pytest.raises(RecursionError) as e:
        fall(300)
    log.error("crashed", e.value)
    (line,) = lines()
    assert len(line["exception"]) == log.MAX_FRAMES + 1
    assert line["exception"][0] == "RecursionError"
