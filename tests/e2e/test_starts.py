"""Each function starts under functions-framework and answers, with no cloud in sight. Also run on the oldest Python."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "ENV_SHORT_NAME": "dev",
    "GCP_PROJECT_ID": "recosync-starts",
    "BIGQUERY_ML_RECOMMENDATION_DATASET": "ml_reco_dev",
    "BIGQUERY_SEED_DATASET": "seed_dev",
    "RECOMMENDATION_SQL_INSTANCE": "recommendation-dev",
    "EXPORT_BUCKET": "exports",
    "EXPORT_PREFIX": "recommendation_exports",
    "COMPLETION_TOPIC": "published",
    "HOURLY_BUCKET": "hours",
    "HOURLY_PREFIX": "cloudsql_hourly",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nowhere",
}

pytestmark = pytest.mark.starts


@contextmanager
def started(function, signature):
    """The function in a process of its own; gives a way to post to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "functions_framework", "--source", f"functions/{function}/main.py"]
    command += ["--target", function, "--signature-type", signature, "--host", "127.0.0.1", "--port", str(port)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "THREADS": "1", "PYTHONUNBUFFERED": "1", **SETTINGS}
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryDirectory() as sockets,  # gunicorn would put one into HOME
        subprocess.Popen(
            command, cwd=ROOT, env=env | {"XDG_RUNTIME_DIR": sockets}, stdout=output, stderr=output
        ) as process,
    ):

        def post(body, headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", "/", body, {"content-type": "application/json", **headers})
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        try:
            wait_until_it_listens(process, port, output)
            yield post
        finally:
            process.terminate()


def wait_until_it_listens(process, port, output):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                output.seek(0)
                pytest.fail(f"it does not listen:\n{output.read()}")
            time.sleep(0.05)


def event_headers(kind):
    return {"ce-id": "1", "ce-source": "//test", "ce-specversion": "1.0", "ce-type": kind}


def test_bq_export_starts_and_refuses_a_bad_request():
    with started("bq_export", "http") as post:
        status, answer = post(b'{"tables": ["strange"]}', {})
    assert status == 400
    assert "strange" in json.loads(answer)["error"]


def test_hourly_export_starts_and_refuses_a_bad_request():
    with started("hourly_export", "http") as post:
        status, answer = post(b'{"date": "20260101", "hour": 24}', {})
    assert status == 400
    assert "hour" in json.loads(answer)["error"]


def test_status_starts_and_can_only_be_read():
    with started("status", "http") as post:
        status, answer = post(b"{}", {})
    assert (status, json.loads(answer)["error"]) == (405, "POST does nothing here: ask with GET or HEAD")


def test_gcs_import_starts_and_lets_a_foreign_object_be():
    data = {"bucket": "exports", "name": "readme.txt", "generation": "1", "size": "7"}
    with started("gcs_import", "cloudevent") as post:
        answer = post(json.dumps(data), event_headers("google.cloud.storage.object.v1.finalized"))
    assert answer == (204, "")


def test_mv_refresh_starts_and_acknowledges_a_message_without_attributes():
    with started("mv_refresh", "cloudevent") as post:
        answer = post(b'{"message": {}}', event_headers("google.cloud.pubsub.topic.v1.messagePublished"))
    assert answer == (204, "")
