"""A catalog of one's own in the local cloud: the demo's day on it, and edits to it while the cloud is up."""

from __future__ import annotations

import io
import itertools
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from local import demo, demo_hourly
from local.edits import copied
from local.roles import granted
from local.serve import serving
from shared import catalog
from shared.catalog import Place
from tests.kit.commands import recosync

_names = (f"own{number}" for number in itertools.count())


@pytest.fixture
def folder(tmp_path) -> Path:
    """What `recosync init` writes."""
    made = tmp_path / "my-sync"
    assert recosync("init", made).code == 0
    return made


@contextmanager
def played(cloud, folder, monkeypatch):
    """The demo on a folder, with few rows: the project that it leaves, and what it printed. All counts agree."""
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    with demo.deployed(cloud, Place.of(folder), next(_names), granted()) as here:
        for name, value in here.env.items():
            monkeypatch.setenv(name, value)
        assert demo.daily(console, here, 900), printed.getvalue()
        assert demo_hourly.run(console, here, fewer=100), printed.getvalue()
        yield here, printed.getvalue()


def verified(here):
    """Nothing differs in the day that was played: of today, hours may be due that nobody called for."""
    day = here.env["HOURLY_START"][:8]
    ran = recosync("verify", "--from", day, "--to", day, "--json")
    assert ran.code == 0, ran.out + ran.err


def test_the_demo_of_a_new_folder_agrees_at_each_end(cloud, folder, monkeypatch):
    with played(cloud, folder, monkeypatch) as (here, told):
        assert "Making input: rows of 1 source …" in told
        assert told.count("All counts agree.") == 2
        (view,) = [line.split() for line in told.splitlines() if line.startswith("  example_mv")]
        # By its own query, and in the view: of 300 rows, 43 have no score, and that of one is 0.
        assert view == ["example_mv", "256", "256"]
        verified(here)


def test_every_log_begins_here_at_the_hours_that_there_are(tmp_path):
    block = (
        '[hourly.log]\n  start = "20250101T00"\n[hourly.log.columns]\nstart = { type = "date", bigquery = "DATE" }\n'
    )
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "catalog.toml").write_text(f"[tables.t.columns]\nstart = 'text'\n{block}")
    found = copied(Place.of(folder), tmp_path / "copy").place.file.read_text()
    assert found == f"[tables.t.columns]\nstart = 'text'\n{block.replace('  start', '#  start')}"


STRANGER = Path(__file__).parents[1] / "catalogs" / "stranger"


def test_a_catalog_that_we_know_nothing_of_goes_all_the_way(cloud, monkeypatch):
    with cloud.postgres.superuser("recosync_template") as database:
        if database.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            pytest.skip("pgvector is not installed (Debian: postgresql-15-pgvector): no catalog with vectors was tried")
    assert recosync("--catalog", STRANGER, "catalog", "check").code == 0  # terraform.json too
    of = catalog.load(Place.of(STRANGER))
    assert (len(of.tables), len(of.views), len(of.hourly)) == (12, 4, 3)
    with played(cloud, STRANGER, monkeypatch) as (here, told):
        assert told.count("All counts agree.") == 1 + len(of.hourly)
        # A table that stays empty.
        assert ["campaign", "0", "0", "0"] in [line.split() for line in told.splitlines()]
        verified(here)
        with urllib.request.urlopen(here.url("status")) as response:  # noqa: S310 - the address is the test's own
            page = response.read().decode()
        assert [name for name in (*of.tables, *of.hourly) if name not in page] == []
        day = here.env["HOURLY_START"][:8]
        for name in of.hourly:
            body = {"table_name": name, "date": day, "hour": 1, "delete_from_source": True, "recover_missed": False}
            (hour,) = here.call("hourly_export", body)["hours"]
            assert (hour["state"], hour["deleted"]) == ("deleted", 11)
        verified(here)
        # Its batches of JSON take the way through a table of their own.
        assert any(grant.on.partition("/datasets/")[2] == "tmp_local" for grant in here.accounts["hourly_export"].used)
        # What alerts watch was written by the functions themselves.
        gauges = here.cloud.monitoring.series
        assert set(gauges.last(here.project, "table_age_seconds")) == set(of.tables)
        assert set(gauges.last(here.project, "log_age_seconds")) == set(of.hourly)


class Local:
    """What `make local` has up for a folder."""

    def __init__(self, folder, here, edits):
        self.folder, self.here, self.edits = folder, here, edits

    def edit(self, file, old, new):
        """What is told of an edit, once it is seen."""
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))
        assert list(self.edits.look()) == []  # it may be half of one
        return "\n".join(self.edits.look())

    def publish(self, *tables):
        self.here.call("bq_export", {"tables": list(tables), "force": True})
        self.here.eventarc.wait_idle()

    def ask(self, query):
        with psycopg.connect(self.here.dsn) as database:
            return database.execute(query).fetchall()


@pytest.fixture
def local(cloud, folder):
    with serving(cloud, Place.of(folder), next(_names)) as (here, edits, told):
        assert str(folder / "catalog.toml") in told
        yield Local(folder, here, edits)


LIMIT = "SELECT max(score) FROM example_mv"


def test_an_edited_template_changes_the_view_at_the_next_event(local):
    local.publish("example")
    ((before,),) = local.ask(LIMIT)
    assert before > 100
    told = local.edit("views/example_mv.sql.jinja", "score > 0", "score BETWEEN 1 AND 9")
    assert told.splitlines() == [
        "views/example_mv.sql.jinja changed: the functions use it from the next event on.",
        "  view example_mv is built with the next publish of example, and at once by: recosync materialize example_mv.",
    ]
    assert local.ask(LIMIT) == [(before,)]
    local.publish("example")
    assert local.ask(LIMIT) == [(9,)]
    assert list(local.edits.look()) == []


def test_a_mistake_is_told_with_its_line_and_leaves_all_running(local):
    told = local.edit("catalog.toml", 'score = "real"', 'score = "reel"')
    line = (local.folder / "catalog.toml").read_text().splitlines().index('score = "reel"') + 1
    assert told.startswith("catalog.toml changed, and the functions keep the catalog that they have: 1 mistake in the")
    assert f"catalog.toml:{line}: tables.example.columns.score: should" in told
    told = local.edit("views/example_mv.sql.jinja", "CREATE MATERIALIZED", "{{ nothing }} CREATE MATERIALIZED")
    assert "keep the catalog that they have" in told
    local.publish("example")
    assert local.ask("SELECT count(*) > 1000 FROM example_mv") == [(True,)]
    assert local.here.call("hourly_export", {"table_name": "example_log"})["failed"] == []
    # Both are mended: the template is as it was.
    local.edit("views/example_mv.sql.jinja", "{{ nothing }} ", "")
    assert local.edit("catalog.toml", 'score = "reel"', 'score = "numeric"').splitlines() == [
        "catalog.toml changed: the functions use it from the next event on.",
        f"  source {local.here.project}.ml_reco_local.example was made.",
    ]
    local.publish("example")
    assert local.ask("SELECT pg_typeof(score)::text FROM example LIMIT 1") == [("numeric",)]


NEW = """
[tables.added]
source = "elsewhere.of_theirs.added"
key = ["n"]

[tables.added.columns]
n = "bigint"
tags = "text[]"

[tables.named]
source = "named"
dataset = "A_DATASET_OF_MINE"

[tables.named.columns]
at = "timestamptz"

[hourly.clicks]
time = "at"
key = "n"

[hourly.clicks.columns]
n = { type = "integer", bigquery = "INT64" }
at = { type = "timestamp", bigquery = "TIMESTAMP" }
"""


def test_tables_and_logs_that_are_new_get_their_source_and_their_rows(local):
    told = local.edit("catalog.toml", "[views.example_mv]", f"{NEW}\n[views.example_mv]")
    assert "  source elsewhere.of_theirs.added was made." in told
    assert f"  source {local.here.project}.a_dataset_of_mine.named was made." in told
    assert "  log clicks was made, and has rows." in told
    assert "  .local/env has A_DATASET_OF_MINE too: read it again." in told
    assert "  table added is new, and will be there with its first export: recosync export added --wait." in told
    local.publish("added", "named")
    assert local.ask("SELECT count(DISTINCT n) > 1000 FROM added") == [(True,)]
    assert local.ask("SELECT count(at) > 1000 FROM named") == [(True,)]
    (hour,) = local.here.call("hourly_export", {"table_name": "clicks"})["hours"][-1:]
    assert (hour["status"], hour["rows"] > 1000) == ("exported", True)
    # What was made stays as it was made.
    told = local.edit("catalog.toml", 'n = { type = "integer"', 'n = { type = "bigint"')
    assert "log clicks is another now, and its table is as it was: start `make local` anew for a new one." in told
    told = local.edit("catalog.toml", NEW[: NEW.index("[tables.named]")], "")
    assert "  table added left the catalog, and stays in PostgreSQL as it is." in told


def test_input_that_makes_no_source_is_told_and_leaves_all_running(local):
    (local.folder / "input").mkdir()
    (local.folder / "input" / "example.sql").write_text("SELECT 1 AS user_id")
    assert list(local.edits.look()) == []
    told = "\n".join(local.edits.look())
    assert told.startswith("input/example.sql changed, and the functions keep the catalog that they have: ")
    assert "example.sql: gives user_id as INT64, character varying takes STRING" in told
    (local.folder / "input" / "example.sql").unlink()
    (local.folder / "input" / "extra.sql").write_text("CREATE TABLE extra (n serial PRIMARY KEY, at timestamp UNIQUE)")
    (local.folder / "input" / "extra_rows.sql").write_text("INSERT INTO extra (at) VALUES (%(start)s), (%(start)s)")
    told = local.edit("catalog.toml", "[views.example_mv]", f"{NEW.replace('clicks', 'extra')}\n[views.example_mv]")
    assert (
        "and the functions keep the catalog that they have: log extra: its rows could not be added: duplicate" in told
    )
    (local.folder / "input" / "extra_rows.sql").write_text("INSERT INTO extra (at) VALUES (%(start)s)")
    assert list(local.edits.look()) == []
    assert "  log extra was made, and has rows." in "\n".join(local.edits.look())
    local.publish("example")
    assert local.ask("SELECT count(*) > 1000 FROM example_mv") == [(True,)]
