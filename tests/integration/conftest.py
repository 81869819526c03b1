"""Fixtures of the tests of the hourly flow."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from local.cloud import Deployment
    from tests.hourly import Log


@pytest.fixture
def log(here: "Deployment", database: psycopg.Connection) -> Iterator["Log"]:
    """The API's log, empty."""
    from tests.hourly import open_log

    with open_log(here, database) as log:
        yield log
