"""Pub/Sub: publish and know that the service took it."""

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cached_property
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError, PermanentError, RetryableError
from shared.gcp.errors import translated

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

#: Seconds after which a message that Pub/Sub has not taken counts as not sent. The outbox sends it again.
PUBLISH_TIMEOUT = 30


class Publisher:
    """One client, made on first use."""

    def __init__(self, project: str) -> None:
        self._project = project

    @cached_property
    def _client(self) -> "PublisherClient":
        from google.cloud.pubsub_v1 import PublisherClient

        return PublisherClient()

    def publish(self, topic: str, attributes: Mapping[str, str]) -> None:
        """Send a message with an empty body and return once it is stored.

        Raises RetryableError whatever goes wrong: a message that is owed stays owed until Pub/Sub takes it.
        """
        doing = f"publishing to {topic}"
        try:
            with translated(doing):
                sent = self._client.publish(self._client.topic_path(self._project, topic), b"", **attributes)
                sent.result(timeout=PUBLISH_TIMEOUT)
        except FutureTimeout as e:
            raise RetryableError("Pub/Sub did not take the message in time", where=doing) from e
        except PermanentError as e:
            raise ConfigurationError(e.what, where=doing, remedy="Check COMPLETION_TOPIC and its roles") from e
