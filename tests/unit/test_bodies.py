"""A body of any size is answered, and read into memory only if it is small."""

import io
import json

import functions_framework
import pytest
from gunicorn.http.errors import InvalidChunkSize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import services
from shared.catalog import ROOT
from shared.daily import arrival, refresh
from shared.entry import MAX_BODY_BYTES
from tests.kit.mutations import SECRET, bytes_of
from tests.unit.test_settings import GOOD

EVENT = {"ce-id": "1", "ce-source": "//test", "ce-type": "test", "ce-specversion": "1.0"}
JSON = {"Content-Type": "application/json"}
FUNCTIONS = {"bq_export": JSON, "hourly_export": JSON, "status": JSON, "gcs_import": EVENT, "mv_refresh": EVENT}


class Body(io.RawIOBase):
    """So many bytes, and how many of them were read."""

    def __init__(self, size: int) -> None:
        self._left, self.read_so_far = size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        size = min(len(buffer), self._left)
        buffer[:size] = b" " * size
        self._left -= size
        self.read_so_far += size
        return size


def post(function: str, body: Body, length: int | None):
    """Post a body to a function as the framework serves it; a body of no stated length comes in chunks."""
    app = functions_framework.create_app(function, str(ROOT / "functions" / function / "main.py"))
    stated = {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}
    environment = {"wsgi.input": body, "wsgi.input_terminated": True, **stated}
    return app.test_client().post("/", headers=FUNCTIONS[function], environ_overrides=environment)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("stated", [True, False])
def test_a_large_body_is_answered_and_not_read(capsys, function, stated):
    size = 100 * MAX_BODY_BYTES
    body = Body(size)
    answer = post(function, body, size if stated else None)
    assert body.read_so_far <= 2 * MAX_BODY_BYTES
    told = f"the body has {size if stated else 'too many'} bytes; at most {MAX_BODY_BYTES} are read"
    if FUNCTIONS[function] is JSON:
        assert (answer.status_code, json.loads(answer.data)) == (400, {"error": told})
    else:
        assert answer.status_code == 204
        line = json.loads(capsys.readouterr().out)
        assert (line["severity"], line["message"]) == ("ERROR", f"event failed for good: {told}")


def test_a_body_of_the_greatest_size_is_read():
    body = Body(MAX_BODY_BYTES)
    post("bq_export", body, MAX_BODY_BYTES)
    assert body.read_so_far == MAX_BODY_BYTES


class Malformed(io.RawIOBase):
    """A body whose chunks gunicorn can't make out."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        raise InvalidChunkSize(b"zz")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("body", "length"), [(Malformed(), None), (Body(2), 50)], ids=["chunks", "short"])
def test_a_body_that_cannot_be_read_is_a_bad_request(capsys, function, body, length):
    answer = post(function, body, length)
    told = {"error": "the body can't be read: it ends early, or its chunks are malformed"}
    assert (answer.status_code, json.loads(answer.data)) == (400, told)
    assert json.loads(capsys.readouterr().out)["severity"] == "WARNING"


@pytest.fixture
def send(monkeypatch):
    """Sends a request to a function that takes events, whose work is to do nothing."""
    for name, value in (GOOD | {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(arrival, "handle", lambda *_: "foreign")
    monkeypatch.setattr(refresh, "refresh", lambda *_: "fresh")
    services.daily.cache_clear()
    apps = {
        name: functions_framework.create_app(name, str(ROOT / "functions" / name / "main.py"))
        for name in ("gcs_import", "mv_refresh")
    }
    yield lambda function, body, headers: apps[function].test_client().post("/", headers=headers, data=body)
    services.daily.cache_clear()


WHOLE = {
    "gcs_import": {"bucket": "b", "name": "o", "generation": "7", "size": "5"},
    "mv_refresh": {"message": {"attributes": {"table": "users", "publication": "7"}}},
}


@pytest.mark.parametrize("function", WHOLE)
def test_an_event_that_is_whole_is_handled(send, capsys, function):
    assert send(function, json.dumps(WHOLE[function]), EVENT | JSON).status_code == 204
    assert json.loads(capsys.readouterr().out)["severity"] == "INFO"


@pytest.mark.parametrize("function", WHOLE)
@pytest.mark.parametrize(
    ("headers", "body", "told"),
    [
        (EVENT | {"ce-specversion": "9"}, b"{}", "event 1: ce-specversion should be 1.0"),
        (EVENT, b"{", "event 1: its body is not JSON"),
        (EVENT | JSON, b"\xff\xfe\xfd", "event 1: its body is not JSON"),
        (EVENT | JSON, b"[" * 100_000, "event 1: its body is not JSON"),
        (EVENT | JSON, b"[1]", "event 1: "),
        (EVENT | {"ce-id": "\xff" * 2_000}, b"", "event "),
    ],
)
def test_a_malformed_event_fails_for_good(send, capsys, function, headers, body, told):
    assert send(function, body, headers).status_code == 204
    line, *_ = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["severity"] == "ERROR"
    assert line["message"].startswith(f"event failed for good: {told}")


@pytest.mark.parametrize("function", WHOLE)
@pytest.mark.parametrize("headers", [{}, JSON, {"Content-Type": "application/cloudevents+json"}, {"ce-id": "1"}])
@pytest.mark.parametrize("body", [b"", b"\xff", b'{"specversion": 1}', b'{"data": 5, "context": {"eventType": []}}'])
def test_what_is_no_event_is_a_bad_request(send, capsys, function, headers, body):
    answer = send(function, body, headers)
    assert answer.status_code == 400
    assert answer.json["error"].startswith("is no event: it has no header ce-")
    assert json.loads(capsys.readouterr().out)["severity"] == "WARNING"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_comes_as_an_event_is_handled_or_has_an_answer(send, capsys, data):
    function = data.draw(st.sampled_from(list(WHOLE)))
    answer = send(function, data.draw(bytes_of(WHOLE[function])), EVENT | JSON)
    assert answer.status_code == 204
    # A second one says that there is no ledger here to keep it in.
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0])["severity"] in ("INFO", "ERROR")
    assert all(len(line.encode()) < 8_000 and SECRET not in line for line in lines)
