"""What a test may do to the PostgreSQL server that it runs on."""

import pytest

from local.prerequisites import postgres_url

#: A mark of tests whose URLs leave out the password, or name another.
needs_no_password = pytest.mark.skipif(postgres_url() is not None, reason="the server of POSTGRES may ask for one")

#: A mark of tests that stop the server.
stops_the_server = pytest.mark.skipif(postgres_url() is not None, reason="the server of POSTGRES is not stopped")
