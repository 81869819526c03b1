"""What a test may do to the PostgreSQL server that it runs on."""

import pytest

from local.prerequisites import postgres_url

#: A mark of tests that stop the server.
stops_the_server = pytest.mark.skipif(
    postgres_url() is not None, reason="the server that POSTGRES names is not stopped"
)
