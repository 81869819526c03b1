"""Every command in the README and in docs/ runs, and its JSON has the shape that docs/cli.md shows."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from local import context
from local.cloud import Deployment
from shared.catalog import FOLDER_VARIABLE, Table
from shared.ledger import calls
from shared.ledger.calls import ExportCall
from shared.names import SnapshotId
from shared.operate.cli import GROUPS
from shared.services import Services
from tests.kit import book, full_sources
from tests.kit.commands import recosync
from tests.kit.documents import documented_commands, sections
from tests.kit.uploads import Upload, arrive, rows

TABLE = "iris_france"
BEFORE, NOW = SnapshotId.parse("20251231T050000Z"), SnapshotId.parse("20260101T050000Z")
HOUR = datetime(2026, 1, 1, 5, tzinfo=UTC)

#: What documents write where a reader puts something of theirs.
PLACEHOLDERS = {
    "TABLE": TABLE,
    "SNAPSHOT": str(NOW),
    "VIEW": "iris_france_mv",
    "LOG": "past_offer_context",
    "ROLE": "api",
    "NAME": "former_table",
}

EXAMPLES = {
    " ".join(filter(None, (group.name, command.name))): command.example
    for group in GROUPS
    for command in group.commands
}

#: Commands whose JSON another's section, or another document, describes.
ELSEWHERE = {"hourly-load": "hourly", "backfill": "hourly", "approve": "rollback", "accept": "restore"}

#: Commands that look at the sources.
READ_BIGQUERY = ("export", "plan", "verify", "doctor")

#: Options of what needs a deployment, or waits for one: tests/e2e/test_force.py, tests/integration/test_doctor.py and
#: tests/integration/test_cli_freshness.py.
DEPLOYED = ("--wait", "--deployment", "--plan", "--fresher-than")

#: Options by which an example has something of everything to show.
MORE = {"verify": ("--from", f"{HOUR:%Y%m%d}", "--to", f"{HOUR:%Y%m%d}")}


class World:
    """A deployment in the middle of its life: sources, snapshots of a table, its views, and hours of the API's log."""

    def __init__(self, here: Deployment, services: Services) -> None:
        self._here, self._services = here, services

    def prepare(self, command: str) -> None:
        """Bring about what the command is for."""
        name, tables = name_of(command), self._services.catalog.tables
        if name == "catalog add":
            self._own_catalog()
            return
        table = next((tables[word] for word in filled_in(command) if word in tables), tables[TABLE])
        if name in READ_BIGQUERY or "--live" in command:
            full_sources.fill(self._here, self._services)
        self._upload(table, BEFORE, "published")
        self._upload(table, NOW, "held" if name in ("approve", "reject") else "published")
        views = [view.name for view in self._services.catalog.views_of(table.name)]
        assert recosync("materialize", *views).code == 0
        context.create(self._here.dsn)
        context.write(self._here.dsn, HOUR, HOUR.replace(hour=6), 20)
        if name in ("drop", "plan"):
            self._orphan()
        if name == "acknowledge":
            self._fail(table)
        if name in ("hourly-load", "verify", "restore", "accept"):
            assert recosync("hourly", "--date", f"{HOUR:%Y%m%d}", "--hour", HOUR.hour).code == 0

    def _own_catalog(self) -> None:
        """A folder that may be written to, and a table that no block of it has."""
        assert recosync("init", "my-sync").code == 0
        os.environ[FOLDER_VARIABLE] = "my-sync"
        self._here.bigquery_client.create_dataset("analytics")
        artists = "SELECT 'a' AS artist_id, 1 AS `the name`"
        self._here.bigquery_client.query(f"CREATE TABLE analytics.similar_artist AS {artists}").result()

    def _orphan(self) -> None:
        """A table that was published days ago, and that the catalog has no more."""
        known = self._services.catalog
        table = replace(known.tables[TABLE], name="former_table")
        self._services = replace(self._services, catalog=replace(known, tables={**known.tables, table.name: table}))
        self._upload(table, NOW, "published")
        with psycopg.connect(self._here.dsn) as database:
            database.execute("UPDATE recosync.publication SET published_at = published_at - interval '2 days'")

    def _fail(self, table: Table) -> None:
        """The last call could not export the table."""
        call = ExportCall(table.name, datetime.now(UTC), "failed", None, "is empty")
        with psycopg.connect(self._here.dsn) as database:
            calls.record(database, [call])

    def _upload(self, table: Table, snapshot: SnapshotId, outcome: str) -> None:
        """One row; in one that is to be held, a column is NULL that must not be."""
        text = [column.name for column in table.columns if column.type.sources[0] == "STRING"]
        limited = next(name for name in reversed(text) if name in table.limits.null_share)
        values = {name: [None if outcome == "held" and name == limited else "1"] for name in text}
        upload = Upload(self._services, table.name, snapshot)
        upload.part(rows(table.name, self._services, values))
        assert arrive(self._services, upload.manifest()) == [outcome]


@pytest.fixture
def prepare(here: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    # Where a command writes what it is asked for.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, os.environ[FOLDER_VARIABLE])
    # Days since then would lack their manifests.
    monkeypatch.setenv("HOURLY_START", f"{datetime.now(UTC):%Y%m%dT%H}")
    return World(here, Services.from_environment()).prepare


def filled_in(command: str) -> list[str]:
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]


def name_of(command: str) -> str:
    return next(name for name in sorted(EXAMPLES, key=len, reverse=True) if command.startswith(f"recosync {name}"))


def runnable() -> list[str]:
    """The documented commands. One that a text only names, without what it needs, stands for its example. What needs
    functions runs where there are some. The book of disasters is played by tests of its own.
    """
    played = {command for disaster in book.entries().values() for command in disaster.commands}
    shown = [command for _, command in documented_commands() if not {*DEPLOYED} & {*command.split()}]
    shown = [command for command in shown if command not in played]
    found = [command for command in shown if not command.startswith("recosync --")]
    examples = {f"recosync {name}": example for name, example in EXAMPLES.items()}
    return list(dict.fromkeys(examples.get(command, command) for command in found))


@pytest.mark.matrix
@pytest.mark.parametrize("command", runnable())
def test_a_documented_command_runs(prepare, command):
    prepare(command)
    ran = recosync(*filled_in(command))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out


@pytest.mark.matrix
@pytest.mark.parametrize("name", [name for name in sections() if name not in ("In common", "status")])
def test_the_json_of_a_command_is_as_documented(prepare, name):
    prepare(EXAMPLES[name])
    ran = recosync(*filled_in(EXAMPLES[name]), *MORE.get(name, ()), "--json")
    assert ran.code == 0
    assert shape(ran.json) == shape(sections()[ELSEWHERE.get(name, name)].json)


def shape(document: object) -> object:
    """The fields of a document, and those of the first of each of its lists' entries."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items()}
    if isinstance(document, list):
        return [shape(document[0])] if document and isinstance(document[0], dict) else []
    return None


def test_the_shell_gets_its_completion(tmp_path):
    """The one documented command that is about the shell that it runs in."""
    script = Path(sys.executable).parent / "recosync"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{script.parent}:{os.environ['PATH']}"}
    # A command after it keeps bash from replacing itself, so that it is found as the shell.
    ran = subprocess.run(
        ["bash", "-c", "recosync --install-completion; exit $?"], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "bash completion installed" in ran.stdout
    assert "recosync" in (tmp_path / ".bashrc").read_text()
