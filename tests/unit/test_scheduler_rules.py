"""The judge of Cloud Scheduler's jobs sees what the service refuses, or does in another way than a job says."""

from __future__ import annotations

import copy
from base64 import b64encode

import pytest

from tests.kit.scheduler import job, refusals

#: As a plan has it (https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/cloud_scheduler_job).
PLANNED = {
    "name": "daily",
    "region": "europe-west1",
    "description": "Exports",
    "schedule": "0,30 4-7 * * *",
    "time_zone": "Etc/UTC",
    "paused": False,
    "attempt_deadline": "1800s",
    "retry_config": [
        {"retry_count": 2, "min_backoff_duration": "60s", "max_backoff_duration": "600s", "max_doublings": 3}
    ],
    "http_target": [
        {
            "http_method": "POST",
            "headers": {"Content-Type": "application/json"},
            "body": b64encode(b"{}").decode(),
            "oidc_token": [{}],
        }
    ],
}
WELL = job(PLANNED, "a-project")


def test_a_job_as_terraform_plans_it_is_taken():
    assert refusals(WELL) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["name"], "projects/p/locations/europe-west1/jobs/a.b", "the name"),
        (["name"], f"projects/p/locations/europe-west1/jobs/{'a' * 501}", "the name"),
        (["description"], "d" * 501, "the description"),
        (["attemptDeadline"], "14s", "the deadline 14s"),
        (["attemptDeadline"], "1801s", "the deadline 1801s"),
        (["attemptDeadline"], "30m", "job.attemptDeadline can't be '30m'"),
        (["timeZone"], "Europe/Nowhere", "the time zone"),
        (["schedule"], "0 4 * *", "has 4 fields"),
        (["schedule"], "60 4 * * *", "60 in the schedule"),
        (["schedule"], "0 24 * * *", "24 in the schedule"),
        (["schedule"], "0 4 * * 8", "8 in the schedule"),
        (["schedule"], "0 7-4 * * *", "7-4 in the schedule"),
        (["schedule"], "0 4 L * *", "L in the schedule"),
        (["schedule"], "*/0 4 * * *", "*/0 in the schedule"),
        (["retryConfig", "retryCount"], 6, "6 retries"),
        (["retryConfig", "minBackoffDuration"], "601s", "pauses from 601s to 600s"),
        (["retryConfig", "backoff"], "1s", "job.retryConfig.backoff is unknown"),
        (["httpTarget", "uri"], "function.example", "the address"),
        (["httpTarget", "uri"], f"https://{'a' * 2076}", "the address"),
        (["httpTarget", "httpMethod"], "GET", "a body of a GET"),
        (["httpTarget", "httpMethod"], "SEND", "job.httpTarget.httpMethod can't be 'SEND'"),
        (["httpTarget", "body"], '{"tables": []}', "job.httpTarget.body can't be"),
        (["httpTarget", "body"], b64encode(b"[]").decode(), "no JSON object"),
        (["httpTarget", "headers"], {}, "no JSON object"),
        (["httpTarget", "headers"], {"Content-Type": "application/json", "User-Agent": "us"}, "the service's own"),
        (["httpTarget", "headers"], {"Content-Type": "application/json", "X": "x" * 81_920}, "too large"),
        (["httpTarget", "oidcToken", "serviceAccountEmail"], "a@other.iam.gserviceaccount.com", "of another project"),
        (["state"], "PAUSED", "job.state is for answers only"),
    ],
)
def test_what_the_service_refuses_is_told(path, value, told):
    changed = copy.deepcopy(WELL)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert any(told in refusal for refusal in refusals(changed)), refusals(changed)
