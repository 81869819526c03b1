"""Pub/Sub on loopback: Google's emulator, a jar that comes with the Google Cloud SDK, and what stands before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.cloud.pubsub_v1.types import PublishRequest

from local import pubsub_rules
from local.prerequisites import java, pubsub_jar
from local.process import Process, answers, free_port

_PUBLISH = "/google.pubsub.v1.Publisher/Publish"
_STREAMED = "/google.pubsub.v1.Subscriber/StreamingPull"
_THREADS = 32

type Judge = Callable[[PublishRequest], tuple[grpc.StatusCode, str] | None]
"""Why a request is refused, if it is."""


class PubSub(Process):
    """Topics and subscriptions in memory, with redelivery."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        flags = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command: list[str | Path] = [java(), *flags, "-jar", pubsub_jar(), "--host=127.0.0.1", f"--port={self.port}"]
        super().__init__("Pub/Sub", command, folder / "pubsub.log")

    def ready(self) -> None:
        self.wait_ready(lambda: answers(f"http://{self.host}/"))


def by_rules(request: PublishRequest) -> tuple[grpc.StatusCode, str] | None:
    """What the service refuses whoever asks."""
    try:
        pubsub_rules.check(request)
    except pubsub_rules.RefusedError as refusal:
        return grpc.StatusCode.INVALID_ARGUMENT, str(refusal)
    return None


class Front:
    """A place before Pub/Sub, on a loopback port of its own: it hands on every call but a publish that is refused."""

    def __init__(self, upstream: str, *judges: Judge) -> None:
        self._channel = grpc.insecure_channel(upstream)
        self._judges = judges
        self._server = grpc.server(ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Calls(self),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait(10)
        self._channel.close()

    def call(self, method: str, request: bytes, context: Any) -> bytes:
        if method == _PUBLISH:
            asked = PublishRequest.deserialize(request)
            for refusal in filter(None, (judge(asked) for judge in self._judges)):
                context.abort(*refusal)
        try:
            answer: bytes = self._channel.unary_unary(method)(request, timeout=context.time_remaining())
        except grpc.RpcError as e:
            context.abort(e.code(), e.details())
        return answer

    def stream(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        answers = self._channel.stream_stream(_STREAMED)(requests)
        context.add_callback(answers.cancel)
        try:
            yield from answers
        except grpc.RpcError as e:
            context.abort(e.code(), e.details())


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every method there is, its messages as bytes."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def service(self, details: Any) -> Any:
        if details.method == _STREAMED:
            return grpc.stream_stream_rpc_method_handler(self._front.stream)
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._front.call(details.method, request, context)
        )
