"""The book of disasters, daily: each is played, told, and mended by its entry's commands, until `verify` agrees."""

import os
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from shared.operate import verify
from shared.services import Services
from shared.upkeep import reconcile
from tests.kit import full_sources, healthy
from tests.kit.book import entry
from tests.kit.clocks import later
from tests.kit.commands import recosync
from tests.kit.healthy import VIEW, back, counts, differences, page, run, source
from tests.kit.snapshots import TABLE


@pytest.fixture
def well(here, monkeypatch):
    healthy.bring(here, monkeypatch)
    return here


def parts(database):
    """The tables of the parts that readers see."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1"
    return [name for (name,) in database.execute(query, [TABLE])]


def test_a_view(well, database):
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    told, _, view = page()
    assert ("1 view gone" in told, view.gone) == (True, f"recosync materialize {VIEW}")
    assert f"recosync materialize {VIEW}" in recosync("status").out
    entry("A view was dropped").play()
    back(database)


def test_a_view_comes_back_by_itself(well, database):
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    database.execute("UPDATE recosync.publication SET announced_at = announced_at - interval '1 hour'")
    sent = reconcile.run(Services.from_environment(os.environ), datetime.now(UTC) + timedelta(minutes=31))
    assert [each["views"] for each in sent if each["sent"] == "message"] == [[VIEW]]


DROPPED = {
    "the table": lambda database: database.execute(f"DROP TABLE {TABLE} CASCADE"),
    "a part": lambda database: database.execute(f"DROP TABLE {parts(database)[0]}"),
    "a part, detached": lambda database: database.execute(f"ALTER TABLE {parts(database)[0]} NO INHERIT {TABLE}"),
}


@pytest.mark.parametrize("strike", DROPPED.values(), ids=DROPPED)
def test_a_table_or_a_part(well, database, strike):
    strike(database)
    assert any(f"recosync import {TABLE}" in told for told in differences())
    told, table, _ = page()
    assert "1 in trouble" in told
    assert any(f"To bring them back: recosync import {TABLE}" in trouble for trouble in table.trouble)
    entry("A table was dropped, or a part of it").play()
    back(database)


@pytest.mark.parametrize("strike", DROPPED.values(), ids=DROPPED)
def test_a_table_that_an_operator_went_back_with(well, database, strike):
    """It stays at the snapshot that it is pinned to."""
    run("rollback", TABLE)
    strike(database)
    (told,) = [trouble for trouble in page()[1].trouble if "readers lack rows" in trouble]
    _, _, command = told.partition("recosync ")
    assert command == f"import {TABLE} --snapshot 20260101T000000Z"
    run(*command.split())
    run("materialize", VIEW)
    back(database, 1_400)
    assert page()[1].pin.snapshot == "20260101T000000Z"


@pytest.mark.parametrize("strike", DROPPED.values(), ids=DROPPED)
def test_what_readers_lack_is_imported_again_by_itself(well, services, database, strike):
    assert exported() == "unchanged"
    strike(database)
    assert exported() == "exported already"
    (newest, *_) = database.execute("SELECT max(snapshot_id) FROM recosync.publication").fetchone()
    assert sent_again(services) == [newest]


@pytest.mark.parametrize("strike", DROPPED.values(), ids=DROPPED)
def test_what_readers_lack_of_a_pinned_table_is_imported_again_by_itself(well, services, database, strike):
    run("rollback", TABLE)
    assert exported() == "unchanged"
    strike(database)
    assert exported() == "exported already"
    assert sent_again(services) == ["20260101T000000Z"]


def test_what_readers_lack_is_exported_anew_where_its_objects_are_gone(well, database):
    database.execute(f"DROP TABLE {parts(database)[0]}")
    empty(well)
    ran = recosync("import", TABLE)
    assert (ran.code, f"recosync export {TABLE} --force" in ran.err) == (2, True)
    assert exported() == "exported"
    run("import", TABLE)
    run("materialize", VIEW)
    back(database)


def test_a_pinned_table_whose_objects_are_gone_as_well(well, database):
    """Whatever a command says is to be run next brings the rows in the end."""
    run("rollback", TABLE)
    database.execute(f"DROP TABLE {TABLE} CASCADE")
    empty(well)
    (told,) = [trouble for trouble in page()[1].trouble if "readers lack rows" in trouble]
    ran = recosync(*told.partition("recosync ")[2].split())
    anew = f"recosync export {TABLE} --force, and for readers to get it: recosync rollback {TABLE} --unpin"
    assert (ran.code, ran.err.strip().endswith(anew)) == (2, True), ran.err
    assert exported() == "exported"
    assert recosync("import", TABLE).code == 4  # staged, and kept back by the pin
    assert exported() == "exported already"
    run("rollback", TABLE, "--unpin")
    back(database)


def test_a_table_that_went_with_what_it_was_pinned_to(well, database):
    """Its newest snapshot was gone back from: that is no reason to export nothing."""
    run("rollback", TABLE)
    database.execute(f"DROP TABLE {parts(database)[0]}")
    empty(well)
    run("rollback", TABLE, "--unpin")
    assert exported() == "exported"
    run("import", TABLE)
    run("materialize", VIEW)
    back(database)


def test_a_day_that_has_no_snapshot_is_not_exported_under_its_name(well):
    """It would be what the source holds now."""
    ran = recosync("import", TABLE, "--date", "20260102")
    assert (ran.code, "of what the source holds now" in ran.err) == (2, True)


def test_a_part_that_a_rollback_needs(well, database):
    query = "SELECT id FROM recosync.part WHERE snapshot_id = '20260101T000000Z' ORDER BY 1"
    (lost, *_) = [id_ for (id_,) in database.execute(query)]
    database.execute(f"DROP TABLE recosync.part_{lost}")
    ran = recosync("rollback", TABLE)
    assert (ran.code, "is not staged here, or not any more" in ran.err) == (1, True)
    assert f"recosync import {TABLE} --snapshot 20260101T000000Z" in ran.err
    assert counts(database, TABLE) == [1_500]
    entry("A part that a rollback needs was dropped").play()
    assert counts(database, TABLE, VIEW) == [1_400, 1_400]
    assert page()[1].pin.snapshot == "20260101T000000Z"


CHANGED = {
    "added": f"INSERT INTO {TABLE} (user_id, item_id) VALUES ('7', 'other')",
    "deleted": f"DELETE FROM {TABLE} WHERE user_id = '7'",
    "changed": f"UPDATE {TABLE} SET item_id = 'other' WHERE user_id = '7'",
    "emptied": f"TRUNCATE {TABLE}",
}


@pytest.mark.parametrize("statement", CHANGED.values(), ids=CHANGED)
def test_rows_of_a_table(well, database, statement):
    database.execute(statement)
    assert any("the receipt and PostgreSQL" in told for told in differences())
    command = f"psql \"$DATABASE_URL\" -c 'TRUNCATE ONLY {TABLE}'"
    entry("Rows of a published table were changed").play({command: lambda: database.execute(f"TRUNCATE ONLY {TABLE}")})
    back(database)


def test_the_ledger(here, services, database):
    full_sources.fill(here, services)
    source(here, 1_500)
    for command in ("export", "import", "materialize"):
        run(command)
    tables = list(services.catalog.tables)
    assert differences(*tables) == []
    database.execute("DROP SCHEMA recosync CASCADE")
    assert counts(database, TABLE, VIEW) == [0, 1_500]
    assert all("there is no schema recosync" in told for told in differences(*tables))
    told, problems, _ = page()
    assert ("The ledger can't be read" in told, "recosync migrate" in problems[0].message) == (True, True)
    entry("The schema recosync was dropped").play()
    assert differences(*tables) == []
    back(database)


@pytest.mark.parametrize("made_by", [("migrate",), ("export", TABLE)])
def test_a_ledger_that_was_made_anew(well, database, made_by):
    """It knows of nothing: that is not to say that all is well."""
    database.execute("DROP SCHEMA recosync CASCADE")
    run("migrate")
    (told,) = differences()
    assert "the ledger knows nothing of it" in told
    first, table, _ = page()
    assert ("1 in trouble" in first, "the ledger knows nothing of it" in table.trouble[0]) == (True, True)
    if made_by[0] == "export":
        run(*made_by)
    command = told.partition("recosync ")[2].split()
    time.sleep(1)
    run(*command)
    run("import", TABLE)
    run("materialize", VIEW)
    back(database)


def test_a_table_that_was_never_exported_is_told_as_that(here, services, database):
    """One of others, with their rows, is none that lost its rows."""
    run("migrate")
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")
    database.execute(f"INSERT INTO {TABLE} VALUES ('1', 'item')")
    assert differences() == []
    assert page()[1].trouble == ()


def test_a_view_whose_table_was_dropped(well, database):
    database.execute(f"DROP TABLE {TABLE} CASCADE")
    ran = recosync("materialize", VIEW)
    assert (ran.code, "was dropped by hand" in ran.err, "42P01" in ran.err) == (1, True, False)
    run(*ran.err.partition("To bring it back: recosync ")[2].split())
    run("materialize", VIEW)
    back(database)


def test_a_table_that_was_dropped_while_it_was_pinned(well, database):
    run("rollback", TABLE)
    source(well, 1_600)
    run("export", TABLE)
    assert recosync("import", TABLE).code == 4  # staged, and kept back by the pin
    database.execute(f"DROP TABLE {TABLE} CASCADE")
    ran = recosync("rollback", TABLE, "--unpin")
    assert (ran.code, "42P01" in ran.err) == (0, False), ran.err
    back(database, 1_600)


def exported():
    """What an export says of the table."""
    return recosync("export", TABLE, "--json").json["tables"][0]["status"]


def sent_again(services):
    """The snapshots whose events hourly_export sends again."""
    sent = reconcile.run(services, datetime.now(UTC) + timedelta(minutes=31))
    return [each["snapshot_id"] for each in sent if each["table"] == TABLE and each["sent"] == "manifest"]


def empty(here):
    for blob in here.storage_client.list_blobs(here.env["EXPORT_BUCKET"]):
        blob.delete()


def test_the_export_bucket(well, services, database):
    source(well, 1_600)
    run("export", TABLE)
    empty(well)
    ran = recosync("import", TABLE)
    assert (ran.code, f"recosync export {TABLE} --force" in ran.err) == (2, True)
    assert counts(database, TABLE) == [1_500]
    entry("The export bucket was emptied").play()
    back(database, 1_600)


def test_the_export_bucket_when_all_of_it_had_come(well, database):
    empty(well)
    assert (differences(), exported()) == ([], "unchanged")
    entry("The export bucket was emptied").play()
    back(database)


def test_a_backup(well, monkeypatch):
    backup = f"{well.name}_backup"
    with well.cloud.postgres.superuser("postgres") as admin:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER recosync STRATEGY file_copy")
        admin.execute(copy.format(sql.Identifier(backup), sql.Identifier(well.name)))
    source(well, 1_600)
    run("export", TABLE)
    run("import", TABLE)
    run("materialize", VIEW)
    dsn = well.cloud.postgres.dsn(backup)
    monkeypatch.setenv("DATABASE_URL", dsn)
    with psycopg.connect(dsn, autocommit=True) as restored:
        assert counts(restored, TABLE, VIEW) == [1_500, 1_500]
        notes = recosync("verify", TABLE, "--json").json["tables"][0]["notes"]
        assert any("readers have not seen it: its import may be under way" in told for told in notes)
        monkeypatch.setattr(verify, "datetime", later(timedelta(minutes=31)))
        (told,) = differences()
        assert told.endswith(f"To bring it: recosync import {TABLE}")
        sent = reconcile.run(Services.from_environment(os.environ), datetime.now(UTC) + timedelta(minutes=31))
        assert [each["sent"] for each in sent if each["table"] == TABLE] == ["manifest"]
        entry("PostgreSQL went back to a backup").play()
        back(restored, 1_600)
    well.cloud.postgres.drop(backup)
