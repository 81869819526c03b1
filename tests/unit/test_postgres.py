"""Connecting, as far as no server is needed."""

import json
import traceback

import psycopg.conninfo
import pytest

from shared import log
from shared.db.postgres import connect, conninfo
from shared.errors import ConfigurationError
from tests.unit.test_settings import read


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://loader:hunter2%@db.example/reco", "is malformed. Escape"),
        ("postgresql://[hunter2", "is malformed. Escape"),
        ("postgresql://loader:hunter2@db.example/reco?strange=hunter2", "does not know: strange. Take it out"),
        ("postgresql://loader:hunter2@db.example", "names no database"),
        ("postgresql://loader:1/?hunter2=3@db.example/reco", "is malformed. Escape"),
    ],
)
def test_a_url_that_the_driver_does_not_take_is_told_by_its_secret_and_never_shown(lines, url, what):
    settings = read(DATABASE_URL=url)
    where = "recommendation-dev_database_url: the database URL"
    with pytest.raises(ConfigurationError, match=f"{where} .*{what}") as e, connect(settings, "test"):
        pass
    log.error(f"event to be retried: {e.value}", e.value)
    told = json.dumps(lines()) + "".join(traceback.format_exception(e.value))
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("url", "environment", "mode"),
    [
        ("postgresql://u@/db", {}, "prefer"),
        ("postgresql://u@127.0.0.1/db", {}, "prefer"),
        ("postgresql://u@/db?host=/cloudsql/p:r:i", {}, "prefer"),
        ("postgresql://u@db.example/db", {}, "require"),
        ("postgresql://u@/db?host=db.example", {}, "require"),
        ("postgresql://u@/db", {"PGHOST": "db.example"}, "require"),
        ("postgresql://u@/db", {"PGHOSTADDR": "10.0.0.1"}, "require"),
        ("postgresql:///?service=reco", {}, "require"),
        ("postgresql://u@db.example/db?sslmode=disable", {}, "disable"),
    ],
)
def test_tls_is_required_unless_the_server_is_here_or_the_url_says_otherwise(url, environment, mode, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = psycopg.conninfo.conninfo_to_dict(conninfo(read(DATABASE_URL=url), "test"))
    assert asked["sslmode"] == mode
