"""The emulated Pub/Sub refuses what Google's does, where the emulator alone would not."""

from __future__ import annotations

import os

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import PublishRequest, PubsubMessage

from local import pubsub_rules

ATTRIBUTES = {"table": "offers", "snapshot_id": "20260101T000000Z", "publication": "1"}


@pytest.fixture
def publisher(here):
    """A client as the functions have it."""
    return PublisherClient()


def test_a_completion_message_is_taken(publisher, here):
    assert publisher.publish(here.topic, b"", **ATTRIBUTES).result(timeout=30)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({}, "empty"),
        ({"googclient_table": "offers"}, "can't be called 'googclient_table'"),
        ({"": "offers"}, "can't be called ''"),
        ({"é" * 129: "offers"}, "key of an attribute is too long"),
        ({"table": "é" * 513}, "value of table is too long"),
        ({f"a{number}": "" for number in range(101)}, "101 attributes"),
    ],
    ids=["nothing", "Google's name", "no name", "long key", "long value", "many"],
)
def test_attributes_have_limits(publisher, here, attributes, told):
    with pytest.raises(InvalidArgument, match=told):
        publisher.publish(here.topic, b"", **attributes).result(timeout=30)


def test_what_is_at_the_limits_is_taken(publisher, here):
    attributes = {f"{number:03}{'k' * 253}": "v" * 1024 for number in range(100)}
    assert publisher.publish(here.topic, b"", **attributes).result(timeout=30)


def test_the_emulators_own_refusals_come_through(publisher, here):
    with pytest.raises(NotFound):
        publisher.publish(f"{here.topic}-of-nobody", b"", **ATTRIBUTES).result(timeout=30)


def message(**fields):
    return PubsubMessage(attributes=ATTRIBUTES, **fields)


@pytest.mark.parametrize(
    ("topic", "messages", "told"),
    [
        ("projects/p/topics/google-published", [message()], "Invalid resource name"),
        ("projects/p/topics/1st", [message()], "Invalid resource name"),
        ("projects/p/topics/ab", [message()], "Invalid resource name"),
        (f"projects/p/topics/{'a' * 256}", [message()], "Invalid resource name"),
        ("projects/p/subscriptions/published", [message()], "Invalid resource name"),
        ("projects/p/topics/published", [], "0 messages"),
        ("projects/p/topics/published", [message()] * 1001, "1001 messages"),
        ("projects/p/topics/published", [message(data=b"a" * 10_000_000)], "too large"),
        ("projects/p/topics/published", [message(message_id="1")], "for answers only"),
        ("projects/p/topics/published", [message(ordering_key="k" * 1025)], "ordering key"),
    ],
)
def test_a_request_has_limits(topic, messages, told):
    with pytest.raises(pubsub_rules.RefusedError, match=told):
        pubsub_rules.check(PublishRequest(topic=topic, messages=messages))


def test_functions_and_commands_have_no_other_way_to_it(cloud, here):
    assert os.environ["PUBSUB_EMULATOR_HOST"] == cloud.pubsub_front.host != cloud.pubsub.host
