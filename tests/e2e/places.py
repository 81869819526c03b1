"""Where the paths are tested: in the emulated cloud, or in the real project that a run has made. What differs is how
the functions are called, how the page is asked for, and how long things take.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit.background import wait_for

if TYPE_CHECKING:
    from google.cloud.bigquery import Client as BigQueryClient
    from google.cloud.storage import Client as StorageClient

    from local.cloud import Deployment

#: What `terraform output -json deployment` printed; set by tests/e2e/run.py.
DEPLOYMENT = "RECOSYNC_E2E_DEPLOYMENT"
ADMINISTRATOR = "RECOSYNC_E2E_ADMINISTRATOR_URL"


@dataclass
class Emulated:
    """A deployment of the emulated cloud."""

    here: Deployment

    @property
    def env(self) -> Mapping[str, str]:
        return self.here.env

    @property
    def dsn(self) -> str:
        return self.here.dsn

    @property
    def administrator(self) -> str:
        return self.here.cloud.postgres.dsn(self.here.name, "administrator")

    @property
    def bigquery_client(self) -> BigQueryClient:
        return self.here.bigquery_client

    @property
    def storage_client(self) -> StorageClient:
        return self.here.storage_client

    @property
    def doctors_options(self) -> tuple[str, ...]:
        """There is neither a function's state nor a Scheduler job to look at."""
        return ()

    def call(self, function: str) -> None:
        """As its Scheduler job does."""
        self.here.call(function, {}, {"X-CloudScheduler-ScheduleTime": datetime.now(UTC).isoformat()})

    def page(self) -> Any:
        """What the status page says, as JSON."""
        with urllib.request.urlopen(f"{self.here.url('status')}?format=json", timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def wait(self, condition: Callable[[], object]) -> None:
        wait_for(condition, 60)

    def wait_until_tried(self) -> None:
        """Until an event was refused."""
        wait_for(lambda: any(delivery.status == 503 for delivery in self.here.eventarc.deliveries))


class Real:
    """What a run has made, as the environment describes it. The functions take calls from inside Google Cloud alone, so
    Cloud Scheduler makes them.
    """

    def __init__(self) -> None:
        self.env, self.dsn, self.administrator = os.environ, os.environ["DATABASE_URL"], os.environ[ADMINISTRATOR]
        self._deployed = json.loads(Path(os.environ[DEPLOYMENT]).read_text())
        self.doctors_options = ("--deployment", os.environ[DEPLOYMENT])

    @cached_property
    def bigquery_client(self) -> BigQueryClient:
        from google.cloud.bigquery import Client

        return Client(self._deployed["project"])

    @cached_property
    def storage_client(self) -> StorageClient:
        from google.cloud.storage import Client

        return Client(self._deployed["project"])

    def call(self, function: str) -> None:
        (job,) = [job["name"] for job in self._deployed["schedules"] if job["function"] == function]
        place = (f"--project={self._deployed['project']}", f"--location={self._deployed['region']}")
        subprocess.run(["gcloud", "scheduler", "jobs", "run", job, *place], check=True)

    def page(self) -> Any:
        token = ["gcloud", "auth", "print-identity-token"]
        said = subprocess.run(token, check=True, capture_output=True, text=True).stdout.strip()
        url = f"{self._deployed['functions']['status']['uri']}?format=json"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {said}"})  # noqa: S310 - of the deployment
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.load(answer)

    def wait(self, condition: Callable[[], object]) -> None:
        """A function starts, and an event that was refused comes again, within minutes."""
        deadline = time.monotonic() + 900
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(5)

    def wait_until_tried(self) -> None:
        """Nobody tells of a try. An event comes within seconds."""
        time.sleep(60)


type Place = Emulated | Real
