"""Tables without views, views of several tables, and tables that stay empty: by every step, and told as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.catalog import FOLDER_VARIABLE
from shared.daily import export
from shared.daily.refresh import rebuild
from shared.errors import BadRequestError, BusyError
from shared.operate import decisions, removal, verify
from shared.operate.cli.output import Exit
from shared.operate.migrate import migrate
from shared.operate.status import gather
from shared.operate.status.page import render
from shared.services import HourlyServices
from shared.upkeep import housekeeping, reconcile
from tests.kit.commands import recosync
from tests.kit.own_catalogs import ITEMS, SHOWN, Own, users
from tests.kit.sessions import one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

BOTH = """
CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT n, name, item FROM users LEFT JOIN items USING (n);
CREATE UNIQUE INDEX "{{ ts_nodash }}_shown_n" ON {{ view | identifier }} (n);
"""
ONE = BOTH.replace("item FROM users LEFT JOIN items USING (n)", "'none' AS item FROM users")


@pytest.fixture
def own(services, database, tmp_path) -> Own:
    (tmp_path / "views").symlink_to(tmp_path)
    return Own(services, database, tmp_path)


def look(own: Own):
    """The status page, which has to render."""
    report = gather(replace(HourlyServices.from_environment(), catalog=own.services.catalog))
    assert report.problems == ()
    assert "<html" in render(report, None)
    return report


def test_a_catalog_of_tables_alone_goes_through_every_step(own, here, monkeypatch):
    here.bigquery_client.query("CREATE TABLE seed_local.users AS SELECT 1 AS n, 'ann' AS name").result()
    alone = own.of(users())
    monkeypatch.setenv(FOLDER_VARIABLE, str(own.folder))
    assert recosync("catalog", "terraform").code == recosync("catalog", "check").code == 0
    alone.publish(1, "users", n=[1], name=["ann"])
    assert alone.refresh("users") == "fresh"
    alone.publish(2, "users", n=[1], name=["eve"])
    decisions.rollback(alone.services, "users", day(1), "test")
    assert alone.rows("users") == [(1, "ann")]
    now = datetime.now(UTC) + timedelta(hours=2)
    assert reconcile.run(alone.services, now) == []
    assert None not in (housekeeping.run(alone.services, now) or {"": None}).values()
    assert verify.table(alone.services, alone.services.catalog.tables["users"]).differences == []
    assert migrate(alone.services) == []
    report = look(alone)
    assert ([table.name for table in report.tables], report.views) == (["users"], ())
    for command in ("materialize", "plan", "status"):
        assert (recosync(command, "--json").code, recosync(command).err) == (0, "")


def test_a_catalog_of_logs_alone_is_told_as_that(own):
    log = """[hourly.past_offer_context]\ntime = "at"\nkey = "id"\n[hourly.past_offer_context.columns]
        id = { type = "bigint", bigquery = "INT64" }\nat = { type = "timestamp", bigquery = "TIMESTAMP" }\n"""
    alone = own.of(log)
    asked = export.parse(alone.services, {}, None, datetime.now(UTC))
    answer, status = export.run(alone.services, asked)
    assert (status, answer["tables"], answer["failed"]) == (200, [], [])
    assert migrate(alone.services) == []
    assert reconcile.run(alone.services, datetime.now(UTC)) == []
    report = look(alone)
    assert (report.tables, report.views) == ((), ())


def test_a_view_of_two_tables_waits_for_both_and_then_follows_each(own):
    both = own.of(users() + ITEMS + SHOWN, {"shown": BOTH})
    both.publish(1, "users", n=[1, 2], name=["ann", "bob"])
    assert both.refresh("users") == "fresh"
    assert one(both.database, "SELECT to_regclass('shown')") is None
    with pytest.raises(BadRequestError, match="reads items, never published yet"):
        rebuild(both.services, both.services.catalog.views["shown"])
    verdict = verify.table(both.services, both.services.catalog.tables["users"])
    assert "it also reads items, never published" in str(verdict.notes)
    (view,) = look(both).views
    assert set(view.missing) == {"users", "items"}
    # Nobody has to send anything again: what is missing comes with the other table.
    assert reconcile.run(both.services, datetime.now(UTC) + timedelta(hours=2)) is not None
    both.publish(1, "items", n=[1], item=["a"])
    assert both.refresh("items") == "refreshed"
    assert both.rows("shown") == [(1, "ann", "a"), (2, "bob", None)]
    for number, (table, column) in enumerate((("users", "name"), ("items", "item"), ("items", "item")), 2):
        both.publish(number, table, n=[1], **{column: [f"{column}-{number}"]})
        assert both.refresh(table) == "refreshed"
    assert both.rows("shown") == [(1, "name-2", "item-4")]
    assert [source.current for source in look(both).views[0].reads] == [True, True]
    decisions.rollback(both.services, "items", day(3), "test")
    assert both.refresh("items") == "refreshed"
    assert both.rows("shown") == [(1, "name-2", "item-3")]


def test_a_live_view_that_gets_a_second_table_is_kept_until_that_is_published(own):
    first = own.of(users() + SHOWN.replace(', "items"', ""), {"shown": ONE})
    first.publish(1, "users", n=[1], name=["ann"])
    assert first.refresh("users") == "refreshed"
    both = own.of(users() + ITEMS + SHOWN, {"shown": BOTH})
    both.publish(2, "users", n=[1], name=["eve"])
    assert both.refresh("users") == "fresh"
    assert both.rows("shown") == [(1, "ann", "none")]
    # With another type of the column that it shows, it is to be built anew first, and that takes both tables.
    retyped = own.of(users("varchar") + ITEMS + SHOWN)
    upload = Upload(retyped.services, "users", day(3))
    upload.part(rows("users", retyped.services, {"n": [1], "name": ["joe"]}))
    manifest = upload.manifest()
    with pytest.raises(BusyError, match="its views read items, never published yet"):
        arrive(retyped.services, manifest)
    retyped.publish(1, "items", n=[1], item=["a"])
    assert retyped.refresh("items") == "refreshed"
    assert retyped.rows("shown") == [(1, "eve", "a")]
    assert arrive(retyped.services, manifest) == ["published"]
    assert retyped.rows("shown") == [(1, "joe", "a")]
    assert one(own.database, "SELECT count(*) FROM recosync.failure") == 0


def test_a_view_that_reads_one_table_less_lets_the_other_go(own):
    both = own.of(users() + ITEMS + SHOWN, {"shown": BOTH})
    both.publish(1, "users", n=[1], name=["ann"])
    both.publish(1, "items", n=[1], item=["a"])
    assert both.refresh("items") == "refreshed"
    first = own.of(users() + SHOWN.replace(', "items"', ""), {"shown": ONE})
    assert first.refresh("users") == "refreshed"
    assert first.rows("shown") == [(1, "ann", "none")]
    assert removal.drop(first.services, "items", "test", force=True)
    first.publish(2, "users", n=[1], name=["eve"])
    assert first.refresh("users") == "refreshed"
    assert first.rows("shown") == [(1, "eve", "none")]
    assert look(first).views[0].missing == ()


@pytest.mark.parametrize("parts", [0, 1])
def test_a_table_that_is_empty_from_the_first_day_is_published_and_its_view_is_empty(own, parts):
    both = own.of(users(more="allow_empty = true") + ITEMS + SHOWN, {"shown": BOTH})
    both.publish(1, "items", n=[1], item=["a"])
    for number in (1, 2):
        upload = Upload(both.services, "users", day(number))
        for _ in range(parts):
            upload.part(rows("users", both.services, {"n": [], "name": []}))
        assert arrive(both.services, upload.manifest()) == ["published"]
        assert both.refresh("users") == "refreshed"
        assert (both.rows("users"), both.rows("shown")) == ([], [])
    assert verify.table(both.services, both.services.catalog.tables["users"]).postgresql_rows == 0
    assert [table.published.rows for table in look(both).tables] == [0, 1]
    assert None not in (housekeeping.run(both.services, datetime.now(UTC) + timedelta(days=9)) or {"": None}).values()
    decisions.rollback(both.services, "users", day(1), "test")
    decisions.unpin(both.services, "users", "test")
    both.publish(3, "users", n=list(range(5_000)), name=["ann"] * 5_000)
    assert both.refresh("users") == "refreshed"
    assert one(own.database, "SELECT count(*) FROM shown") == 5_000


def test_an_empty_source_is_exported_from_the_first_day_on_where_the_catalog_allows_it(own, here, monkeypatch):
    query = "CREATE TABLE seed_local.{} AS SELECT 1 AS n, 'ann' AS {} FROM (SELECT 1) WHERE FALSE"
    for table, column in (("users", "name"), ("items", "item")):
        here.bigquery_client.query(query.format(table, column)).result()
    both = own.of(users(more="allow_empty = true") + ITEMS)
    asked = export.parse(both.services, {}, day(1).at, datetime.now(UTC))
    answer, status = export.run(both.services, asked)
    assert status == 200
    assert [(entry["table"], entry["rows"]) for entry in answer["tables"]] == [("users", 0)]
    assert [entry["table"] for entry in answer["failed"]] == ["items"]
    bucket = both.services.settings.bucket
    found = both.services.storage.objects(bucket, f"{both.services.settings.prefix}/users/")
    assert arrive(both.services, *(stored.version for stored in found))[-1] == "published"
    assert both.rows("users") == []
    monkeypatch.setenv(FOLDER_VARIABLE, str(own.folder))
    ran = recosync("verify", "users", "--json")
    assert (ran.code, ran.json["tables"][0]["source_rows"]) == (0, 0)
    assert recosync("plan", "items").code in (0, Exit.FAILED)
