"""Requests, events and their answers."""

import json
import math
from datetime import UTC, datetime

import flask
import pytest
from cloudevents.http import CloudEvent
from hypothesis import given
from werkzeug.exceptions import HTTPException

from shared import entry, services
from shared.errors import BadRequestError, BusyError, ConfigurationError, DataError, PermanentError, RetryableError
from shared.names import ObjectVersion, is_identifier
from tests.kit.answer_schemas import checked
from tests.kit.mutations import answered, bytes_of, mutated
from tests.unit.test_settings import GOOD

FIELDS = {"tables": list, "date": str, "force": bool}
ENVIRONMENT = GOOD | {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}
HEADERS = {"Function-Execution-Id": "abc", "X-Cloud-Trace-Context": "105445aa7843bc8bf206b12000100000/1;o=1"}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """A request's context, in a configured deployment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    _forget()
    with flask.Flask("function").test_request_context(method="POST", headers=HEADERS | {"ce-id": "event-1"}):
        yield
    _forget()


def _forget() -> None:
    for make in (services.daily, services.hourly):
        make.cache_clear()


def request(body: bytes = b"", headers: dict[str, str] | None = None) -> flask.Request:
    with flask.Flask("function").test_request_context(data=body, headers=headers) as context:
        return context.request


def fail(error: Exception):
    def handle(services):
        raise error

    return handle


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {}),
        (b"{}", {}),
        (b'{"tables": ["a"], "force": true}', {"tables": ["a"], "force": True}),
        (b'{"date": "20260101"}', {"date": "20260101"}),
    ],
)
def test_a_body_is_an_object_of_the_known_fields(body, expected):
    assert entry.json_body(request(body), FIELDS) == expected


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body should be a JSON object"),
        (b"null", "the body should be a JSON object"),
        (b'{"table": "a"}', "unknown field 'table'; known are tables, date, force"),
        (b'{"tables": "a"}', "tables should be a list"),
        (b'{"date": 20260101}', "date should be text"),
        (b'{"force": 1}', "force should be true or false"),
        (b'{"force": null}', "force should be true or false"),
    ],
)
def test_any_other_body_is_a_bad_request(body, what):
    with pytest.raises(BadRequestError, match=what):
        entry.json_body(request(body), FIELDS)


@pytest.mark.parametrize("text", ["2026-01-01T02:00:00Z", "2026-01-01T04:00:00+02:00", "2026-01-01T02:00:00"])
def test_schedulers_header_is_the_planned_instant(text):
    at = entry.scheduled_at(request(headers={"X-CloudScheduler-ScheduleTime": text}))
    assert at == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_other_callers_have_no_planned_instant():
    assert entry.scheduled_at(request()) is None


@pytest.mark.parametrize("text", ["tomorrow", "0001-01-01T00:00:00+14:00"])
def test_a_malformed_planned_instant_is_a_bad_request(text):
    with pytest.raises(BadRequestError, match="RFC 3339"):
        entry.scheduled_at(request(headers={"X-CloudScheduler-ScheduleTime": text}))


def event(data: object) -> CloudEvent:
    return CloudEvent({"type": "t", "source": "s", "id": "event-1"}, data)


def test_a_finalized_object_is_read_with_its_generation_and_size():
    data = {"bucket": "b", "name": "o", "generation": "1700000000000001", "size": "5"}
    assert entry.finalized_object(event(data)) == (ObjectVersion("b", "o", 1700000000000001), 5)


OBJECT = {"bucket": "b", "name": "o", "generation": "7", "size": "5"}
COMPLETION = {"message": {"attributes": {"table": "users", "publication": "7"}, "data": ""}, "subscription": "s"}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "the document should be an object, and is null"),
        ([], "the document should be an object, and is a list"),
        ("x", "the document should be an object, and is text"),
        ({}, "the document lacks bucket"),
        ({"bucket": "b", "name": "o"}, "the document lacks generation"),
        (OBJECT | {"generation": "x"}, "generation is not spelt as it should be"),
        (OBJECT | {"generation": 0}, "generation should be a whole number >= 1"),
        (OBJECT | {"generation": 2**63}, "generation should be a whole number <= 9223372036854775807"),
        (OBJECT | {"generation": math.inf}, "generation should be a whole number or text, and is a number"),
        (OBJECT | {"name": 5}, "name should be text, and is a whole number"),
        (OBJECT | {"name": "part-\ud800"}, "name is not spelt as it should be"),
        (OBJECT | {"bucket": ["b"]}, "bucket should be text, and is a list"),
        (OBJECT | {"size": "-5"}, "size is not spelt as it should be"),
    ],
)
def test_an_event_without_an_object_fails_for_good(data, what):
    with pytest.raises(PermanentError, match=f"event event-1: holds no storage object: {what}"):
        entry.finalized_object(event(data))


@given(mutated(OBJECT))
def test_whatever_an_event_holds_it_names_an_object_or_has_an_answer(data):
    with answered(PermanentError, where="event event-1: holds no storage object"):
        version, size = entry.finalized_object(event(data))
        assert 0 < version.generation < 2**63
        assert 0 <= size < 2**63
        assert str(version).encode()


def test_a_completion_message_names_table_and_publication():
    data = {"message": {"attributes": {"table": "users", "publication": "7", "snapshot_id": "x"}}}
    assert entry.completion(event(data)) == ("users", 7)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "the document should be an object"),
        ({}, "the document lacks message"),
        ({"message": None}, "message should be an object, and is null"),
        ({"message": {}}, "message lacks attributes"),
        ({"message": {"attributes": {"table": "users"}}}, "message.attributes lacks publication"),
        ({"message": {"attributes": {"table": 5, "publication": "7"}}}, "message.attributes.table should be text"),
        (
            {"message": {"attributes": {"table": "a b", "publication": "7"}}},
            "message.attributes.table is the name of no",
        ),
        ({"message": {"attributes": {"table": "a", "publication": "9" * 30}}}, "message.attributes.publication is not"),
        ({"message": {"attributes": {"table": "a", "publication": math.inf}}}, "message.attributes.publication should"),
    ],
)
def test_a_message_without_table_and_publication_fails_for_good(data, what):
    with pytest.raises(PermanentError, match=f"event event-1: lacks the attributes table and publication: {what}"):
        entry.completion(event(data))


@given(mutated(COMPLETION))
def test_whatever_a_message_holds_it_names_a_publication_or_has_an_answer(data):
    with answered(PermanentError, where="event event-1: lacks the attributes"):
        table, publication = entry.completion(event(data))
        assert is_identifier(table)
        assert 0 < publication < 2**63


@given(bytes_of({"tables": ["a", "b"], "date": "20260101", "force": True}))
def test_whatever_a_body_holds_it_is_one_of_the_fields_or_has_an_answer(content):
    with answered(BadRequestError):
        body = entry.json_body(request(content), FIELDS)
        assert {type(body[name]) for name in body} <= {list, str, bool}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BusyError("x"), 503),
        (RetryableError("x"), 503),
        (ConfigurationError("x"), 503),
        (DataError("x"), 204),
        (ZeroDivisionError("a bug"), 500),
    ],
)
@pytest.mark.usefixtures("call")
def test_an_event_is_kept_only_while_it_can_succeed(error, status):
    with pytest.raises(HTTPException) as e:
        entry.answer_event(fail(error))
    assert e.value.get_response().status_code == status


@pytest.mark.usefixtures("call")
def test_an_event_that_is_done_is_acknowledged():
    with pytest.raises(HTTPException) as e:
        entry.answer_event(lambda services: "staged")
    assert e.value.get_response().status_code == 204


@pytest.mark.usefixtures("call")
def test_a_bug_tells_nobody_what_it_stumbled_over(capsys):
    with pytest.raises(HTTPException) as e:
        entry.answer_event(fail(ValueError("invalid literal: 'row content'")))
    answer = e.value.get_response().data.decode()
    body = entry.answer_request(services.daily, fail(ValueError("invalid literal: 'row content'"))).data.decode()
    checked("bq_export", json.loads(body))
    assert "row content" not in answer + body + capsys.readouterr().out


@pytest.mark.usefixtures("call")
def test_an_event_outlives_a_wrong_deployment(monkeypatch):
    monkeypatch.delenv("EXPORT_BUCKET")
    with pytest.raises(HTTPException) as e:
        entry.answer_event(lambda services: "staged")
    assert e.value.get_response().status_code == 503
    assert b"EXPORT_BUCKET is not set" in e.value.get_response().data


@pytest.mark.parametrize(
    ("error", "status"), [(BadRequestError("no such table"), 400), (ConfigurationError("no such table"), 500)]
)
@pytest.mark.usefixtures("call")
def test_a_calls_failure_is_in_its_answer(error, status):
    answer = entry.answer_request(services.daily, fail(error))
    assert (answer.status_code, answer.json) == (status, {"error": "no such table"})


FAILED = {"error": "no such table", "retryable": False}


@pytest.mark.parametrize(
    ("handle", "status"),
    [
        (fail(PermanentError("no such table")), 422),
        (lambda services: ({"tables": ["a"], "failed": [FAILED]}, 200), 422),
        (lambda services: ({"tables": ["a"], "failed": [FAILED, {**FAILED, "retryable": True}]}, 500), 500),
        (lambda services: ({"tables": ["a"], "failed": []}, 200), 200),
        (fail(RetryableError("not now")), 500),
        (fail(BadRequestError("no such table")), 400),
    ],
)
def test_a_strict_call_is_answered_as_any_other_but_with_a_status_of_its_own_where_it_failed_for_good(
    monkeypatch, handle, status
):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    answers = []
    for query in ("/?strict=true", "/"):
        _forget()
        with flask.Flask("function").test_request_context(query, method="POST"):
            answers.append(entry.answer_request(services.daily, handle))
    strict, other = answers
    assert (strict.status_code, other.status_code) == (status, 200 if status == 422 else status)
    assert strict.json == other.json


@pytest.mark.parametrize("text", ["", "false", "True", "1"])
@pytest.mark.usefixtures("call")
def test_another_word_than_true_for_strict_is_a_bad_request_before_anything_is_done(text):
    with flask.Flask("function").test_request_context(f"/?strict={text}", method="POST"):
        answer = entry.answer_request(services.daily, fail(AssertionError("was called")))
    assert (answer.status_code, answer.json) == (400, {"error": "strict should be true, or not be in the query"})


@pytest.mark.usefixtures("call")
def test_a_calls_outcome_is_its_answer():
    answer = entry.answer_request(services.daily, lambda services: ({"tables": []}, 200))
    assert (answer.status_code, answer.json, answer.mimetype) == (200, {"tables": []}, "application/json")


@pytest.mark.usefixtures("call")
def test_a_log_line_belongs_to_its_request_in_cloud_logging(lines):
    with pytest.raises(HTTPException):
        entry.answer_event(lambda services: "staged")
    (line,) = lines()
    assert line["severity"] == "INFO"
    assert line["logging.googleapis.com/labels"] == {"execution_id": "abc"}
    assert line["logging.googleapis.com/trace"] == "projects/my-project/traces/105445aa7843bc8bf206b12000100000"
    assert line["event_id"] == "event-1"


SNAPSHOTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "data",
    [
        {"bucket": "b", "metadata": {"traceparent": SNAPSHOTS, "settled": "true"}},
        {"message": {"attributes": {"ce-traceparent": SNAPSHOTS, "table": "t"}, "data": ""}, "subscription": "s"},
    ],
    ids=["an object", "a message"],
)
def test_an_event_belongs_to_the_trace_of_what_it_is_about(call, lines, data):
    with (
        flask.Flask("function").test_request_context(method="POST", headers=HEADERS, json=data),
        pytest.raises(HTTPException),
    ):
        entry.answer_event(lambda services: "staged")
    (line,) = lines()
    assert line["logging.googleapis.com/trace"] == "projects/my-project/traces/0af7651916cd43dd8448eb211c80319c"
    assert line["call_trace"] == "105445aa7843bc8bf206b12000100000"


@pytest.mark.parametrize(
    "data",
    [
        *([], None, {"metadata": []}, {"metadata": {"traceparent": 1}}, {"metadata": {"traceparent": "secret"}}),
        *({"message": {"attributes": {"ce-traceparent": "secret"}}}, {"message": "m"}),
    ],
    ids=str,
)
def test_an_event_that_tells_no_trace_belongs_to_that_of_its_request(call, lines, data):
    with (
        flask.Flask("function").test_request_context(method="POST", headers=HEADERS, json=data),
        pytest.raises(HTTPException),
    ):
        entry.answer_event(lambda services: "staged")
    (line,) = lines()
    assert line["logging.googleapis.com/trace"] == "projects/my-project/traces/105445aa7843bc8bf206b12000100000"
    assert "secret" not in str(line)


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (RetryableError("x"), "WARNING"),
        (ConfigurationError("x"), "ERROR"),
        (DataError("x"), "ERROR"),
        (ValueError("a row's value"), "ERROR"),
    ],
)
def test_a_step_after_a_call_is_logged_by_its_kind_and_changes_no_answer(lines, error, severity):
    assert entry.afterwards("housekeeping", lambda: fail(error)(None)) is None
    line, not_kept = lines()
    assert (line["severity"], line["error"]) == (severity, type(error).__name__)
    assert "a row's value" not in str(line)
    assert (not_kept["severity"], "what failed is not in the ledger: " in not_kept["message"]) == ("WARNING", True)


def test_the_outcome_of_a_step_after_a_call_is_what_it_gives():
    assert entry.afterwards("housekeeping", lambda: {"parts": 0}) == {"parts": 0}
