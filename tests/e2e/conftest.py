"""The system under test, deployed on the emulated cloud."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local.cloud import Cloud, Deployment
    from tests.e2e.system import System

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
def emulated(cloud: Cloud) -> Iterator[Deployment]:
    """Functions of one's own on the emulated cloud."""
    from local.roles import granted

    name = next(_names)
    url = cloud.postgres.dsn(name).replace(":recosync@", f":{PASSWORD}@")
    with cloud.deploy(name, env={"DATABASE_URL": url}, granted=granted()) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def system(emulated: Deployment) -> System:
    from tests.e2e.system import System

    return System(emulated.bigquery_client, emulated.env, emulated.dsn, emulated.url("bq_export"))
