"""Calls over HTTP, as Cloud Scheduler and operators make them, answered by the function in a process of its own."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from local import context
from local.functions import FLEET
from shared.names import Hour
from tests.kit.answer_schemas import checked

#: Days that have ended and that are to come whenever this is run: the function reads the real clock.
ENDED = "20260101"
TO_COME = "20991231"

BAD_BODIES = {
    "not JSON": (b"{date", "the body is not JSON"),
    "not UTF-8": (b'{"date": "\xff"}', "the body is not JSON"),
    "no object": ([], "the body should be a JSON object"),
    "an unknown field": ({"table": "past_offer_context"}, "unknown field 'table'; known are table_name, date, hour"),
    "an unknown table": ({"table_name": "enriched_user"}, "table_name should be one of past_offer_context"),
    "a table that is no text": ({"table_name": 1}, "table_name should be text"),
    "text for a truth": ({"delete_from_source": "true"}, "delete_from_source should be true or false"),
    "a number for a truth": ({"recover_missed": 1}, "recover_missed should be true or false"),
    "no value": ({"recover_missed": None}, "recover_missed should be true or false"),
    "text for an hour": ({"date": ENDED, "hour": "3"}, "hour should be a whole number"),
    "a truth for an hour": ({"date": ENDED, "hour": True}, "hour should be a whole number"),
    "a fraction of an hour": ({"date": ENDED, "hour": 1.5}, "hour should be a whole number"),
    "hour 24": ({"date": ENDED, "hour": 24}, "hour should be a whole number from 0 to 23"),
    "a number for a date": ({"date": 20260101}, "date should be text"),
    "a date with dashes": ({"date": "2026-01-01"}, "date should be a day written YYYYMMDD"),
    "a day to come": ({"date": TO_COME}, "has not ended yet"),
    "an hour to come": ({"date": TO_COME, "hour": 3}, "has not ended yet"),
    "an hour without its date": ({"hour": 3}, "hour needs a date"),
    "an end without its date": ({"until": f"{ENDED}T03"}, "until needs a date"),
    "an end before the beginning": (
        {"date": ENDED, "hour": 3, "until": f"{ENDED}T03"},
        "until should be after",
    ),
    "an end to come": ({"date": ENDED, "until": f"{TO_COME}T00"}, "at most: later hours have not ended yet"),
    "an end that is none": ({"date": ENDED, "until": TO_COME}, "until should be an hour written YYYYMMDDTHH"),
}


@pytest.fixture(scope="module")
def deployed(cloud):
    """The function."""
    functions = {"hourly_export": FLEET["hourly_export"]}
    with cloud.deploy("hourly-requests", functions, {"HOURLY_MAX_HOURS": "1"}) as deployment:
        context.create(deployment.dsn)
        yield deployment


@pytest.fixture(scope="module")
def start(deployed):
    """The log's first hour: when yesterday began, as the function was deployed."""
    return Hour.parse(deployed.env["HOURLY_START"])


def call(deployed, body, **headers):
    """Status and answer. A body of bytes goes as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(deployed.url("hourly_export"), content, headers)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return response.status, checked("hourly_export", json.load(response))
    except urllib.error.HTTPError as e:
        return e.code, checked("hourly_export", json.load(e))


def traces(deployed):
    """What a call that does something leaves: objects in some version, tables and jobs."""
    return {
        *((blob.name, blob.generation) for blob in deployed.storage_client.list_blobs(deployed.hourly_bucket)),
        *(table.table_id for table in deployed.bigquery_client.list_tables("raw_local")),
        *(job.job_id for job in deployed.bigquery_client.list_jobs(all_users=True)),
    }


@pytest.mark.parametrize(("body", "said"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_request_is_answered_by_a_sentence_and_changes_nothing(deployed, body, said):
    before = traces(deployed)
    status, answer = call(deployed, body)
    assert status == 400
    assert answer.keys() == {"error"}
    assert said in answer["error"]
    assert traces(deployed) == before


@pytest.mark.parametrize("planned", ["yesterday", "2099-12-31T00:00:00Z"])
def test_a_call_that_was_planned_for_no_time_or_one_to_come_is_a_bad_request(deployed, planned):
    before = traces(deployed)
    assert call(deployed, {}, X_CloudScheduler_ScheduleTime=planned)[0] == 400
    assert traces(deployed) == before


def test_schedulers_call_is_for_the_hour_before_its_planned_time_however_late_it_comes(deployed, start):
    day = start.day
    at = start.plus(3).start
    context.write(deployed.dsn, at, at + timedelta(hours=1), 5)
    planned = f"{day:%Y-%m-%d}T04:05:00Z"
    status, answer = call(deployed, {"recover_missed": False}, X_CloudScheduler_ScheduleTime=planned)
    assert (status, answer["failed"], answer["remaining"], answer["next"]) == (200, [], 0, None)
    (hour,) = answer["hours"]
    assert (hour["hour"], hour["status"], hour["rows"]) == (str(start.plus(3)), "exported", 5)
    (row,) = deployed.bigquery_client.query(
        "SELECT COUNT(*), MIN(import_date), MAX(import_date), MIN(import_hour), MAX(import_hour)"
        " FROM raw_local.past_offer_context"
    ).result()
    assert tuple(row.values()) == (5, day, day, 3, 3)


def test_without_schedulers_header_the_clock_decides(deployed):
    before = datetime.now(UTC)
    status, answer = call(deployed, {"recover_missed": False})
    after = datetime.now(UTC)
    (hour,) = answer["hours"]
    assert (status, hour["status"]) == (200, "empty")
    assert hour["hour"] in {f"{clock - timedelta(hours=1):%Y%m%dT%H}" for clock in (before, after)}


def test_an_empty_body_is_a_call_without_fields(deployed, start):
    status, answer = call(deployed, b"")
    assert (status, answer["table"], answer["failed"]) == (200, "past_offer_context", [])
    assert answer["hours"][0]["hour"] == str(start)
