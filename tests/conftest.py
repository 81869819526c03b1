"""Fixtures: one emulated cloud per run, made when a test first asks; a project and a database of its own per test."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from local.prerequisites import MissingError, postgres_bin, postgres_url
from shared.catalog import FOLDER_VARIABLE
from tests.kit.log_lines import LogLines
from tests.kit.shares import left_out

if TYPE_CHECKING:
    from local.cloud import Cloud, Deployment
    from shared.services import Services

# The tests have a catalog of their own: what is deployed may be edited, and none of them minds. Modules read it as they
# are collected, and processes that tests start inherit it.
os.environ[FOLDER_VARIABLE] = str(Path(__file__).parent / "catalog")

_names = (f"t{number}" for number in itertools.count())
_log_lines = pytest.StashKey[LogLines]()

# Nothing is timed in tests: a machine may be busy. Examples may share the database of their test.
settings.register_profile(
    "recosync", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("recosync")

#: Where the longest tests are comes first, so that no worker is left alone with one of them in the end.
PLACES = ("integration/test_readers.py", "e2e", "terraform", "integration", "browser", "unit")


def pytest_report_header() -> str:
    """The server that the tests use."""
    if url := postgres_url():
        return f"server: {urlsplit(url).hostname}, which POSTGRES names"
    try:
        version = subprocess.run([postgres_bin() / "postgres", "--version"], capture_output=True, text=True).stdout
    except MissingError as missing:
        version = str(missing)
    return f"server: {version.strip()}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=float, default=1, help="how much of each long matrix of tests is run")
    parser.addoption("--odd-files", type=int, default=100, help="how many odd files are tried")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rows = [item.nodeid for item in items if item.get_closest_marker("matrix")]
    left = left_out(rows, config.getoption("share"), config.getoption("randomly_seed", 0))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left])
    items[:] = [item for item in items if item.nodeid not in left]
    order = {f"tests/{place}": number for number, place in enumerate(PLACES)}
    items.sort(key=lambda item: next((n for start, n in order.items() if item.nodeid.startswith(start)), len(order)))


class ByModule(LoadScopeScheduling):
    """The tests of a module stay together, for what they share; and those of Terraform, for their plan."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "tests/terraform" if module.startswith("tests/terraform/") else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByModule:
    return ByModule(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_log_lines] = LogLines()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Told(config))


class _Told:
    """Tells of a failure when it happens: a run that is ended from outside has no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self._config.get_terminal_writer()
            terminal.line(f"\n{report.nodeid} failed ({report.when}): {report.longreprtext}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[_log_lines].begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Half a surrogate pair, which a test may have logged, can't be sent by a worker.
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    if report.failed:
        report.sections.extend(item.config.stash[_log_lines].sections())
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason why something is not tested."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, tests in reasons.items():
        terminalreporter.write_line(f"{tests} SKIPPED: {reason.removeprefix('Skipped: ')}", yellow=True, bold=True)


@pytest.fixture(autouse=True)
def product_log() -> Iterator[None]:
    """The product's logger as it was: a command configures it for good, with the output that it has then."""
    logger = logging.getLogger("recosync")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate, logger.level = before


@pytest.fixture(scope="session")
def cloud(pytestconfig: pytest.Config) -> Iterator[Cloud]:
    """The emulators and a PostgreSQL cluster. Parts are small, so that a few thousand rows make several."""
    import requests

    from local.cloud import Cloud
    from local.functions import WARM
    from shared import services
    from shared.gcp.parquet import Parquet
    from shared.gcp.storage import Storage
    from shared.gcp.tokens import NoToken

    with Cloud(rows_per_part=1_000, runtime=WARM, in_memory=True) as cloud, pytest.MonkeyPatch.context() as once:
        pytestconfig.stash[_log_lines].folder = cloud.folder
        parquet = Parquet(cloud.storage.url, NoToken(), Storage("nobodys"))

        def warm(_: object, storage: Storage) -> Parquet:
            parquet.objects.storage = storage
            return parquet

        send = requests.Session.send

        def judged(
            session: requests.Session, request: requests.PreparedRequest, **options: object
        ) -> requests.Response:
            if (request.url or "").startswith(cloud.storage.url):
                body = request.body if isinstance(request.body, bytes | str) else b""
                cloud.storage.check(
                    request.method or "", request.url or "", body.encode() if isinstance(body, str) else body
                )
            return send(session, request, **options)

        # As in a warm instance, DuckDB loads its extension once.
        once.setattr(services, "_parquet", warm)
        # What this process sends to Cloud Storage is judged before it is sent, as the emulator can't be made to.
        once.setattr(requests.Session, "send", judged)
        yield cloud
        assert cloud.storage.refused() == []


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
