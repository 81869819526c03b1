"""Pub/Sub on loopback: Google's emulator, a jar that comes with the Google Cloud SDK."""

from pathlib import Path

from local.prerequisites import java, pubsub_jar
from local.process import Process, answers, free_port


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
