"""Migrate: the ledger and the tables brought up to date ahead of the publish that would do it."""

import shutil
from dataclasses import replace

import psycopg
import pytest

from shared.catalog import ROOT
from shared.catalog.parser import is_ledger_name
from shared.db.postgres import connect
from shared.errors import BadRequestError
from shared.ledger import entries, migrations
from shared.operate import decisions, removal
from shared.operate.migrate import migrate
from tests.kit.background import wait_for
from tests.kit.drifting_tables import TABLE, VIEW, Drift, reading
from tests.kit.sessions import one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

BEFORE, AFTER = {"name": "varchar"}, {"name": "varchar", "price": "decimal"}


@pytest.fixture
def drift(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of(BEFORE)
    drift.publish(before, 1, name=["a", "b"])
    drift.publish(before, 2, name=["c", "d"])
    drift.refresh(before)
    return drift


def test_an_added_column_comes_without_a_publish_to_the_table_and_every_part(here, drift):
    after = drift.of(AFTER)
    with reading(here.cloud.postgres.dsn(here.name, "api"), TABLE, VIEW) as seen:
        wait_for(lambda: len(seen) > 50)
        added, advice, rebuilt = migrate(after)
    assert added == f"{TABLE}: price numeric added"
    assert "recycle the API's connections" in advice
    assert set(seen) == {(TABLE, 2), (VIEW, 2)}
    assert drift.rows() == [(0, "c", None), (1, "d", None)]
    assert [drift.types(part) for part in drift.parts()] == [drift.types()] * 4
    assert rebuilt.startswith(f"view {VIEW} was built from another template than it has now: hourly_export has it ")
    assert migrate(after) == [rebuilt]
    decisions.rollback(after, TABLE, day(1), "test")
    assert drift.rows() == [(0, "a", None), (1, "b", None)]


def test_a_part_that_is_staged_gets_it_and_the_functions_of_the_older_catalog_go_on(drift):
    before = drift.of(BEFORE)
    snapshot = Upload(before, TABLE, day(3))
    part = snapshot.part(rows(TABLE, before, {"n": [0], "name": ["e"]}))
    assert arrive(before, part) == ["staged"]
    migrate(drift.of(AFTER))
    assert [drift.types(part) for part in drift.parts()] == [drift.types()] * 5
    assert arrive(before, snapshot.manifest()) == ["published"]
    drift.publish(before, 4, name=["g", "h"])
    assert drift.rows() == [(0, "g", None), (1, "h", None)]


def test_it_tells_what_is_left_to_the_next_publish_and_what_stands_in_its_way(drift):
    (change,) = migrate(drift.of({"name": "text"}))
    assert change.startswith(f"{TABLE}: name is character varying, the catalog says text; it changes with the next ")
    assert "recycle the API's connections" in change
    drift.database.execute(f"CREATE VIEW public.theirs AS SELECT name FROM {TABLE}")
    refused = "the next publish will refuse that while other objects use it"
    added, _, change, rebuilt = migrate(drift.of({"other": "text"}))
    assert added == f"{TABLE}: other text added"
    assert change == f"{TABLE}: name is character varying, the catalog says nothing; {refused}: public.theirs (name)"
    assert rebuilt.startswith(f"view {VIEW} was built from another template")
    assert set(drift.types()) == {"n", "name", "other"}


def test_a_database_without_anything_gets_the_ledger_and_no_tables(services, database):
    assert migrate(services) == ["ledger: brought up to date"]
    assert migrate(services) == []
    assert (
        one(
            database,
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND relname <> 'spatial_ref_sys'",
        )
        == 0
    )


def test_the_catalog_gives_nothing_a_name_that_the_ledger_has(services, database, drift):
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace"
    names = [name for (name,) in database.execute(query)]
    assert len(names) > 30
    assert [name for name in names if not is_ledger_name(name)] == []
    assert not any(is_ledger_name(name) for name in (*services.catalog.tables, "snapshots", "participation", "hold_up"))


@pytest.fixture
def reader(here):
    """A role of the test's own, that may do nothing yet; gives what connects as it."""
    name = f"reader_{here.name}"
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'".encode())
        yield name
        admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def readable(dsn, name):
    """The relations of the ledger's schema that the role may read, and those that it may not."""
    query = """
        SELECT has_table_privilege(oid, 'SELECT') AND has_schema_privilege('recosync', 'USAGE'), relname FROM pg_class
        WHERE relnamespace = to_regnamespace('recosync') AND relkind IN ('r', 'v', 'm')
    """
    with psycopg.connect(dsn(name)) as connection:
        rows = connection.execute(query).fetchall()
    return {relation for may, relation in rows if may}, {relation for may, relation in rows if not may}


LEDGER = {
    "migration", "snapshot", "snapshot_part", "part", "receipt", "publication", "view_build", "building", "failure",
    "failing", "hold", "pin", "export_run", "catalog_entry", "freshness",
}  # fmt: skip


def test_a_reader_may_read_the_ledger_and_none_of_the_rows(here, drift, reader):
    def dsn(role):
        return here.cloud.postgres.dsn(here.name, role)

    after = drift.of({"name": "text"})
    drift.publish(after, 3, name=["e", "f"])  # the view stands over a view of the parts now
    assert readable(dsn, reader)[0] == set()
    assert migrate(after, reader=reader) == [f"{reader}: may read the ledger"]
    assert migrate(after, reader=reader) == []
    may, may_not = readable(dsn, reader)
    assert may >= LEDGER
    assert not [name for name in may if name.startswith("part_") or name.endswith(VIEW)]
    assert [name for name in may_not if name.endswith(VIEW)]
    assert {part.removeprefix("recosync.") for part in drift.parts()} <= may_not


def test_a_reader_of_an_older_ledger_reads_the_newest_after_its_upgrade(here, services, reader, tmp_path, monkeypatch):
    oldest = tmp_path / "sql" / "ledger" / "1.sql"
    oldest.parent.mkdir(parents=True)
    shutil.copy(ROOT / "sql" / "ledger" / "1.sql", oldest)
    with monkeypatch.context() as older:
        older.setattr(migrations, "ROOT", tmp_path)
        older.setattr(removal, "orphans", lambda *_: [])  # the code of that ledger looked for none
        older.setattr(entries, "keep", lambda *_: None)  # and kept no catalog
        migrate(replace(services, catalog=replace(services.catalog, views={})), reader=reader)
    with connect(services.settings, "test") as connection:
        migrations.migrate(connection)
    assert readable(lambda role: here.cloud.postgres.dsn(here.name, role), reader)[0] >= LEDGER


def test_a_reader_that_is_no_role_is_refused(services):
    with pytest.raises(BadRequestError, match="nobody: there is no such role"):
        migrate(services, reader="nobody")


NO_ROLE = {
    "public": "there is no such role",
    "PUBLIC": "there is no such role",
    '"public"': "there is no such role",
    "Public ": "there is no such role",
    "current_user": "there is no such role",
    "none": "there is no such role",
    "": "there is no such role",
    "api\n": "there is no such role",
    "\udcff": "there is no such role",
    "api, postgres": "there is no such role",
    "x" * 5_000: "there is no such role",
    "pg_read_all_data": "is one of the server's own roles",
    "pg_database_owner": "is one of the server's own roles",
}


@pytest.mark.parametrize(("name", "told"), NO_ROLE.items(), ids=map(repr, range(len(NO_ROLE))))
def test_a_name_of_everybody_or_of_no_role_is_granted_nothing(services, database, name, told):
    migrate(services)
    rights = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'recosync'"
    before = one(database, rights)
    with pytest.raises(BadRequestError, match=told):
        migrate(services, reader=name)
    assert one(database, rights) == before
