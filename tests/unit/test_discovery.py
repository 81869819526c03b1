"""Google's own descriptions of its services judge what they would answer, as they judge what they are asked."""

from __future__ import annotations

import re

import pytest

from local import discovery
from local.discovery import UnknownError

JOB = "https://cloudscheduler.googleapis.com/v1/projects/p/locations/europe-west1/jobs/daily"
TOPIC = "https://pubsub.googleapis.com/v1/projects/p/topics/t"


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        (JOB, {"state": "PAUSED", "attemptDeadline": "1800s", "scheduleTime": "2026-01-01T04:30:00.123456Z"}),
        (JOB, {}),
        (f"{TOPIC}/subscriptions", {"subscriptions": ["projects/p/subscriptions/s"], "nextPageToken": ""}),
    ],
)
def test_an_answer_that_the_service_would_give(url, answer):
    discovery.asked(url).check_answer("GET", url, answer)


@pytest.mark.parametrize(
    ("url", "answer", "told"),
    [
        (JOB, {"stat": "PAUSED"}, "the answer of cloudscheduler.projects.locations.jobs.get.stat is unknown"),
        (JOB, {"state": "STOPPED"}, ".state can't be 'STOPPED'"),
        (JOB, {"attemptDeadline": "30m"}, ".attemptDeadline can't be '30m'"),
        (JOB, {"scheduleTime": "yesterday"}, ".scheduleTime can't be 'yesterday'"),
        (JOB, {"httpTarget": {"body": "{}"}}, ".httpTarget.body can't be '{}'"),
        (JOB, {"retryConfig": {"retryCount": "two"}}, ".retryConfig.retryCount can't be 'two'"),
        (f"{TOPIC}/subscriptions", {"subscriptions": "s"}, ".subscriptions should be of type array"),
    ],
)
def test_an_answer_that_it_would_not(url, answer, told):
    with pytest.raises(UnknownError, match=re.escape(told)):
        discovery.asked(url).check_answer("GET", url, answer)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://pubsub.example.com/v1/projects/p/topics/t", "no service: pubsub.example.com"),
        (f"{TOPIC}/listeners", "no method: GET /v1/projects/p/topics/t/listeners"),
        (f"{TOPIC}/subscriptions?pageLength=1", "pubsub.projects.topics.subscriptions.list?pageLength is unknown"),
        (f"{JOB}/runs", "no method: GET"),
    ],
)
def test_a_question_that_no_service_takes(url, told):
    with pytest.raises(UnknownError, match=re.escape(told)):
        discovery.asked(url).check("GET", url)


def test_a_method_is_known_by_its_name_and_what_its_path_has():
    of = discovery.service("pubsub.v1").method("GET", "/v1/projects/p/topics/t/subscriptions")
    assert of == ("pubsub.projects.topics.subscriptions.list", {"topic": "projects/p/topics/t"})
