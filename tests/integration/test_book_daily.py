"""The book of disasters, daily: each is played, told, and mended by its entry's commands, until `verify` agrees."""

import os
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from shared.services import Services
from shared.upkeep import reconcile
from tests.kit import full_sources, healthy
from tests.kit.book import entry
from tests.kit.commands import recosync
from tests.kit.healthy import VIEW, back, counts, differences, page, run, source
from tests.kit.snapshots import TABLE


@pytest.fixture
def well(here):
    healthy.bring(here)
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
    strike(database)
    sent = reconcile.run(services, datetime.now(UTC) + timedelta(minutes=31))
    assert [each["table"] for each in sent if each["sent"] == "manifest"] == [TABLE]
    assert recosync("export", TABLE, "--json").json["tables"][0]["status"] != "unchanged"


def test_what_readers_lack_is_exported_anew_where_its_objects_are_gone(well, database):
    database.execute(f"DROP TABLE {parts(database)[0]}")
    empty(well)
    ran = recosync("import", TABLE)
    assert (ran.code, "Export it first" in ran.err) == (2, True)
    run("export", TABLE)
    run("import", TABLE)
    run("materialize", VIEW)
    back(database)


def test_a_part_that_a_rollback_needs(well, database):
    query = "SELECT id FROM recosync.part WHERE snapshot_id = '20260101T000000Z' ORDER BY 1"
    (lost, *_) = [id_ for (id_,) in database.execute(query)]
    database.execute(f"DROP TABLE recosync.part_{lost}")
    ran = recosync("rollback", TABLE)
    assert (ran.code, "is not staged here, or not any more. Import it first" in ran.err) == (1, True)
    assert counts(database, TABLE) == [1_500]
    entry("A part that a rollback needs was dropped").play()
    assert counts(database, TABLE, VIEW) == [1_400, 1_400]
    assert page()[1].pin.snapshot == "20260101T000000Z"


CHANGED = {
    "deleted": f"DELETE FROM {TABLE} WHERE user_id = '7'",
    "changed": f"UPDATE {TABLE} SET item_id = 'other' WHERE user_id = '7'",
    "emptied": f"TRUNCATE {TABLE}",
}


@pytest.mark.parametrize("statement", CHANGED.values(), ids=CHANGED)
def test_rows_of_a_table(well, database, statement):
    database.execute(statement)
    assert any("the receipt and PostgreSQL" in told for told in differences())
    entry("Rows of a published table were changed").play()
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


def empty(here):
    for blob in here.storage_client.list_blobs(here.env["EXPORT_BUCKET"]):
        blob.delete()


def test_the_export_bucket(well, services, database):
    source(well, 1_600)
    run("export", TABLE)
    empty(well)
    ran = recosync("import", TABLE)
    assert (ran.code, "Export it first" in ran.err) == (2, True)
    assert counts(database, TABLE) == [1_500]
    entry("The export bucket was emptied").play()
    back(database, 1_600)


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
        sent = reconcile.run(Services.from_environment(os.environ), datetime.now(UTC) + timedelta(minutes=31))
        assert [each["sent"] for each in sent if each["table"] == TABLE] == ["manifest"]
        entry("PostgreSQL went back to a backup").play()
        back(restored, 1_600)
    well.cloud.postgres.drop(backup)
