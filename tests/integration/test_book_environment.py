"""The book of disasters of what is around the flow: its deployment, its database's room, its clocks and its events."""

import os
import shutil
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql

from shared.catalog import FOLDER_VARIABLE, Place
from shared.daily import arrival, build, export
from shared.errors import CatalogError, ConfigurationError
from shared.names import SnapshotId
from shared.services import Services
from shared.upkeep import reconcile
from tests.kit import healthy
from tests.kit.book import entry
from tests.kit.clocks import later
from tests.kit.commands import recosync
from tests.kit.healthy import VIEW, back, counts, differences, page, run, source
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, bookings
from tests.kit.uploads import Upload, arrive

REVERT, APPLY = "git revert HEAD", "terraform apply"


@pytest.fixture
def well(here, monkeypatch):
    healthy.bring(here, monkeypatch)
    return here


@pytest.fixture
def deploy(tmp_path, monkeypatch):
    """Deploy the catalog with one file of it changed: a function of its name and of what takes its text."""
    right = Place.here().file.parent

    def deploy(name, change):
        folder = tmp_path / "catalog"
        shutil.copytree(right, folder, dirs_exist_ok=True)
        file = folder / name
        file.write_text(change(file.read_text()))
        monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
        return folder

    deploy.revert = lambda: monkeypatch.setenv(FOLDER_VARIABLE, str(right))
    return deploy


def test_a_template(well, database, deploy):
    deploy(f"views/{VIEW}.sql.jinja", lambda text: text.replace("user_id", "no_such_column"))
    refused = recosync("materialize", VIEW)
    assert (refused.code, "no_such_column" in refused.err) == (1, True)
    assert counts(database, VIEW) == [1_500]
    assert any("another template" in told for told in differences())
    assert "1 view of another template" in page()[0]
    entry("A wrong template was deployed").play({REVERT: deploy.revert, APPLY: lambda: None})
    back(database)


def test_a_catalog(well, database, deploy):
    deploy("catalog.toml", lambda text: text.replace('"varchar"', '"varchat"', 1))
    with pytest.raises(ConfigurationError, match=r"catalog\.toml"):
        Services.from_environment()
    checked = recosync("catalog", "check")
    assert (checked.code, "catalog.toml:" in checked.err) == (1, True)
    assert counts(database, TABLE, VIEW) == [1_500, 1_500]
    entry("A wrong catalog was deployed").play({REVERT: deploy.revert, APPLY: lambda: None})
    back(database)


def with_a_column(text):
    block = text.index(f"[tables.{TABLE}.columns]")
    at = text.index("\n", text.index("item_id", block)) + 1
    return text[:at] + 'extra = "integer"\n' + text[at:]


@pytest.mark.parametrize("first", ["bq_export", "gcs_import"])
def test_functions_of_two_catalogs(well, database, deploy, monkeypatch, first):
    """One of them has the newer catalog before the other."""
    source(well, 1_600, ", 1 AS extra")
    older, before = Services.from_environment(), os.environ[FOLDER_VARIABLE]
    folder = deploy("catalog.toml", with_a_column)
    newer = Services.from_environment()
    exporting = folder if first == "bq_export" else before
    monkeypatch.setenv(FOLDER_VARIABLE, str(exporting))
    run("export", TABLE)
    objects = newer.storage.objects(newer.settings.bucket, newer.settings.prefix)
    latest = max((it for it in objects if it.version.name.endswith("manifest.json")), key=lambda it: it.created)
    with pytest.raises(CatalogError):
        arrive(older if first == "bq_export" else newer, latest.version)
    assert (counts(database, TABLE), one(database, "SELECT count(*) FROM recosync.failure")) == ([1_500], 0)
    # Meanwhile, whoever looks has the catalog of before.
    monkeypatch.setenv(FOLDER_VARIABLE, before)
    applied = {APPLY: lambda: monkeypatch.setenv(FOLDER_VARIABLE, str(folder))}
    time.sleep(1)  # the next snapshot's id is of another second again
    entry("Code or a catalog was deployed to some functions alone").play(applied)
    back(database, 1_600)
    assert one(database, f"SELECT sum(extra) FROM {TABLE}") == 1_600


def test_a_day_of_lost_events(well, database, services):
    source(well, 1_600)
    run("export", TABLE)  # and no event of it comes
    assert counts(database, TABLE) == [1_500]
    sent = reconcile.run(services, datetime.now(UTC) + timedelta(days=1))
    assert [(each["table"], each["sent"]) for each in sent] == [(TABLE, "manifest")]
    entry("A day of lost events").play()
    back(database, 1_600)


def test_the_secret(well, database, monkeypatch):
    right = well.env["DATABASE_URL"]
    source(well, 1_600)
    run("export", TABLE)
    monkeypatch.setenv("DATABASE_URL", right.replace("//recosync", "//recosynk"))
    ran = recosync("import", TABLE)
    assert (ran.code, "recosynk" in ran.err, "URL" in ran.err) == (3, True, True), ran.err
    told, problems, _ = page()
    assert ("The ledger can't be read" in told, "recosynk" in problems[0].message) == (True, True)
    command = "gcloud secrets versions add INSTANCE_database_url --data-file=url.txt"
    added = {command: lambda: monkeypatch.setenv("DATABASE_URL", right)}
    entry("The secret was rotated badly").play(added)
    back(database, 1_600)


def test_the_connections(well, database):
    source(well, 1_600)
    run("export", TABLE)
    with ExitStack() as held:
        # As if others held them all: a session more or less, which is just closing, makes no difference.
        _limit(well, 0)
        held.callback(_limit, well, -1)
        ran = recosync("import", TABLE)
        assert (ran.code, "too many connections" in ran.err) == (3, True)
        told, problems, _ = page()
        assert ("The ledger can't be read" in told, "too many connections" in problems[0].message) == (True, True)
        _limit(well, -1)  # somebody closes some
        entry("PostgreSQL has no connections left").play()
    back(database, 1_600)


def _limit(here, connections):
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(sql.SQL("ALTER ROLE recosync CONNECTION LIMIT {}").format(connections))


def test_the_disk(well, database):
    """The server is made to say so as a part or a view is made: without root, no disk can be filled."""
    with well.cloud.postgres.superuser(well.name) as admin:
        admin.execute(
            "CREATE FUNCTION full_disk() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
            "CREATE EVENT TRIGGER full_disk ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE MATERIALIZED VIEW')"
            " EXECUTE FUNCTION full_disk()"
        )
        source(well, 1_600)
        run("export", TABLE)
        ran = recosync("import", TABLE)
        assert (ran.code, "No space left on device" in ran.err) == (3, True)
        ran = recosync("materialize", VIEW)
        assert (ran.code, "No space left on device" in ran.err) == (3, True)
        assert counts(database, TABLE, VIEW) == [1_500, 1_500]
        assert one(database, "SELECT count(*) FROM recosync.failure") == 0

        def larger():
            admin.execute("DROP EVENT TRIGGER full_disk; DROP FUNCTION full_disk()")

        entry("The disk of PostgreSQL is full").play({"gcloud sql instances patch INSTANCE --storage-size=200": larger})
    back(database, 1_600)


def test_the_clock_of_an_export(well, database, services):
    """It is ahead by an hour: what it exported is published under an id that has yet to come."""
    now = datetime.now(UTC)
    users = [str(number) for number in range(1, 1_501)]

    def exported(at):
        snapshot = Upload(services, TABLE, SnapshotId(at))
        snapshot.part(bookings(services, users))
        return arrive(services, snapshot.manifest())

    assert exported(now + timedelta(minutes=50)) == ["published"]
    run("materialize", VIEW)
    _, table, _ = page()
    assert any("lies in the future: events publish nothing older" in told for told in table.trouble)
    assert exported(now + timedelta(minutes=5)) == ["stale"]
    ran = recosync("export", TABLE, "--force")
    assert (ran.code, "the clock of one of the two exports is wrong" in ran.err) == (3, True), ran.err
    entry("The clock of bq_export is an hour ahead").play()
    assert exported(now + timedelta(hours=23)) == ["published"]
    run("materialize", VIEW)
    assert page(now + timedelta(hours=23))[1].trouble == ()
    assert (differences(), counts(database, TABLE, VIEW)) == ([], [1_500, 1_500])


def test_the_clock_of_an_export_that_reads_a_table(well, database, monkeypatch):
    """BigQuery reads no table as of the future, so that nothing is published under an id that has yet to come."""
    source(well, 1_600)
    monkeypatch.setattr(export, "datetime", later(timedelta(hours=1)))
    ran = recosync("export", TABLE)
    assert (ran.code, "s ahead of BigQuery's" in ran.err) == (3, True), ran.err
    monkeypatch.setattr(export, "datetime", datetime)
    run("export", TABLE)
    run("import", TABLE)
    run("materialize", VIEW)
    back(database, 1_600)


@pytest.mark.parametrize("off", [timedelta(hours=-1), timedelta(hours=1)])
def test_the_clock_of_an_import_or_a_refresh(well, database, services, monkeypatch, off):
    """Nothing depends on it."""
    monkeypatch.setattr(arrival, "datetime", later(off))
    monkeypatch.setattr(build, "datetime", later(off))
    source(well, 1_600)
    run("export", TABLE)
    run("import", TABLE)
    run("materialize", VIEW)
    back(database, 1_600)
