"""A body of any size is answered, and read into memory only if it is small."""

import io
import json

import functions_framework
import pytest

from shared.catalog import ROOT
from shared.entry import MAX_BODY_BYTES

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
