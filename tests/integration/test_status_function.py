"""The status function as it is deployed: over HTTP, with a role of its own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import NamedTuple

import psycopg
import pytest

from local.functions import FLEET
from shared.ledger import migrations
from tests.kit.answer_schemas import checked


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    text: str


@pytest.fixture(scope="module")
def deployed(cloud):
    """The function on a project where nothing has happened yet."""
    with cloud.deploy("status-function", functions={"status": FLEET["status"]}) as deployment:
        yield deployment


@pytest.fixture
def migrated(deployed):
    with psycopg.connect(deployed.dsn, autocommit=True) as database:
        migrations.migrate(database)
    return deployed


def ask(deployment, query="", method="GET"):
    request = urllib.request.Request(deployment.url("status") + query, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return Answer(response.status, response.headers, response.read().decode())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.headers, refusal.read().decode())


def test_before_there_is_a_ledger_it_is_a_readable_503(deployed):
    with psycopg.connect(deployed.dsn, autocommit=True) as database:
        database.execute("DROP SCHEMA IF EXISTS recosync CASCADE")
    answer = ask(deployed)
    assert (answer.status, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert "there is no ledger yet. Run: recosync migrate" in answer.text
    assert "Hours of past_" in answer.text


def test_a_page_and_its_headers(migrated):
    answer = ask(migrated)
    assert answer.status == 200
    assert answer.text.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")


def test_the_same_as_json(migrated):
    answer = ask(migrated, "?format=json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    report = checked("status", json.loads(answer.text))
    assert [table["name"] for table in report["tables"]][-1] == "iris_france"
    assert report["environment"] == "local"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_can_only_be_read(migrated, method):
    answer = ask(migrated, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_wrong_query_is_a_400(migrated):
    assert ask(migrated, "?day=tomorrow").status == 400
    assert ask(migrated, "?format=xml").status == 400
