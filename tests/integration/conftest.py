"""Fixtures of the tests of the hourly flow."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local.cloud import Cloud
    from tests.kit.logs import Log


@pytest.fixture(scope="module")
def project(
    cloud: "Cloud", request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Log"]:
    """A project that the tests of a module use one after the other."""
    from tests.kit.logs import place

    name = request.path.stem.removeprefix("test_").replace("_", "-")
    with place(cloud, f"{name}-project", tmp_path_factory.mktemp("catalog"), "") as log:
        yield log


@pytest.fixture
def log(project: "Log") -> "Log":
    """The API's log, empty, and nothing in Cloud Storage and BigQuery."""
    from local import context

    log = replace(project)
    log.errors.clear()
    for blob in log.here.storage_client.list_blobs(log.here.hourly_bucket):
        blob.delete()
    for table in log.here.bigquery_client.list_tables("raw_local"):
        log.here.bigquery_client.delete_table(table)
    log.database.execute("RESET ALL; DROP TABLE IF EXISTS past_offer_context CASCADE")
    context.create(log.here.dsn)
    return log
