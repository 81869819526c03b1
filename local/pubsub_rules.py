"""What Pub/Sub refuses to publish, and its emulator lets pass: each rule with the page of Google's that has it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.cloud.pubsub_v1.types import PublishRequest, PubsubMessage

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_TOPIC = re.compile(r"projects/[^/]+/topics/(?!goog)[A-Za-z][A-Za-z0-9._~%+-]{2,254}")
# https://cloud.google.com/pubsub/quotas#resource_limits: of a request, of a message, of an attribute
_MOST_MESSAGES, _LARGEST = 1_000, 10_000_000
_MOST_ATTRIBUTES, _LONGEST_KEY, _LONGEST_VALUE, _LONGEST_ORDERING_KEY = 100, 256, 1_024, 1_024


class RefusedError(Exception):
    """What the service would say with INVALID_ARGUMENT."""


def check(request: PublishRequest) -> None:
    """Raise RefusedError for a request that the service refuses."""
    if not _TOPIC.fullmatch(request.topic):
        raise RefusedError(f"Invalid resource name given (name={request.topic})")
    messages: Sequence[PubsubMessage] = request.messages
    if not 0 < len(messages) <= _MOST_MESSAGES:
        raise RefusedError(f"The request has {len(messages)} messages: 1 to {_MOST_MESSAGES} are allowed")
    if PublishRequest.pb(request).ByteSize() > _LARGEST:
        raise RefusedError(f"The request is too large: at most {_LARGEST} bytes")
    for message in messages:
        _check(message)


def _check(message: PubsubMessage) -> None:
    """By https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage."""
    if not message.data and not message.attributes:
        raise RefusedError("Some messages in the batch are empty: a message has data or an attribute")
    if message.message_id or message.publish_time:
        raise RefusedError("messageId and publishTime are for answers only")
    if len(message.ordering_key.encode()) > _LONGEST_ORDERING_KEY:
        raise RefusedError(f"The ordering key is too long: at most {_LONGEST_ORDERING_KEY} bytes")
    if len(message.attributes) > _MOST_ATTRIBUTES:
        raise RefusedError(f"The message has {len(message.attributes)} attributes: at most {_MOST_ATTRIBUTES}")
    for key, value in message.attributes.items():
        # https://cloud.google.com/pubsub/docs/publisher#using-attributes
        if not key or key.startswith("goog"):
            raise RefusedError(f"An attribute can't be called {key!r}")
        if len(key.encode()) > _LONGEST_KEY:
            raise RefusedError(f"The key of an attribute is too long: at most {_LONGEST_KEY} bytes")
        if len(value.encode()) > _LONGEST_VALUE:
            raise RefusedError(f"The value of {key} is too long: at most {_LONGEST_VALUE} bytes")
