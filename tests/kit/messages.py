"""Messages as a subscriber gets them, each judged by the JSON schema in docs/schemas that describes it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jsonschema

from local.cloud import Deployment
from shared.catalog import ROOT

#: The schema of each type of event.
SCHEMAS = {
    "recosync.table.v1.published": "published.v1.json",
    "recosync.view.v1.refreshed": "refreshed.v1.json",
    "recosync.hour.v1.done": "hour_done.v1.json",
}


@dataclass(frozen=True)
class Message:
    """A message that came, its body read; None of an empty one. `order` is its ordering key."""

    attributes: dict[str, str]
    data: Any
    order: str


class Subscription:
    """What comes to a topic from now on."""

    def __init__(self, here: Deployment, name: str) -> None:
        self._here, self._name = here, name

    def take(self) -> list[Message]:
        """What has come since, acknowledged."""
        subscriber, request = self._here.cloud.subscriber, {"subscription": self._name, "max_messages": 100}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The return_immediately flag is deprecated")
            received = subscriber.pull(request={**request, "return_immediately": True}).received_messages
        if received:
            ids = [each.ack_id for each in received]
            subscriber.acknowledge(request={"subscription": self._name, "ack_ids": ids})
        return [
            judged(Message(dict(each.attributes), json.loads(each.data) if each.data else None, each.ordering_key))
            for each in (each.message for each in received)
        ]


@contextmanager
def subscribed(here: Deployment, topic: str, name: str = "listener") -> Iterator[Subscription]:
    """A subscription of the topic that gets what has an order in that order."""
    subscriber, subscription = here.cloud.subscriber, f"projects/{here.project}/subscriptions/{name}"
    request = {"name": subscription, "topic": topic, "enable_message_ordering": True}
    subscriber.create_subscription(request=request)
    try:
        yield Subscription(here, subscription)
    finally:
        subscriber.delete_subscription(subscription=subscription)


def judged(message: Message) -> Message:
    """The message, which is as its schema says."""
    whole = {"attributes": message.attributes} | ({} if message.data is None else {"data": message.data})
    schema = json.loads((ROOT / "docs" / "schemas" / SCHEMAS[message.attributes["ce-type"]]).read_bytes())
    jsonschema.Draft202012Validator(schema).validate(whole)
    return message
