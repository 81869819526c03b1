"""Airflow beside the emulated cloud: `nox -s airflow` names the Python that has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.catalog import ROOT

if TYPE_CHECKING:
    from local.cloud import Deployment
    from local.proxy import Proxy
    from tests.e2e.system import System

PYTHON = os.environ.get("RECOSYNC_AIRFLOW_PYTHON", "")
HERE = Path(__file__).parent

collect_ignore = [] if PYTHON else ["test_dags.py"]

DAILY, HOURLY = "sync_bq_to_cloudsql_recommendation_tables", "export_cloudsql_tables_to_bigquery_hourly"


@dataclass
class Ran:
    """What became of a run: its tasks with state and number of tries, and the asset events that it emitted."""

    state: str
    tasks: dict[str, tuple[str, int]]
    returned: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    queued: list[str]
    log: str

    def updates(self, asset: str) -> list[dict[str, Any]]:
        return [extra for uri, extra in self.events if uri == f"recosync://{asset}"]


@dataclass
class Airflow:
    """An installation with the DAGs of the documents, a catalog's terraform.json, and a neighbour's DAGs."""

    home: Path
    env: dict[str, str]
    gates: dict[str, Proxy]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def run(self, dag: str, at: datetime) -> Ran:
        result = self.home / "result.json"
        log = self.python(str(HERE / "drive.py"), dag, at.isoformat(), str(result))
        found = json.loads(result.read_text())
        known, self.events = self.events, found.pop("events")
        tasks = {name: tuple(became) for name, became in found.pop("tasks").items()}
        return Ran(**found, tasks=tasks, events=self.events[len(known) :], log=log)

    def python(self, *arguments: str) -> str:
        ran = subprocess.run([PYTHON, *arguments], env=self.env, cwd=self.home, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def deployed(cloud) -> Iterator[Deployment]:
    from local import context

    # The log begins eight hours ago, and a call takes three hours.
    start = f"{datetime.now(UTC) - timedelta(hours=8):%Y%m%dT%H}"
    with cloud.deploy("airflow", env={"HOURLY_START": start, "HOURLY_MAX_HOURS": "3"}) as deployment:
        context.create(deployment.dsn)
        yield deployment


@pytest.fixture(scope="module")
def system(deployed: Deployment) -> System:
    from tests.e2e.system import System

    return System(deployed.bigquery_client, deployed.env, deployed.dsn, deployed.url("bq_export"))


@pytest.fixture(scope="module")
def airflow(deployed: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    from tests.airflow.gates import gate, google

    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(ROOT / "docs" / "airflow", dags, ignore=shutil.ignore_patterns("*.md", "__pycache__"))
    shutil.copy(ROOT / "tests" / "catalog" / "terraform.json", dags)
    shutil.copy(HERE / "consumer.py", dags)
    with ExitStack() as stack:
        stack.enter_context(google()).write_key(home / "key.json")
        functions = ("bq_export", "hourly_export", "status")
        gates = {name: stack.enter_context(gate(deployed.url(name))) for name in functions}
        connections = {
            f"AIRFLOW_CONN_RECOSYNC_{name.upper()}": json.dumps({"conn_type": "http", "host": proxy.url})
            for name, proxy in gates.items()
        }
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "GOOGLE_APPLICATION_CREDENTIALS": str(home / "key.json"),
            **connections,
        }
        here = Airflow(home, env, gates)
        here.python("-m", "airflow", "db", "migrate")
        yield here
