"""What left the catalog is named, stays until somebody drops it, and may come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from shared.catalog import FOLDER_VARIABLE
from shared.daily import export, extract
from shared.db.locks import Lock
from shared.errors import BadRequestError, BusyError, RetryableError, TargetError
from shared.operate import decisions, removal
from shared.operate.cli.output import Exit
from shared.operate.migrate import migrate
from shared.operate.status import gather
from shared.operate.status.page import render
from shared.services import HourlyServices
from shared.upkeep import housekeeping, reconcile
from tests.kit.commands import recosync
from tests.kit.own_catalogs import ITEMS, SHOWN, Own, users
from tests.kit.sessions import held, one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

#: What the table has besides its columns.
IN_APP = 'schema = "app"\nallow_empty = true'
VIEW = """
CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT n, name, item FROM users INNER JOIN items USING (n);
CREATE UNIQUE INDEX "{{ ts_nodash }}_shown_n" ON {{ view | identifier }} (n);
"""

#: The tables of the ledger in which nothing may be left of a table that was dropped.
FORGOTTEN = ("publication", "receipt", "snapshot", "snapshot_part", "part", "hold", "pin", "view_build")


@pytest.fixture
def own(services, database, tmp_path):
    database.execute("CREATE SCHEMA app")
    return Own(services, database, tmp_path).of(users(more=IN_APP) + ITEMS + SHOWN, {"shown": VIEW})


@pytest.fixture
def full(own):
    """Two tables and the view that reads them, published twice."""
    for number in (1, 2):
        own.publish(number, "users", n=[1, 2], name=["ann", "bob"])
    own.publish(1, "items", n=[1, 2], item=["a", "b"])
    assert own.refresh("items") == "refreshed"
    return own


@pytest.fixture
def less(full):
    """The catalog has but one table any more, since days."""
    return aged(full.of(ITEMS))


def aged(own: Own) -> Own:
    """What was published and built so far was so days ago."""
    for table, column in (("publication", "published_at"), ("view_build", "built_at"), ("export_run", "finished_at")):
        own.database.execute(f"UPDATE recosync.{table} SET {column} = {column} - interval '2 days'")
    return own


def named(own: Own) -> list[str]:
    return [f"{orphan.kind} {orphan.where}" for orphan in removal.left(own.services)]


def left(own: Own) -> dict[str, int]:
    """The rows of the ledger about the table and the view."""
    found = {}
    for table in FORGOTTEN:
        also = " OR view_name = 'shown'" if table == "view_build" else ""
        found[table] = one(own.database, f"SELECT count(*) FROM recosync.{table} WHERE table_name = 'users'{also}")
    return {table: count for table, count in found.items() if count}


def children(own: Own) -> int:
    return one(
        own.database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'recosync' AND tablename ~ '^part_[0-9]+$'"
    )


def test_what_left_the_catalog_is_named_with_its_size_and_stays(full, less):
    assert named(full) == []
    assert named(less) == ["view public.shown", "table app.users"]
    assert all(orphan.bytes > 0 for orphan in removal.left(less.services))
    told = migrate(less.services)
    assert [line.partition(" (")[0] for line in told] == [
        "view public.shown left the catalog", "table app.users left the catalog",
    ]  # fmt: skip
    assert told[1].endswith("MiB). To drop it: recosync drop users")
    assert less.rows("public.shown") == [(1, "ann", "a"), (2, "bob", "b")]


def test_the_view_goes_first_and_then_the_table_with_every_part_and_the_ledger_forgets_both(less):
    with pytest.raises(TargetError, match=r"other objects depend on it: materialized view public.shown .* app.users"):
        removal.drop(less.services, "users", "test")
    assert len(removal.drop(less.services, "shown", "test")) == 1
    assert named(less) == ["table app.users"]
    (dropped,) = removal.drop(less.services, "users", "test")
    assert (dropped.relations, len(dropped.parts)) == ((("app", "users"),), 2)
    assert one(less.database, "SELECT to_regclass('app.users')") is None
    assert (named(less), left(less), children(less)) == ([], {}, 1)
    assert less.rows("items") == [(1, "a"), (2, "b")]
    assert migrate(less.services) == []


def test_what_functions_may_still_have_in_their_catalog_is_dropped_only_by_force(full):
    """An operator's catalog may be another than the deployed one: what was brought within a day is told of as such."""
    less = full.of(ITEMS)
    assert migrate(less.services)[1].endswith(
        "exported or published within a day: is this the catalog that is deployed?"
    )
    before = left(less)
    for name in ("shown", "users"):
        with pytest.raises(BadRequestError, match=r"within a day: functions may have it .* wait a day, or add --force"):
            removal.drop(less.services, name, "test")
    assert (left(less), less.rows("public.shown")) == (before, [(1, "ann", "a"), (2, "bob", "b")])
    aged(less)
    call = "INSERT INTO recosync.export_run (table_name, started_at, outcome) VALUES ('users', now(), %s)"
    less.database.execute(call, ["confirmed unchanged"])
    removal.drop(less.services, "shown", "test")
    with pytest.raises(BadRequestError, match="was still exported"):
        removal.drop(less.services, "users", "test")
    assert removal.drop(less.services, "users", "test", force=True)


def test_nothing_is_dropped_that_others_hung_on_it(less):
    removal.drop(less.services, "shown", "test")
    less.database.execute("CREATE VIEW public.theirs AS SELECT name FROM app.users")
    less.database.execute("CREATE VIEW public.of_a_part AS SELECT name FROM recosync.part_1")
    before = left(less)
    with pytest.raises(TargetError) as refused:
        removal.drop(less.services, "users", "test")
    assert "theirs" in str(refused.value)
    assert "of_a_part" in str(refused.value)
    assert str(refused.value).endswith("Drop them, and then: recosync drop users")
    assert (left(less), less.rows("app.users")) == (before, [(1, "ann"), (2, "bob")])
    less.database.execute("DROP VIEW public.theirs, public.of_a_part")
    assert removal.drop(less.services, "users", "test")


def test_a_view_on_which_others_depend_is_not_dropped(less):
    less.database.execute("CREATE VIEW public.over AS SELECT name FROM shown")
    with pytest.raises(
        TargetError, match=r"depend on it: view public\.over .* Drop them, and then: recosync drop shown"
    ):
        removal.drop(less.services, "shown", "test")
    assert less.database.execute("SELECT name FROM public.over ORDER BY 1").fetchall() == [("ann",), ("bob",)]


def test_readers_that_stay_long_keep_it(here, less):
    removal.drop(less.services, "shown", "test")
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "recosync")) as reader:
        reader.execute("SELECT * FROM app.users")
        with pytest.raises(RetryableError, match="lock timeout"):
            removal.drop(less.services, "users", "test")
        assert named(less) == ["table app.users"]
    assert removal.drop(less.services, "users", "test")


def test_rows_that_no_publish_brought_are_not_dropped(less):
    removal.drop(less.services, "shown", "test")
    less.database.execute("INSERT INTO app.users VALUES (3, 'eve')")
    with pytest.raises(TargetError, match="holds rows of its own"):
        removal.drop(less.services, "users", "test")
    assert less.rows("app.users") == [(1, "ann"), (2, "bob"), (3, "eve")]


@pytest.mark.parametrize("name", ["items", "shown", "nobody", "recosync"])
def test_what_the_catalog_has_and_what_nobody_published_is_not_dropped(full, name):
    with pytest.raises(
        BadRequestError, match="the catalog has it" if name in ("items", "shown") else "nothing of that"
    ):
        removal.drop(full.services, name, "test")
    assert full.rows("public.shown") == [(1, "ann", "a"), (2, "bob", "b")]


@pytest.mark.parametrize(("name", "lock"), [("shown", Lock.view("shown")), ("users", Lock.publication("users"))])
def test_it_waits_for_who_is_at_it(here, less, name, lock):
    with held(here.dsn, lock, shared=name == "users"), pytest.raises(BusyError):
        removal.drop(less.services, name, "test")
    assert named(less) == ["view public.shown", "table app.users"]


def test_a_table_of_the_same_name_that_is_not_ours_stays(less):
    less.database.execute("CREATE TABLE public.users (n integer)")
    less.database.execute("CREATE SCHEMA other; CREATE MATERIALIZED VIEW other.shown AS SELECT 1 AS n")
    for name in ("shown", "users"):
        removal.drop(less.services, name, "test")
    assert one(less.database, "SELECT count(*) FROM public.users") == 0
    assert one(less.database, "SELECT n FROM other.shown") == 1


def test_what_somebody_dropped_by_hand_is_forgotten(less):
    less.database.execute("DROP TABLE app.users CASCADE")
    assert named(less) == ["view shown", "table users"]
    for name in ("shown", "users"):
        removal.drop(less.services, name, "test")
    assert (named(less), left(less)) == ([], {})


def test_a_table_that_was_published_empty_is_dropped(own):
    own.publish(1, "users", n=[], name=[])
    assert own.rows("app.users") == []
    less = own.of(ITEMS)
    assert named(less) == ["table app.users"]
    removal.drop(less.services, "users", "test", force=True)
    assert one(own.database, "SELECT to_regclass('app.users')") is None
    assert (named(less), left(less)) == ([], {})


def test_a_view_whose_columns_changed_goes_with_what_it_was_built_from(full):
    changed = full.of(users("varchar", IN_APP) + ITEMS + SHOWN)
    changed.publish(3, "users", n=[1], name=["eve"])
    stand_ins = "SELECT count(*) FROM pg_views WHERE schemaname = 'recosync' AND viewname <> 'freshness'"
    assert one(full.database, stand_ins) == 1
    less = full.of(ITEMS)
    removal.drop(less.services, "shown", "test", force=True)
    assert one(full.database, stand_ins) == 0
    removal.drop(less.services, "users", "test", force=True)
    assert (named(less), left(less)) == ([], {})


def test_a_table_that_comes_back_is_a_new_one(full, less):
    decisions.rollback(full.services, "users", day(1), "test")
    for name in ("shown", "users"):
        removal.drop(less.services, name, "test", force=True)
    # As it was, and then with other columns.
    full.publish(1, "users", n=[1], name=["ann"])
    assert full.refresh("users") == "refreshed"
    assert full.rows("public.shown") == [(1, "ann", "a")]
    removal.drop(full.of(ITEMS).services, "shown", "test", force=True)
    removal.drop(full.of(ITEMS).services, "users", "test", force=True)
    other = full.of(users("varchar", IN_APP) + ITEMS + SHOWN)
    other.publish(2, "users", n=[2], name=["bob"])
    assert other.refresh("users") == "refreshed"
    assert other.rows("public.shown") == [(2, "bob", "b")]


def test_a_table_that_comes_back_is_exported_and_imported_though_its_source_is_the_same(here, full, less, monkeypatch):
    # The emulated source is made just before it is read.
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta(0))
    query = "CREATE TABLE seed_local.users AS SELECT 1 AS n, 'ann' AS name"
    here.bigquery_client.query(query).result()
    assert exported(full, 5) == "exported"
    assert exported(full, 6) == "unchanged"
    for name in ("shown", "users"):
        removal.drop(less.services, name, "test", force=True)
    assert exported(full, 7) == "exported"
    assert full.rows("app.users") == [(1, "ann")]


def exported(own: Own, number: int) -> str:
    asked = export.parse(own.services, {"tables": ["users"]}, day(number).at, datetime.now(UTC))
    answer, status = export.run(own.services, asked)
    assert status == 200, answer
    arrive(own.services, *(version for version in objects(own) if str(day(number)) in version.name))
    return answer["tables"][0]["status"]


def objects(own: Own):
    found = own.services.storage.objects(own.services.settings.bucket, f"{own.services.settings.prefix}/users/")
    return [stored.version for stored in found]


def test_what_was_rejected_before_stays_rejected_when_the_table_comes_back(own):
    strict = own.of(users(more=IN_APP) + "[tables.users.limits]\nnull_share = { name = 0 }\n" + ITEMS)
    strict.publish(1, "users", n=[1], name=["ann"])
    bad = Upload(strict.services, "users", day(2))
    bad.part(rows("users", strict.services, {"n": [1], "name": [None]}))
    manifest = bad.manifest()
    assert arrive(strict.services, manifest) == ["held"]
    decisions.reject(strict.services, "users", None, "test")
    removal.drop(own.of(ITEMS).services, "users", "test", force=True)
    assert arrive(strict.services, manifest) == ["rejected"]
    strict.publish(3, "users", n=[1], name=["eve"])
    assert strict.rows("app.users") == [(1, "eve")]


def test_the_page_housekeeping_and_lost_events_go_on_beside_it(less):
    now = datetime.now(UTC) + timedelta(days=9)
    assert None not in (housekeeping.run(less.services, now) or {"": None}).values()
    assert less.rows("app.users") == [(1, "ann"), (2, "bob")]
    assert reconcile.run(less.services, now) == []
    report = look(less)
    assert (report.problems, [table.name for table in report.tables]) == ((), ["items"])
    assert [(orphan.kind, orphan.drop) for orphan in report.orphans] == [
        ("view", "recosync drop shown"), ("table", "recosync drop users"),
    ]  # fmt: skip
    assert report.attention == look(less.of(users(more=IN_APP) + ITEMS + SHOWN)).attention
    page = render(report, None)
    assert "Left the catalog" in page
    assert "users" in page
    for name in ("shown", "users"):
        removal.drop(less.services, name, "test")
    assert None not in (housekeeping.run(less.services, now) or {"": None}).values()
    assert (look(less).problems, look(less).orphans) == ((), ())
    assert "Left the catalog" not in render(look(less), None)


def look(own: Own):
    return gather(replace(HourlyServices.from_environment(), catalog=own.services.catalog))


def test_the_commands_name_it_and_drop_it(here, full, less, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(full.folder))
    (full.folder / "views").symlink_to(full.folder)
    here.bigquery_client.query("CREATE TABLE seed_local.items AS SELECT 1 AS n, 'a' AS item").result()
    assert "table users left the catalog, and readers keep it until:" in recosync("status").out
    planned = recosync("plan", "--json").json
    assert [(o["kind"], o["name"]) for o in planned["orphans"]] == [("view", "shown"), ("table", "users")]
    assert "recosync drop users" in recosync("plan").out
    assert "recosync drop shown" in recosync("migrate").out
    refused = recosync("drop", "items")
    assert (refused.code, "the catalog has it" in refused.err) == (Exit.USAGE, True)
    refused = recosync("drop", "users")
    assert (refused.code, "view public.shown" in refused.err) == (Exit.FAILED, True)
    assert recosync("drop", "shown", "--json").json["dropped"][0]["relations"] == ["public.shown"]
    assert "table app.users is dropped" in recosync("drop", "users").out
    assert recosync("drop", "users").code == Exit.USAGE
    assert recosync("plan", "--json").json["orphans"] == []
