"""What callers, Pub/Sub and operators see of the functions: answers, log lines, and nothing secret."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from local.eventarc import CloudEvent
from local.functions import FLEET
from tests.e2e.conftest import PASSWORD
from tests.e2e.system import scheduled
from tests.kit.messages import subscribed
from tests.kit.servers import stops_the_server

BAD_BODIES = {
    "not JSON": (b"{tables", "JSON"),
    "not UTF-8": (b'{"tables": ["\xff"]}', "JSON"),
    "not an object": ([], "object"),
    "an unknown field": ({"table": "enriched_user"}, "'table'"),
    "an unknown table": ({"tables": ["enriched_user", "strange"]}, "strange"),
    "no table": ({"tables": []}, "none"),
    "a table that is no text": ({"tables": [1]}, "should list some of"),
    "tables that are no list": ({"tables": "enriched_user"}, "a list"),
    "force that is no truth": ({"force": 1}, "true or false"),
    "a date that is a number": ({"date": 20260101}, "text"),
    "a date with dashes": ({"date": "2026-01-01"}, "YYYYMMDD"),
    "a day that is none": ({"date": "20260230"}, "YYYYMMDD"),
    "a day to come": ({"date": "20991231"}, "future"),
}


@pytest.mark.parametrize(("body", "said"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_request_is_answered_by_a_sentence_and_changes_nothing(emulated, system, body, said):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = traces(emulated)
    status, answer = system.call(content)
    assert status == 400
    assert said in json.loads(answer)["error"]
    assert not re.search(r'Traceback|File "|\.py', answer)
    assert traces(emulated) == before


def traces(emulated):
    """What a call that does something leaves: objects and jobs."""
    jobs = {job.job_id for job in emulated.bigquery_client.list_jobs(all_users=True)}
    return jobs | {blob.name for blob in emulated.storage_client.list_blobs(emulated.bucket)}


def test_a_bad_schedule_time_is_a_bad_request(emulated, system):
    assert system.call({}, {"X-CloudScheduler-ScheduleTime": "yesterday"})[0] == 400


def test_a_source_that_does_not_exist_fails_for_good_and_leaves_the_other_tables_alone(emulated, system, day):
    system.fill(day)
    emulated.bigquery_client.delete_table("seed_local.iris_france")
    status, answer = system.call({}, {"X-CloudScheduler-ScheduleTime": scheduled(day).isoformat()})
    assert status == 200
    (failed,) = json.loads(answer)["failed"]
    assert (failed["table"], failed["retryable"]) == ("iris_france", False)
    assert "seed_local.iris_france" in failed["error"]
    strict = replace(system, url=f"{system.url}?strict=true")
    status, answer_of_strict = strict.call({"tables": ["iris_france"]})
    assert (status, json.loads(answer_of_strict)["failed"]) == (422, [failed])
    assert len(json.loads(answer)["tables"]) == 3
    assert error_lines(emulated, "bq_export")[-1]["table"] == "iris_france"
    emulated.eventarc.wait_idle()
    assert system.agrees("enriched_user", "recommendable_offers_raw", "non_recommendable_items_data")


def lines(emulated, function):
    return [json.loads(line) for line in emulated.log(function).splitlines()]


def error_lines(emulated, function):
    return [line for line in lines(emulated, function) if line["severity"] == "ERROR"]


def stored(emulated, name, size="1"):
    """The event of an object."""
    data = {"bucket": emulated.bucket, "name": name, "generation": "1", "size": size}
    return event("google.cloud.storage.object.v1.finalized", data)


def published(table):
    """The message of a publication."""
    attributes = {"table": table, "snapshot_id": "20260101T000000Z", "publication": "1"}
    return event("google.cloud.pubsub.topic.v1.messagePublished", {"message": {"attributes": attributes}})


def event(kind, data):
    return CloudEvent("1", kind, "//test", "2026-01-01T00:00:00Z", data)


PART = "recommendation_exports/enriched_user/20260101T000000Z/1/part-0.parquet"


@pytest.mark.parametrize(("name", "size"), [("readme.txt", "1"), (PART, "0")], ids=["foreign", "zero-byte"])
def test_an_event_that_is_not_for_us_is_acknowledged_without_an_error(emulated, name, size):
    before = error_lines(emulated, "gcs_import")
    assert emulated.eventarc.deliver("gcs_import", stored(emulated, name, size)) == 204
    assert error_lines(emulated, "gcs_import") == before


@pytest.mark.parametrize(
    ("function", "kind", "data"),
    [
        ("gcs_import", "google.cloud.storage.object.v1.finalized", {}),
        ("gcs_import", "google.cloud.storage.object.v1.finalized", {"bucket": "b", "name": "n", "generation": "x"}),
        ("mv_refresh", "google.cloud.pubsub.topic.v1.messagePublished", {"message": {}}),
        ("mv_refresh", "google.cloud.pubsub.topic.v1.messagePublished", {"message": {"attributes": {"table": "t"}}}),
    ],
)
def test_an_event_that_makes_no_sense_is_acknowledged_with_an_error(emulated, function, kind, data):
    before = len(error_lines(emulated, function))
    assert emulated.eventarc.deliver(function, event(kind, data)) == 204
    assert len(error_lines(emulated, function)) == before + 1


def test_a_failure_for_good_is_acknowledged_logged_and_recorded(emulated, system):
    name = "recommendation_exports/enriched_user/20990101T000000Z/manifest.json"
    assert emulated.eventarc.deliver("gcs_import", stored(emulated, name)) == 204
    (line,) = [line for line in error_lines(emulated, "gcs_import") if name in line["message"]]
    assert [line["table"], line["snapshot"], line["error"]] == ["enriched_user", "20990101T000000Z", "DataError"]
    assert system.select("SELECT table_name FROM recosync.failure WHERE subject ~ '2099'") == [("enriched_user",)]


@pytest.mark.parametrize("function", ["gcs_import", "mv_refresh"])
def test_what_a_catalog_yet_to_be_deployed_may_know_is_to_be_repeated_and_not_recorded(emulated, system, function):
    name = f"recommendation_exports/strange/{scheduled(1):%Y%m%dT%H%M%SZ}/manifest.json"
    sent = stored(emulated, name) if function == "gcs_import" else published("strange")
    assert emulated.eventarc.deliver(function, sent) == 503
    line = [line for line in error_lines(emulated, function) if line.get("table") == "strange"][-1]
    assert [line["error"], line["retryable"]] == ["CatalogError", True]
    assert system.select("SELECT table_name FROM recosync.failure WHERE table_name = 'strange'") == []


def test_every_line_is_json_with_what_cloud_logging_needs_to_find_it(emulated, system, day):
    system.fill(day)
    at = scheduled(day)
    trace = {"X-Cloud-Trace-Context": "0123456789abcdef0123456789abcdef/1;o=1", "Function-Execution-Id": "abc123"}
    status, _ = system.call({}, {"X-CloudScheduler-ScheduleTime": at.isoformat(), **trace})
    assert status == 200
    emulated.eventarc.wait_idle()
    traced = [line for line in lines(emulated, "bq_export") if "logging.googleapis.com/trace" in line]
    own = [line for line in traced if line.get("snapshot") == f"{at:%Y%m%dT%H%M%SZ}"]
    exported = [line for line in own if line["message"] == "snapshot exported"]
    assert {line["table"] for line in exported} >= {"enriched_user", "recommendable_offers_raw"}
    for line in exported:
        assert line["severity"] == "INFO"
        assert (
            line["logging.googleapis.com/trace"]
            == f"projects/{emulated.project}/traces/{trace['X-Cloud-Trace-Context'][:32]}"
        )
        assert line["logging.googleapis.com/labels"] == {"execution_id": "abc123"}
        assert line["snapshot"] == f"{at:%Y%m%dT%H%M%SZ}"
        assert line["rows"] > 0
        assert line["seconds"] > 0
    for message, fields in {
        "part staged": {"table", "snapshot", "part", "rows", "seconds", "event_id"},
        "snapshot published": {"table", "snapshot", "publication", "rows", "seconds", "event_id"},
    }.items():
        found = [line for line in lines(emulated, "gcs_import") if line["message"] == message]
        assert found
        assert all(fields <= line.keys() for line in found)
    built = [line for line in lines(emulated, "mv_refresh") if line["message"] == "view built"]
    assert {line["view"] for line in built} >= {"enriched_user_mv", "item_ids_mv"}
    assert all({"table", "seconds", "event_id"} <= line.keys() for line in built)


@stops_the_server
def test_the_databases_password_is_nowhere(emulated, system):
    assert PASSWORD in emulated.env["DATABASE_URL"]
    emulated.cloud.postgres.stop()
    try:
        assert emulated.eventarc.deliver("gcs_import", stored(emulated, PART)) == 503
        assert emulated.eventarc.deliver("mv_refresh", published("enriched_user")) == 503
        answers = []
        for function in ("bq_export", "hourly_export"):
            with pytest.raises(urllib.error.HTTPError, match="500") as answer:
                emulated.call(function)
            answers.append(answer.value)
        with pytest.raises(urllib.error.HTTPError, match="503") as page:
            urllib.request.urlopen(emulated.url("status"))  # noqa: S310 - a loopback address of our own
        for refused in (*answers, page.value):
            assert PASSWORD.encode() not in refused.read()
            refused.close()
    finally:
        emulated.cloud.postgres.start()
        emulated.cloud.postgres.ready()
    for function in FLEET:
        assert emulated.log(function)
        assert PASSWORD not in emulated.log(function)


def test_a_function_without_its_settings_says_which_and_keeps_its_events(emulated):
    missing = {"EXPORT_BUCKET": "", "DATABASE_URL": "mysql://me:pa55@host/database"}
    with emulated.cloud.deploy(f"{emulated.name}wrong", env=missing) as wrong:
        request = urllib.request.Request(wrong.url("bq_export"), b"{}", method="POST")  # noqa: S310 - our own
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(request)  # noqa: S310 - our own
        assert answer.value.code == 500
        assert b"EXPORT_BUCKET" in answer.value.read()
        answer.value.close()
        for function in ("gcs_import", "mv_refresh"):
            assert wrong.eventarc.deliver(function, stored(wrong, PART)) == 503
            (line,) = error_lines(wrong, function)
            assert {"EXPORT_BUCKET", "DATABASE_URL"} <= set(re.findall("[A-Z_]{8,}", line["message"]))
            assert "pa55" not in wrong.log(function)


@pytest.mark.parametrize(
    "header",
    [
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"X-Cloud-Trace-Context": "0af7651916cd43dd8448eb211c80319d/13235353014750950193;o=1"},
    ],
    ids=["W3C's", "Google's"],
)
def test_one_search_for_the_trace_of_a_call_shows_the_whole_way_of_its_snapshots(emulated, system, day, header):
    (text,) = header.values()
    searched = re.search("[0-9a-f]{32}", text)[0]
    system.fill(day)
    with (
        subscribed(emulated, emulated.topic, "published") as published,
        subscribed(emulated, emulated.refreshed_topic, "refreshed") as refreshed,
    ):
        status, _ = system.call({}, {"X-CloudScheduler-ScheduleTime": scheduled(day).isoformat(), **header})
        assert status == 200
        emulated.eventarc.wait_idle()
        told = [*published.take(), *refreshed.take()]
    assert {each.attributes["ce-traceparent"] for each in told} == {f"00-{searched}-b7ad6b7169203331-01"}
    views = {each.attributes["view"] for each in told if each.data}
    tables = {each.attributes["table"] for each in told if not each.data}
    assert (len(tables), len(views)) == (4, 5)
    for function, message, subject, subjects in (
        ("bq_export", "snapshot exported", "table", tables),
        ("gcs_import", "manifest recorded", "table", tables),
        ("gcs_import", "snapshot published", "table", tables),
        ("gcs_import", "publication announced", "table", tables),
        ("mv_refresh", "view built", "view", views),
        ("mv_refresh", "view announced", "view", views),
    ):
        found = [
            line[subject]
            for line in lines(emulated, function)
            if line.get("logging.googleapis.com/trace") == f"projects/{emulated.project}/traces/{searched}"
            and line["message"] == message
        ]
        assert sorted(found) == sorted(subjects), (function, message)
