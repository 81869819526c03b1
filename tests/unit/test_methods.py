"""What looks starts nothing: a function acts on POST alone, and the status page can only be read."""

import functions_framework
import pytest

from shared.catalog import ROOT

METHODS = {
    "bq_export": ("POST",),
    "hourly_export": ("POST",),
    "status": ("GET", "HEAD"),
    "gcs_import": ("POST",),
    "mv_refresh": ("POST",),
}
OTHERS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize(
    ("function", "method"),
    [(name, method) for name, taken in METHODS.items() for method in OTHERS if method not in taken],
)
def test_a_method_that_a_function_does_not_take_is_refused(function, method):
    client = functions_framework.create_app(function, str(ROOT / "functions" / function / "main.py")).test_client()
    answer = client.open("/", method=method)
    assert answer.status_code == 405
    assert {taken.strip() for taken in answer.headers["Allow"].split(",")} == set(METHODS[function])


@pytest.mark.parametrize("function", ["bq_export", "hourly_export"])
def test_a_look_at_a_function_is_answered_with_how_to_ask(capsys, function):
    client = functions_framework.create_app(function, str(ROOT / "functions" / function / "main.py")).test_client()
    assert client.get("/").json == {"error": "GET does nothing here: ask with POST"}
    assert '"severity": "WARNING"' in capsys.readouterr().out
