"""The system under test: deployed on the emulated cloud, or the real one that the environment describes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local.cloud import Cloud, Deployment
    from tests.e2e.system import System

#: Set, it is the address of a deployed bq_export, and the tests run against its project.
REAL = "RECOSYNC_E2E_BQ_EXPORT_URL"

#: In the database's URL of the emulated functions: it must never be seen anywhere else.
PASSWORD = "pa55-of-the-loader"

_names = (f"e2e{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def days() -> Iterator[int]:
    """Days to run the job of, each later than those before it: no event publishes what is older than the published."""
    return itertools.count(1)


@pytest.fixture
def day(days: Iterator[int]) -> int:
    return next(days)


@pytest.fixture(scope="module")
def emulated(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """Functions of one's own on the emulated cloud. What needs them can't be asked of a real project."""
    if REAL in os.environ:
        pytest.skip(f"{REAL} is set, and faults can only be made in the emulated cloud")
    from local.roles import granted

    cloud: Cloud = request.getfixturevalue("cloud")
    name = next(_names)
    url = cloud.postgres.dsn(name).replace(":recosync@", f":{PASSWORD}@")
    with cloud.deploy(name, env={"DATABASE_URL": url}, granted=granted()) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest) -> System:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client

    from tests.e2e.system import CATALOG, System

    if REAL not in os.environ:
        here: Deployment = request.getfixturevalue("emulated")
        return System(here.bigquery_client, here.env, here.dsn, here.url("bq_export"), emulated=here)
    # With `make local` as the real project, these tests are tried without one.
    credentials = AnonymousCredentials() if "BIGQUERY_EMULATOR_HOST" in os.environ else None
    return System(
        bigquery=Client(os.environ["GCP_PROJECT_ID"], credentials),
        datasets={name: os.environ[name] for name in CATALOG.dataset_variables},
        dsn=os.environ["DATABASE_URL"],
        url=os.environ[REAL],
        token=os.environ.get("RECOSYNC_E2E_ID_TOKEN", ""),
    )
