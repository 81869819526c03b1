"""Code beside a ledger of another version: what is deployed brings it up to date, and nothing fails for good on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.catalog import ROOT
from shared.daily import manifest as manifests
from shared.errors import ConfigurationError, TargetError
from shared.operate import plan, verify
from shared.operate.migrate import migrate
from shared.upkeep import reconcile
from tests.kit.commands import recosync
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive

VERSION = max(int(file.stem) for file in (ROOT / "sql" / "ledger").glob("*.sql"))

#: Each function of a deployment in the framework that serves it, asked for what is to be done; the answers.
DRIVER = """
import sys
from functions_framework import create_app

def function(name, signature):
    return create_app(name, f"functions/{name}/main.py", signature).test_client()

def send(function, data):
    event = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    return function.post("/", json=data, headers=event)

table, bucket, name, generation = sys.argv[1:]
stored = {"bucket": bucket, "name": name, "generation": generation, "size": "1"}
message = {"message": {"attributes": {"table": table, "publication": "1"}}}
for answer in (
    send(function("gcs_import", "cloudevent"), stored),
    send(function("mv_refresh", "cloudevent"), message),
    function("bq_export", "http").post("/", json={"tables": [table]}),
):
    print("answer", answer.status_code, answer.text.replace("\\n", " "))
"""


def version(database) -> int:
    return one(database, "SELECT max(version) FROM recosync.migration")


def newer(database) -> None:
    """A ledger as the next release makes it, whatever that changes."""
    database.execute("INSERT INTO recosync.migration (version) VALUES (%s)", [VERSION + 1])


@pytest.fixture
def older(database) -> None:
    """A ledger as the release before made it."""
    database.execute(
        "CREATE SCHEMA recosync; CREATE TABLE recosync.migration (version integer, applied_at timestamptz)"
    )
    for number in range(1, VERSION):
        database.execute((ROOT / "sql" / "ledger" / f"{number}.sql").read_bytes())
        database.execute("INSERT INTO recosync.migration VALUES (%s)", [number])
    database.execute("GRANT SELECT ON recosync.migration TO public")


@pytest.fixture
def last_release(tmp_path: Path) -> Path:
    """What is deployed, as it was before the newest version of the ledger came."""
    for folder in ("functions", "shared", "sql"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sql" / "ledger" / f"{VERSION}.sql").unlink()
    return tmp_path


def asked(tree: Path, manifest) -> list[str]:
    """What the functions of a deployment answer to the manifest's event, to a message, and to a call."""
    command = [sys.executable, "-c", DRIVER, TABLE, manifest.bucket, manifest.name, str(manifest.generation)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("answer ") for line in done.stdout.splitlines() if line.startswith("answer ")]


def test_the_last_releases_functions_ask_to_be_called_again_until_the_newer_ones_are_deployed(
    here, services, database, last_release
):
    publish(services, 1, ["ann"])
    manifest = upload(services, 2, ["bob"]).manifest()
    answers = asked(last_release, manifest)
    assert [answer.split()[0] for answer in answers] == ["503", "503", "500"]
    for answer in answers:
        assert f"the ledger: is of version {VERSION}, this code knows {VERSION - 1}. Deploy the functions" in answer
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
    assert users(database) == ["ann"]
    assert [answer.split()[0] for answer in asked(ROOT, manifest)[:2]] == ["204", "204"]
    assert users(database) == ["bob"]


def test_what_fails_because_the_ledger_was_brought_up_to_date_meanwhile_is_kept(services, database, monkeypatch):
    publish(services, 1, ["ann"])
    manifest = upload(services, 2, ["bob"]).manifest()

    def migrated(*_):
        newer(database)
        raise TargetError("there is no such constraint any more")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(manifests, "parse", migrated)
        with pytest.raises(ConfigurationError, match=f"the ledger: is of version {VERSION + 1}"):
            arrive(services, manifest)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0


READING = [["plan", TABLE], ["verify", TABLE], ["status"]]
WRITING = [
    ["export", TABLE],
    ["import", TABLE],
    ["materialize", "non_recommendable_items_mv"],
    ["rollback", TABLE],
    ["approve", TABLE],
    ["reject", TABLE],
    ["acknowledge", TABLE, "--reason", "it was mended"],
]


@pytest.fixture
def source(here, services):
    here.bigquery_client.query(
        "CREATE TABLE ml_reco_local.user_booked_item AS SELECT 'u' user_id, 'i' item_id"
    ).result()
    upload(services, 1, ["ann"]).manifest()


@pytest.mark.usefixtures("older", "source")
@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda command: command[0])
def test_no_command_brings_the_ledger_of_what_is_deployed_up_to_date(database, command):
    ran = recosync(*command)
    assert ran.code == 3
    assert "Or run: recosync migrate" in ran.err
    assert version(database) == VERSION - 1
    assert recosync("migrate").code == 0
    assert version(database) == VERSION


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("command", [*READING, *WRITING, ["migrate"]], ids=lambda command: command[0])
def test_no_command_works_on_a_newer_ledger(services, database, command):
    migrate(services)
    newer(database)
    ran = recosync(*command)
    assert ran.code == 3
    assert f"is of version {VERSION + 1}, this code knows {VERSION}" in ran.err
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0


@pytest.mark.usefixtures("source")
def test_what_only_looks_makes_no_ledger(services, database):
    table = services.catalog.tables[TABLE]
    assert plan.of(services, table, 6.25).source == "never exported"
    (told,) = verify.table(services, table).differences
    assert "there is no schema recosync" in told
    assert one(database, "SELECT to_regnamespace('recosync')") is None


def test_lost_events_are_left_to_the_functions_of_a_newer_ledger(services, database):
    migrate(services)
    newer(database)
    with pytest.raises(ConfigurationError, match="Deploy the functions"):
        reconcile.run(services, day(3).at)
