"""Eventarc on loopback: turns Pub/Sub messages into the CloudEvents that functions get, and faults to order.

A function answers each event; what is no success goes back to Pub/Sub, which delivers it again. An instance of a
function gets one event at a time, as deployed ones do. Messages are pulled, not pushed: the emulator pushes at most
two at once. `faults` makes it lose, double, delay or hold events; `deliveries` tells what was delivered, and how
it ended.
"""

import base64
import http.client
import json
import queue
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

_FIRST_BACKOFF = 0.2
_WAIT_FOR_INSTANCE = 10.0
_REQUEST_TIMEOUT = 600.0
_AT_ONCE = 32
_FLOW = FlowControl(max_messages=10_000)


@dataclass(frozen=True)
class CloudEvent:
    """An event as it travels: attributes in HTTP headers, data in the body."""

    id: str
    type: str
    source: str
    time: str
    data: Mapping[str, object]
    subject: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        attributes = {"id": self.id, "type": self.type, "source": self.source, "time": self.time}
        if self.subject is not None:
            attributes["subject"] = urllib.parse.quote(self.subject, safe="/:@!$&'()*+,;=~")
        attributes |= {"specversion": "1.0", **self.extensions}
        return {"content-type": "application/json"} | {f"ce-{name}": value for name, value in attributes.items()}


ToEvent = Callable[[Message], CloudEvent | None]


def storage_events(bucket: str) -> ToEvent:
    """Cloud Storage's notifications of one bucket's finished objects; others are not for this trigger."""

    def to_event(message: Message) -> CloudEvent | None:
        attributes = message.attributes
        if attributes["eventType"] != "OBJECT_FINALIZE" or attributes["bucketId"] != bucket:
            return None
        # The emulator's notification lacks these.
        made = json.loads(message.data).get("timeCreated", "")
        defaults = {"metageneration": "1", "etag": "", "timeStorageClassUpdated": made, "storageClass": "STANDARD"}
        return CloudEvent(
            id=message.message_id,
            type="google.cloud.storage.object.v1.finalized",
            source=f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            subject=f"objects/{attributes['objectId']}",
            time=_rfc3339(message),
            data=defaults | json.loads(message.data),
            extensions={"bucket": bucket},
        )

    return to_event


def topic_events(topic: str, subscription: str) -> ToEvent:
    """Every message of a topic, wrapped as Eventarc does."""

    def to_event(message: Message) -> CloudEvent:
        sent: dict[str, object] = {"attributes": dict(message.attributes)}
        # Both spellings, and no data at all when it is empty: as Google's are.
        sent |= {"messageId": message.message_id, "message_id": message.message_id}
        sent |= {"publishTime": _rfc3339(message), "publish_time": _rfc3339(message)}
        if message.data:
            sent["data"] = base64.b64encode(message.data).decode()
        return CloudEvent(
            id=message.message_id,
            type="google.cloud.pubsub.topic.v1.messagePublished",
            source=f"//pubsub.googleapis.com/{topic}",
            time=_rfc3339(message),
            data={"message": sent, "subscription": subscription},
        )

    return to_event


def _rfc3339(message: Message) -> str:
    return f"{message.publish_time:%Y-%m-%dT%H:%M:%S.%fZ}"


@dataclass
class Faults:
    """What goes wrong between Pub/Sub and the functions. The defaults are a good day."""

    copies: int = 1
    """How often each event is delivered, all copies at once."""
    drop: Callable[[CloudEvent], bool] = lambda _: False
    """Acknowledged and never delivered."""
    delay: Callable[[CloudEvent], float] = lambda _: 0
    """Seconds from the message to its delivery."""
    hold: Callable[[CloudEvent], bool] = lambda _: False
    """Kept back until `Eventarc.release`."""


@dataclass(frozen=True)
class Delivery:
    """One request to a function, and how it ended: 429 is no free instance, 503 also no connection."""

    function: str
    event: CloudEvent
    status: int
    seconds: float


@dataclass(frozen=True)
class _Arrival:
    function: str
    event: CloudEvent
    message: Message


class Eventarc:
    """The triggers of one deployment."""

    def __init__(self, subscriber: SubscriberClient) -> None:
        self.faults = Faults()
        #: Seconds until what failed comes again, at most.
        self.longest_backoff = 5.0
        self.deliveries: list[Delivery] = []
        self._subscriber = subscriber
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="eventarc")
        self._pulls: list[StreamingPullFuture] = []
        self._instances: dict[str, queue.SimpleQueue[str]] = {}
        self._held: list[_Arrival] = []
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open, self._last_change = 0, time.monotonic()
        self._handed_back: set[tuple[str, str]] = set()

    def connect(self, function: str, urls: Sequence[str], subscription: str, to_event: ToEvent) -> None:
        """Send what arrives on a subscription to a function, at its instances' addresses."""
        self._instances[function] = queue.SimpleQueue()
        for url in urls:
            self._instances[function].put(url)

        def receive(message: Message) -> None:
            event = to_event(message)
            dropped = event is None or self.faults.drop(event)
            if not dropped:
                self._count(1)
            self._handed_back.discard((function, message.message_id))
            if event is None or dropped:
                message.ack()
                return
            time.sleep(self.faults.delay(event))
            arrival = _Arrival(function, event, message)
            if self.faults.hold(event):
                self._held.append(arrival)
            else:
                self._settle(arrival)

        scheduler = ThreadScheduler(self._pool)
        self._pulls.append(self._subscriber.subscribe(subscription, receive, _FLOW, scheduler))

    def deliver(self, function: str, event: CloudEvent) -> int:
        """Send an event to the first free instance of a function; its status."""
        started = time.monotonic()
        instances = self._instances[function]
        try:
            url = instances.get(timeout=_WAIT_FOR_INSTANCE)
        except queue.Empty:
            status = 429
        else:
            try:
                status = _post(url, event)
            finally:
                instances.put(url)
        self.deliveries.append(Delivery(function, event, status, time.monotonic() - started))
        return status

    def held(self) -> list[CloudEvent]:
        """The events kept back, as they came."""
        return [arrival.event for arrival in self._held]

    def release(self, order: Callable[[list[CloudEvent]], list[CloudEvent]] = list) -> None:
        """Deliver what was held, one after the other in the order that `order` makes of it."""
        arrivals, self._held = {id(arrival.event): arrival for arrival in self._held}, []
        for event in order([arrival.event for arrival in arrivals.values()]):
            self._settle(arrivals[id(event)])

    def wait_idle(self, seconds: float = 60, quiet: float = 0.5) -> None:
        """Return when nothing has been under way for `quiet` seconds; raise TimeoutError if that never comes."""
        called = time.monotonic()
        while self._open or self._handed_back or time.monotonic() - max(called, self._last_change) < quiet:
            if time.monotonic() > called + seconds:
                under_way = self._open + len(self._handed_back)
                raise TimeoutError(f"{under_way} events are still under way after {seconds} s")
            time.sleep(0.02)

    def close(self) -> None:
        for pull in self._pulls:
            pull.cancel()
        for pull in self._pulls:
            with suppress(TimeoutError):  # nothing that may not end is worth a test's time
                pull.result(30)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _settle(self, arrival: _Arrival) -> None:
        """Deliver, and tell Pub/Sub: done, or again after a while."""
        copies = self.faults.copies
        if copies == 1:
            status = self.deliver(arrival.function, arrival.event)
        else:
            with ThreadPoolExecutor(copies) as pool:
                status = max(pool.map(self.deliver, [arrival.function] * copies, [arrival.event] * copies))
        if status < 300:
            arrival.message.ack()
            self._count(-1)
            return
        # The emulator ignores the retry policy of a subscription that is pulled from.
        backoff = min(self.longest_backoff, _FIRST_BACKOFF * 2 ** self._attempts[arrival.event.id])
        self._attempts[arrival.event.id] += 1
        timer = threading.Timer(backoff, self._hand_back, [arrival])
        timer.daemon = True
        timer.start()

    def _hand_back(self, arrival: _Arrival) -> None:
        # It is under way until it comes again, however long Pub/Sub takes for that.
        self._handed_back.add((arrival.function, arrival.message.message_id))
        arrival.message.nack()
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change
            self._last_change = time.monotonic()


def _post(url: str, event: CloudEvent) -> int:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=_REQUEST_TIMEOUT)
    try:
        connection.request("POST", "/", json.dumps(event.data), event.headers())
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 503
    finally:
        connection.close()
