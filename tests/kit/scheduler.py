"""What Cloud Scheduler would say to the jobs that Terraform makes, by its own description and the rules beside it:
https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local import discovery

type Job = Mapping[str, Any]

#: What an attempt may take, in seconds; how often one is repeated; the longest id, description and address.
DEADLINE, RETRIES, LONGEST_ID, LONGEST_DESCRIPTION, LONGEST_URI = (15, 1800), (0, 5), 500, 500, 2083
#: Bytes of all headers, and those that the service computes or replaces itself.
MOST_HEADERS = 80 * 1024
_REPLACED = re.compile(r"host|content-length|user-agent|x-google-.*|x-appengine-.*|x-cloudscheduler.*", re.IGNORECASE)
#: https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules#cron_job_format
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_CRON = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def job(planned: Mapping[str, Any], project: str) -> Job:
    """The resource that the provider sends for one of a plan. What is known after the apply alone is made up."""
    given = {name: value for name, value in planned.items() if value not in (None, [], {})}
    (target,), (retry,) = given["http_target"], given["retry_config"]
    (token,) = target["oidc_token"]
    name = f"projects/{project}/locations/{given['region']}/jobs/{given['name']}"
    uri = target.get("uri") or "https://function-0123456789-ew.a.run.app"
    email = token.get("service_account_email") or f"account@{project}.iam.gserviceaccount.com"
    sent = {
        **{key: given[key] for key in ("description", "schedule", "time_zone", "attempt_deadline") if key in given},
        "name": name,
        "retry_config": _camel(retry),
        "http_target": _camel({**target, "uri": uri})
        | {"oidcToken": {"serviceAccountEmail": email, "audience": token.get("audience") or uri}},
    }
    return _camel(sent)


def _camel(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        re.sub(r"_(\w)", lambda letter: letter[1].upper(), name): value
        for name, value in fields.items()
        if value not in (None, [])
    }


def refusals(job: Job) -> list[str]:
    """Why Cloud Scheduler would not take a job, or would not do as it says."""
    try:
        discovery.service("cloudscheduler.v1").check_document(job, {"$ref": "Job"}, "job")
    except discovery.UnknownError as e:
        return [str(e)]
    return [*_of_job(job), *_of_cron(job["schedule"]), *_of_retries(job["retryConfig"]), *_of_target(job)]


def _of_job(job: Job) -> Iterator[str]:
    if not re.fullmatch(
        rf"projects/[A-Za-z0-9:.-]+/locations/[a-z0-9-]+/jobs/[\w-]{{1,{LONGEST_ID}}}", job["name"], re.ASCII
    ):
        yield f"the name {job['name']}"
    if len(job["description"]) > LONGEST_DESCRIPTION:
        yield "the description is too long"
    if not DEADLINE[0] <= _seconds(job["attemptDeadline"]) <= DEADLINE[1]:
        yield f"the deadline {job['attemptDeadline']}"
    try:
        ZoneInfo(job["timeZone"])
    except (ZoneInfoNotFoundError, ValueError):
        yield f"the time zone {job['timeZone']}"


def _of_cron(schedule: str) -> Iterator[str]:
    fields = schedule.split()
    if len(fields) != len(_CRON):
        yield f"the schedule {schedule} has {len(fields)} fields"
        return
    for field, (first, last, names) in zip(fields, _CRON, strict=True):
        value = "|".join(["[0-9]+", *names])
        for item in field.split(","):
            if not re.fullmatch(rf"(\*|({value})(-({value}))?)(/[1-9][0-9]*)?", item, re.IGNORECASE):
                yield f"{item} in the schedule {schedule}"
                continue
            numbers = [int(number) for number in re.findall("[0-9]+", item.partition("/")[0])]
            if any(not first <= number <= last for number in numbers) or numbers != sorted(numbers):
                yield f"{item} in the schedule {schedule}"


def _of_retries(retry: Mapping[str, Any]) -> Iterator[str]:
    """By https://cloud.google.com/scheduler/docs/configuring/retry-jobs."""
    if not RETRIES[0] <= retry["retryCount"] <= RETRIES[1]:
        yield f"{retry['retryCount']} retries"
    if not 0 < _seconds(retry["minBackoffDuration"]) <= _seconds(retry["maxBackoffDuration"]):
        yield f"pauses from {retry['minBackoffDuration']} to {retry['maxBackoffDuration']}"
    if retry.get("maxDoublings", 0) < 0:
        yield f"{retry['maxDoublings']} doublings"


def _of_target(job: Job) -> Iterator[str]:
    target = job["httpTarget"]
    if not re.match("https?://", target["uri"]) or len(target["uri"]) > LONGEST_URI:
        yield f"the address {target['uri']}"
    if "body" in target and target["httpMethod"] not in ("POST", "PUT", "PATCH"):
        yield f"a body of a {target['httpMethod']}"
    headers = target.get("headers", {})
    if sum(len(name) + len(value) for name, value in headers.items()) > MOST_HEADERS:
        yield "the headers are too large"
    yield from (f"the header {name} is the service's own" for name in headers if _REPLACED.fullmatch(name))
    # Without it, a body is application/octet-stream, which the functions refuse.
    if headers.get("Content-Type") != "application/json" or not isinstance(_json(target.get("body", "")), dict):
        yield "the body is no JSON object that says so"
    project = job["name"].split("/")[1]
    if not target["oidcToken"]["serviceAccountEmail"].endswith(f"@{project}.iam.gserviceaccount.com"):
        yield "the account is of another project"


def _json(body: str) -> object:
    try:
        return json.loads(b64decode(body, validate=True))
    except ValueError:
        return None


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
