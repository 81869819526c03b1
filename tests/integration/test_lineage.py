"""Lineage: each step tells an OpenLineage receiver what it read and wrote; nobody else is told, nor waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from openlineage.client import event_v2

from shared import lineage
from shared.daily import export
from shared.daily.refresh import refresh
from shared.errors import DataError
from shared.ledger import holds, publications
from shared.operate import decisions
from tests.kit.logs import Log, named
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive


@pytest.fixture
def told(monkeypatch) -> Iterator[list[Any]]:
    """What a receiver of events got."""
    with receiver(200) as (url, events):
        turn_on(monkeypatch, url)
        yield events
    lineage._client.cache_clear()


@contextmanager
def receiver(status: int) -> Iterator[tuple[str, list[Any]]]:
    events: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", events
        server.shutdown()


def turn_on(monkeypatch, url):
    lineage._client.cache_clear()
    monkeypatch.setattr(lineage._sender, "deaf_until", 0.0)
    monkeypatch.setenv("OPENLINEAGE_URL", url)


def brief(events):
    """State, job, inputs, output and its rows. The client's own types check each event."""
    assert lineage._sender.wait(60)
    found = []
    for event in events:
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
        event_v2.RunEvent(
            eventTime=event["eventTime"],
            eventType=event_v2.RunState[event["eventType"]],
            producer=event["producer"],
            run=event_v2.Run(event["run"]["runId"]),
            job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
        )
        (output,) = event["outputs"]
        rows = output.get("outputFacets", {}).get("outputStatistics", {}).get("rowCount")
        inputs = [f"{each['namespace']} {each['name']}" for each in event["inputs"]]
        found.append(
            (event["eventType"], event["job"]["name"], inputs, f"{output['namespace']} {output['name']}", rows)
        )
    return found


def runs(events):
    return [event["run"]["runId"] for event in events]


@pytest.fixture
def server(here, services):
    host = here.cloud.postgres.port
    return f"postgres://127.0.0.1:{host} {here.name}.public."


def test_a_snapshot_from_its_source_to_its_view(here, services, database, server, told, monkeypatch):
    source = f"{here.project}.ml_reco_local.user_booked_item"
    rows = "SELECT 'u1' AS user_id, 'i1' AS item_id UNION ALL SELECT 'u2', 'i2'"
    here.bigquery_client.query(f"CREATE TABLE {source} AS {rows}").result()
    at = datetime.now(UTC)
    answer, _ = export.run(services, export.parse(services, {"tables": [TABLE]}, None, at))
    (exported,) = answer["tables"]
    folder = f"gs://{here.bucket} recommendation_exports/{TABLE}/{exported['snapshot_id']}"
    assert brief(told) == [
        ("START", f"bq_export.{TABLE}", [f"bigquery {source}"], folder, None),
        ("COMPLETE", f"bq_export.{TABLE}", [f"bigquery {source}"], folder, 2),
    ]
    assert len(set(runs(told))) == 1
    schema = told[0]["inputs"][0]["facets"]["schema"]["fields"]
    assert [(each["name"], each["type"]) for each in schema] == [
        ("user_id", "character varying"),
        ("item_id", "character varying"),
    ]
    told.clear()

    manifests = [
        each.version
        for each in services.storage.objects(here.bucket, "recommendation_exports/")
        if each.version.name.endswith("manifest.json")
    ]
    assert arrive(services, *manifests) == ["published"]
    assert brief(told) == [
        ("START", f"gcs_import.{TABLE}", [folder], server + TABLE, None),
        ("COMPLETE", f"gcs_import.{TABLE}", [folder], server + TABLE, 2),
    ]
    assert len(set(runs(told))) == 1
    told.clear()

    refresh(services, TABLE, publications.numbers(database, [TABLE])[TABLE])
    view = server + "non_recommendable_items_mv"
    assert brief(told) == [
        ("START", "mv_refresh.non_recommendable_items_mv", [server + TABLE], view, None),
        ("COMPLETE", "mv_refresh.non_recommendable_items_mv", [server + TABLE], view, 2),
    ]


def test_what_fails_for_good_and_a_way_back(services, database, told):
    publish(services, 1, ["ann"])
    publish(services, 2, ["bob", "cleo"])
    assert lineage._sender.wait(60)
    told.clear()
    broken = upload(services, 3, ["dan"])
    broken.parts = [*broken.parts, *broken.parts]
    with pytest.raises(DataError):
        arrive(services, broken.manifest())
    decisions.rollback(services, TABLE, day(1), "test")
    assert [(state, rows) for state, _, _, _, rows in brief(told)] == [("FAIL", None), ("START", None), ("COMPLETE", 1)]
    assert "names a part twice" in told[0]["run"]["facets"]["errorMessage"]["message"]
    assert len(set(runs(told))) == 2
    assert holds.pinned(database, TABLE) == day(1)


def test_an_hour(log: Log, told):
    log.add(10, 3)
    log.done(11, **named(10), recover_missed=False)
    (start, complete) = brief(told)
    assert [start[:2], complete[:2]] == [
        ("START", "hourly_export.past_offer_context"),
        ("COMPLETE", "hourly_export.past_offer_context"),
    ]
    assert complete[3:] == (f"bigquery {log.here.project}.raw_local.past_offer_context", 3)
    assert complete[2][0].endswith(f"{log.here.name}.public.past_offer_context")


def test_a_receiver_that_refuses_or_is_not_there_stops_nothing(services, database, monkeypatch, caplog):
    with receiver(400) as (url, events):
        turn_on(monkeypatch, url)
        publish(services, 1, ["ann"])
        assert lineage._sender.wait(60)
        assert len(events) == 1  # the next is not tried at once
    assert caplog.text.count("lineage is not told") == 1
    turn_on(monkeypatch, "http://127.0.0.1:9")
    publish(services, 2, ["bob"])
    assert lineage._sender.wait(60)
    lineage._client.cache_clear()


@pytest.mark.parametrize(("more", "imported"), [({}, False), ({"OPENLINEAGE_URL": "http://127.0.0.1:9"}, True)])
def test_its_client_is_imported_for_those_who_ask_for_it_alone(more, imported):
    code = (
        "import sys; from shared import lineage; from shared.daily import arrival, export, refresh;"
        " from shared.hourly import run; d = lineage.Dataset('n', 'd');"
        " lineage.Run('n', 'j', 'k', (), d).start(); lineage._sender.wait(60);"
        " print(any('openlineage' in name for name in sys.modules))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    ran = subprocess.run([sys.executable, "-c", code], env=env | more, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(imported)


def test_a_function_answers_before_a_receiver_that_takes_its_time(monkeypatch, caplog):
    answer = threading.Event()

    class Slow:
        def emit(self, _: object) -> None:
            answer.wait(60)

    turn_on(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(lineage, "_client", Slow)
    monkeypatch.setattr(lineage, "PATIENCE", 0.1)
    lineage.Run("n", "job", "key", (), lineage.Dataset("n", "d")).start()
    lineage.flush()
    assert "lineage is not all told" in caplog.text
    answer.set()
    assert lineage._sender.wait(60)
