"""Pub/Sub: publish and know that the service took it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError, PermanentError
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

    def publish(self, topic: str, attributes: Mapping[str, str], data: bytes = b"", order: str = "") -> None:
        """Send a message and return once it is stored. A subscription that asks for it gets messages of one `order` in
        the order in which they were stored (https://cloud.google.com/pubsub/docs/ordering).

        Raises RetryableError whatever goes wrong: a message that is owed stays owed until Pub/Sub takes it.
        """
        from google.api_core.retry import Retry
        from google.cloud.pubsub_v1.publisher import Client
        from google.cloud.pubsub_v1.types import PubsubMessage

        doing = f"publishing to {topic}"
        try:
            with translated(doing):
                # The library's own `publish` sends from a thread, where it tries for ever what has an order.
                super(Client, self._client).publish(  # type: ignore[misc]
                    topic=self._client.topic_path(self._project, topic),
                    messages=[PubsubMessage(data=data, attributes=dict(attributes), ordering_key=order)],
                    retry=Retry(initial=0.1, timeout=PUBLISH_TIMEOUT),
                    timeout=PUBLISH_TIMEOUT,
                )
        except PermanentError as e:
            remedy = "Check the name of the topic in the environment, and the topic's roles"
            raise ConfigurationError(e.what, where=doing, remedy=remedy) from e
