"""A snapshot of now. No event publishes an earlier one after it, so it has a project of its own."""

import os
import re
import subprocess
from datetime import UTC, datetime

import psycopg
import pytest

from local.prerequisites import postgres_bin
from shared.ledger import migrations
from tests.kit.reference import PAGE


def test_force_makes_a_new_snapshot_of_now(emulated, system):
    system.fill(1)
    system.schedule(datetime(2026, 1, 10, 4, 30, tzinfo=UTC), "iris_france")
    system.fill(2)
    before = datetime.now(UTC)
    status, answer = system.call({"tables": ["iris_france"], "force": True, "date": "20260110"})
    assert status == 200
    assert any(f'"snapshot_id": "{now:%Y%m%d}T' in answer for now in (before, datetime.now(UTC)))
    emulated.eventarc.wait_idle()
    assert system.agrees("iris_france")


@pytest.fixture
def shell(emulated, tmp_path):
    """Runs lines in a shell beside what `make local` writes; what they print. None may fail."""
    from local import serve  # with libraries that the functions' own environment has not

    with psycopg.connect(emulated.dsn, autocommit=True) as database:
        migrations.migrate(database)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "env").write_text(serve.environment(emulated, emulated.place))
    base = {"PATH": f"{os.defpath}:{postgres_bin()}", "LANG": "C.UTF-8"}

    def run(lines):
        ran = subprocess.run(["sh", "-euc", lines], cwd=tmp_path, env=base, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def test_what_the_reference_shows_of_make_local_works_when_it_is_pasted(emulated, system, shell):
    system.fill(1)
    before = len(system.select("SELECT FROM recosync.publication"))
    (block,) = re.findall(r"`make local` writes.*?^```bash\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    told = shell(block)
    assert re.search(rf"^\({before + 1} rows?\)$", told, re.MULTILINE), told
    assert '"failed": []' in told
    emulated.eventarc.wait_idle()


def test_what_is_made_through_local_without_a_schema_is_none_of_the_ledgers(system, shell):
    shell('. .local/env; psql "$DATABASE_URL" -c "CREATE TABLE mine (id int)"')
    assert system.select("SELECT schemaname FROM pg_tables WHERE tablename = 'mine'") == [("public",)]
