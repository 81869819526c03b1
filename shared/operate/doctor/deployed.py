"""What Terraform deployed besides: functions, their triggers, the topics, the jobs of Cloud Scheduler. Their names, and
what they should be, are those of `terraform output -json deployment`: each is compared with what the services have.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from msgspec import Struct

from shared.documents import MalformedError, Reader
from shared.errors import BadRequestError
from shared.gcp.rest import Document, Rest
from shared.operate.doctor.buckets import STORAGE, Bucket
from shared.operate.doctor.check import Check, Verdict, tried, wrong

FUNCTIONS = "https://cloudfunctions.googleapis.com/v2"
EVENTARC = "https://eventarc.googleapis.com/v1"
PUBSUB = "https://pubsub.googleapis.com/v1"
SCHEDULER = "https://cloudscheduler.googleapis.com/v1"
PROJECTS = "https://cloudresourcemanager.googleapis.com/v1"
LOGGING = "https://logging.googleapis.com/v2"

#: Seconds that an event may take to its function, and its line to the log; and how often it is looked for.
EVENT_PATIENCE, EVENT_PAUSE = 180, 5

#: The longest that a subscription waits for an acknowledgement
#: (https://cloud.google.com/pubsub/docs/lease-management#ack_deadline).
LONGEST_DEADLINE = 600

#: How long events live at least: Eventarc promises a day (https://cloud.google.com/eventarc/docs/retry-events).
LIVES = timedelta(hours=24)

#: How far this machine's clock may be from Google's.
CLOCKS = timedelta(seconds=30)

_APPLY = "terraform apply"


class Function(Struct, frozen=True):
    """A function as it should be. `archive` is the object that its code was built from, named by what is in it."""

    name: str
    uri: str
    service_account: str
    archive: str
    timeout_seconds: int


class Schedule(Struct, frozen=True):
    """A job of Cloud Scheduler as it should be."""

    name: str
    function: str
    time_zone: str
    paused: bool


class Connections(Struct, frozen=True):
    """How many connections the functions may hold together, and how many are free for them."""

    needed: int
    free: int


class Deployment(Struct, frozen=True):
    """What `terraform output -json deployment` prints."""

    project: str
    region: str
    topic: str
    connections: Connections
    functions: dict[str, Function]
    schedules: list[Schedule]
    #: The names of the alert policies.
    alerts: list[str] = []
    message_topics: list[str] = []

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"


_READER = Reader(Deployment)


def read(text: bytes, where: str) -> Deployment:
    """Raises BadRequestError for anything else."""
    try:
        return _READER.read(text)
    except MalformedError as e:
        raise BadRequestError(f"is not what `terraform output -json deployment` prints: {e}", where=where) from None


def checks(rest: Rest, deployment: Deployment, export: Bucket) -> Iterator[Check]:
    """What is deployed, as far as this account may look."""
    if rest.emulated:
        yield Check("deployment", Verdict.UNKNOWN, "functions, triggers and jobs have no emulator")
        return
    of = Deployed(rest, deployment)
    yield tried("clock", of.clock)
    for topic in (deployment.topic, *deployment.message_topics):
        yield tried(f"topic {PurePosixPath(topic).name}", partial(of.topic, topic))
    for function in deployment.functions.values():
        yield tried(f"function {function.name}", partial(of.function, function))
    for name in ("gcs_import", "mv_refresh"):
        if name in deployment.functions:
            yield tried(
                f"trigger of {deployment.functions[name].name}", partial(of.trigger, deployment.functions[name])
            )
    yield tried(f"notification of {export.name}", partial(of.notification, export))
    yield tried("Cloud Storage's account", partial(of.agent, f"{STORAGE}/projects/{deployment.project}/serviceAccount"))
    for schedule in deployment.schedules:
        yield tried(f"job {schedule.name}", partial(of.schedule, schedule))


def called(rest: Rest, deployment: Deployment, since: datetime) -> Check:
    """Whether gcs_import was called for an object that is none of its own since then, by what it logs: so events come
    through, with all their roles (https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list).
    """

    def looked() -> str:
        name = deployment.functions["gcs_import"].name
        by = (
            f'resource.labels.service_name="{name}" AND jsonPayload.outcome="foreign"'
            f' AND timestamp>="{since.isoformat()}"'
        )
        body = {"resourceNames": [f"projects/{deployment.project}"], "filter": by, "pageSize": 1}
        end = time.monotonic() + EVENT_PATIENCE
        while not rest.ask(f"{LOGGING}/entries:list", body).found(f"the log of {name}", _APPLY).get("entries"):
            if time.monotonic() > end:
                raise wrong(
                    f"was not called within {EVENT_PATIENCE} s for an object that was written",
                    name,
                    f"Look at the lines of the trigger and the notification here, and at the log of {name}",
                )
            time.sleep(EVENT_PAUSE)
        return "is called for what is written to the bucket"

    return tried("events of gcs_import", looked)


@dataclass(frozen=True)
class Deployed:
    """Asks what is deployed."""

    rest: Rest
    deployment: Deployment

    def get(self, url: str, what: str) -> Document:
        return self.rest.ask(url).found(what, _APPLY)

    def clock(self) -> str:
        """By the Date of an answer, which has whole seconds."""
        answer = self.rest.ask(f"{PUBSUB}/{self.deployment.topic}")
        now = datetime.now(UTC)
        if answer.date is not None and abs(now - answer.date) > CLOCKS:
            off = (now - answer.date).total_seconds()
            raise wrong(f"is {off:.0f} s off Google's", "this machine's clock", "Set it right")
        return "agrees with Google's"

    def topic(self, name: str) -> str:
        self.get(f"{PUBSUB}/{name}", name)
        return "is there"

    def function(self, function: Function) -> str:
        """By https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions."""
        found = self._function(function)
        if found.get("state") != "ACTIVE":
            told = "; ".join(str(each.get("message", "")) for each in found.get("stateMessages", ()))
            raise wrong(f"its state is {found.get('state')} {told}".strip(), function.name, self._anew(function))
        object_ = found.get("buildConfig", {}).get("source", {}).get("storageSource", {}).get("object")
        if object_ != function.archive:
            raise wrong(f"was built from {object_}, the last apply was of {function.archive}", function.name, _APPLY)
        account = found.get("serviceConfig", {}).get("serviceAccountEmail")
        if account != function.service_account:
            raise wrong(f"runs as {account}, not as {function.service_account}", function.name, _APPLY)
        return f"is active, of the code {PurePosixPath(function.archive).stem[-12:]}"

    def _function(self, function: Function) -> Document:
        return self.get(f"{FUNCTIONS}/{self.deployment.parent}/functions/{function.name}", function.name)

    def _event(self, function: Function) -> Document:
        event: Document = self._function(function).get("eventTrigger", {})
        if not event.get("trigger"):
            raise wrong("has no trigger", function.name, self._anew(function))
        return event

    def transport(self, function: Function) -> Document:
        """The topic and the subscription by which a function's events come
        (https://cloud.google.com/eventarc/docs/reference/rest/v1/projects.locations.triggers).
        """
        name = self._event(function)["trigger"]
        found = self.rest.ask(f"{EVENTARC}/{name}").found(str(name), self._anew(function))
        transport: Document = found.get("transport", {}).get("pubsub", {})
        return transport

    def _anew(self, function: Function) -> str:
        """What makes a function and its trigger anew: an apply alone sees no difference in what Eventarc has made."""
        key = next(key for key, of in self.deployment.functions.items() if of == function)
        return f"{_APPLY} -replace='module.function[\"{key}\"].google_cloudfunctions2_function.this'"

    def trigger(self, function: Function) -> str:
        """Its subscription, by https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions. One that
        waits for less than the function works sends the event again meanwhile.
        """
        event = self._event(function)
        if event.get("retryPolicy") != "RETRY_POLICY_RETRY":
            raise wrong("an event that fails is not sent again", function.name, "Set retry_events = true")
        name = self.transport(function).get("subscription", "")
        found = self.rest.ask(f"{PUBSUB}/{name}").found(str(name), self._anew(function))
        short, least = PurePosixPath(str(name)).name, min(function.timeout_seconds, LONGEST_DEADLINE)
        deadline = int(found.get("ackDeadlineSeconds", 10))
        if deadline < least:
            raise wrong(
                f"waits {deadline} s for an acknowledgement, the function works for up to {function.timeout_seconds} s",
                short,
                f"gcloud pubsub subscriptions update {name} --ack-deadline={LONGEST_DEADLINE}",
            )
        if _seconds(found.get("messageRetentionDuration", "604800s")) < LIVES:
            raise wrong(
                f"keeps events for {found['messageRetentionDuration']} only",
                short,
                f"gcloud pubsub subscriptions update {name} --message-retention-duration=1d",
            )
        if "retryPolicy" not in found:
            raise wrong(
                "sends a failed event again at once",
                short,
                f"gcloud pubsub subscriptions update {name} --min-retry-delay=10s --max-retry-delay=600s",
            )
        return f"waits {deadline} s for an answer, and sends again what failed"

    def notification(self, export: Bucket) -> str:
        """By https://cloud.google.com/storage/docs/json_api/v1/notifications. Two of them, as an adopted bucket may
        have, tell of each object twice; that changes nothing.
        """
        function = self.deployment.functions["gcs_import"]
        topic = str(self.transport(function).get("topic", ""))
        found = self.get(f"{STORAGE}/b/{export.name}/notificationConfigs", f"gs://{export.name}").get("items", ())
        finalized = [
            each
            for each in found
            if "OBJECT_FINALIZE" in each.get("event_types", ("OBJECT_FINALIZE",))
            and str(each.get("topic", "")).endswith(f"/{topic}")
            and not each.get("object_name_prefix")
        ]
        if not topic or not finalized:
            raise wrong("tells the trigger of gcs_import nothing", f"gs://{export.name}", self._anew(function))
        return "tells the trigger of gcs_import of each object"

    def agent(self, url: str) -> str:
        """Whether the service agent of Cloud Storage may publish what its buckets tell
        (https://cloud.google.com/eventarc/docs/run/create-trigger-storage-gcloud#before-you-begin).
        """
        email = str(self.get(url, "Cloud Storage's account")["email_address"])
        policy = self.rest.ask(f"{PROJECTS}/projects/{self.deployment.project}:getIamPolicy", {}).found(
            f"the roles of {self.deployment.project}", _APPLY
        )
        member = f"serviceAccount:{email}"
        for binding in policy.get("bindings", ()):
            if binding.get("role") == "roles/pubsub.publisher" and member in binding.get("members", ()):
                return "may publish"
        raise wrong("may not publish what its buckets tell", email, f"{_APPLY} grants it roles/pubsub.publisher")

    def schedule(self, schedule: Schedule) -> str:
        """By https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs."""
        found = self.get(f"{SCHEDULER}/{self.deployment.parent}/jobs/{schedule.name}", schedule.name)
        state = found.get("state")
        if (state == "ENABLED") is schedule.paused:
            where = f"{schedule.name} --location={self.deployment.region} --project={self.deployment.project}"
            resume = f"gcloud scheduler jobs resume {where}" if state == "PAUSED" else _APPLY
            raise wrong(f"is {state}, and schedules.paused is {str(schedule.paused).lower()}", schedule.name, resume)
        uri = self.deployment.functions[schedule.function].uri
        target: Mapping[str, Any] = found.get("httpTarget", {})
        for what, is_, should in (
            ("calls", target.get("uri"), uri),
            ("has a token for", target.get("oidcToken", {}).get("audience"), uri),
            ("is planned in", found.get("timeZone"), schedule.time_zone),
        ):
            # Cloud Scheduler puts a slash behind an address without a path.
            if str(is_).rstrip("/") != should.rstrip("/"):
                raise wrong(f"{what} {is_}, not {should}", schedule.name, _APPLY)
        if code := found.get("status", {}).get("code"):
            raise wrong(f"its last call failed with code {code}", schedule.name, "The log of the function tells why")
        return "is paused on purpose" if schedule.paused else "is enabled"


def _seconds(duration: str) -> timedelta:
    return timedelta(seconds=float(duration.removesuffix("s")))
