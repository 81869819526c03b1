"""Fixtures: one emulated cloud per run, made when a test first asks; a project and a database of its own per test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from local.cloud import Cloud, Deployment
    from shared.services import Services

_names = (f"t{number}" for number in itertools.count())


def pytest_report_header() -> str:
    server = shutil.which("postgres") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
    version = subprocess.run([str(server), "--version"], capture_output=True, text=True).stdout if server else "none"
    return f"server: {version.strip()}"


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The emulators and a PostgreSQL cluster. Parts are small, so that a few thousand rows make several."""
    from local.cloud import Cloud

    with Cloud(rows_per_part=1_000) as cloud:
        yield cloud


@pytest.fixture
def here(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A project without function processes, with this process's environment set as theirs would be."""
    with cloud.deploy(next(_names), functions={}) as deployment:
        for name, value in deployment.env.items():
            monkeypatch.setenv(name, value)
        yield deployment


@pytest.fixture
def services(here: Deployment) -> Services:
    """The product's own services, on the test's project."""
    from shared.services import Services

    return Services.from_environment(os.environ)


@pytest.fixture
def database(here: Deployment) -> Iterator[psycopg.Connection]:
    """An autocommit connection as the loader's role."""
    with psycopg.connect(here.dsn, autocommit=True) as connection:
        yield connection
