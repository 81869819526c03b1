"""Who else hears of what the suite tells: that is told here, and judged by whoever reads it. A subscription of others
costs the suite nothing, and one that nobody remembers is a bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from shared.gcp.rest import Rest
from shared.operate.doctor.buckets import STORAGE, Bucket
from shared.operate.doctor.check import Check, tried
from shared.operate.doctor.deployed import PUBSUB, Deployed, Deployment

_APPLY = "terraform apply"


def checks(rest: Rest, deployment: Deployment, buckets: Sequence[Bucket]) -> Iterator[Check]:
    """The subscriptions to the publications and to what the buckets tell, but those of the suite's own triggers."""
    of = _Hearers(rest, deployment)
    yield tried(
        f"hearers of {PurePosixPath(deployment.topic).name}", partial(of.told, "mv_refresh", [deployment.topic])
    )
    for bucket in buckets:
        yield tried(f"hearers of {bucket.name}", partial(of.of_bucket, bucket))


class _Hearers:
    def __init__(self, rest: Rest, deployment: Deployment) -> None:
        self._rest, self._deployment = rest, deployment

    def of_bucket(self, bucket: Bucket) -> str:
        """By https://cloud.google.com/storage/docs/json_api/v1/notifications."""
        url = f"{STORAGE}/b/{bucket.name}/notificationConfigs"
        found = self._rest.ask(url).found(f"gs://{bucket.name}", _APPLY).get("items", ())
        topics = sorted({str(each["topic"]).removeprefix("//pubsub.googleapis.com/") for each in found})
        return self.told("gcs_import" if bucket.role == "export" else "", topics)

    def told(self, function: str, topics: Sequence[str]) -> str:
        """By https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics.subscriptions/list."""
        own = self._own(function)
        known = {topic: self._subscriptions(topic) for topic in topics}
        others = [name for names in known.values() for name in names if name != own]
        silent = [topic for topic, names in known.items() if not names]
        told = [f"also {', '.join(others)}" if others else "nobody but the suite itself"]
        if silent:
            told.append(f"{', '.join(silent)} is told, and nobody subscribes to it")
        return "; ".join(told)

    def _own(self, function: str) -> str:
        known = self._deployment.functions.get(function)
        if known is None:
            return ""
        return str(Deployed(self._rest, self._deployment).transport(known).get("subscription", ""))

    def _subscriptions(self, topic: str) -> Sequence[str]:
        found = self._rest.ask(f"{PUBSUB}/{topic}/subscriptions").found(topic, _APPLY)
        return [str(name) for name in found.get("subscriptions", ())]
