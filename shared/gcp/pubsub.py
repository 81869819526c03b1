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
        from google.cloud.pubsub_v1.types import PublisherOptions

        return PublisherClient(PublisherOptions(enable_message_ordering=True))

    def publish(self, topic: str, attributes: Mapping[str, str], data: bytes = b"", *, order: str = "") -> None:
        """Send a message and return once it is stored. Messages of one `order` reach a subscription that asks for it in
        the order in which they were stored (https://cloud.google.com/pubsub/docs/ordering).

        Raises RetryableError whatever goes wrong: a message that is owed stays owed until Pub/Sub takes it.
        """
        doing, path = f"publishing to {topic}", self._client.topic_path(self._project, topic)
        try:
            with translated(doing):
                sent = self._client.publish(path, data, ordering_key=order, **attributes)
                sent.result(timeout=PUBLISH_TIMEOUT)
        except FutureTimeout as e:
            raise RetryableError("Pub/Sub did not take the message in time", where=doing) from e
        except PermanentError as e:
            remedy = "Check the name of the topic in the environment, and the topic's roles"
            raise ConfigurationError(e.what, where=doing, remedy=remedy) from e
        finally:
            if order:
                # After a failure, the client sends nothing more of that order before it is told to.
                self._client.resume_publish(path, order)
