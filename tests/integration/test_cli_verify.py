"""A recount of tables from the command line: what differs, and what is only told."""

from dataclasses import replace

import pytest

from shared.operate import verify
from shared.operate.cli.output import Exit
from tests.kit.commands import recosync
from tests.kit.drifting_tables import TABLE as DRIFTING
from tests.kit.drifting_tables import Drift
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, publish_rows, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
SOURCE = "ml_reco_local.user_booked_item"

#: Makes every publication so old that its views are overdue.
OLDER = "recosync.publication SET published_at = published_at - interval '1 hour'"


@pytest.fixture
def two(services):
    """A table with two publications, and its view."""
    for number, names in ((1, ["ann"]), (2, ["bob"])):
        assert arrive(services, upload(services, number, names).manifest()) == ["published"]
    assert recosync("materialize", VIEW).code == 0


def as_published(here, user: str) -> None:
    here.bigquery_client.query(
        f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT '{user}' AS user_id, 'item' AS item_id"
    ).result()


def test_a_recount_of_what_agrees_says_so(here, services, two):
    as_published(here, "bob")
    ran = recosync("verify", TABLE, "--json")
    assert ran.code == 0
    (table,) = ran.json["tables"]
    assert (table["receipt_rows"], table["postgresql_rows"], table["source_rows"]) == (1, 1, 1)
    assert "agrees" in recosync("verify", TABLE).out


def test_a_source_that_went_on_is_told_and_no_difference(here, two):
    here.bigquery_client.query(
        f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT 'u' AS user_id, 'i' AS item_id UNION ALL SELECT 'v', 'i'"
    ).result()
    ran = recosync("verify", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["tables"][0]["notes"] == ["BigQuery holds 2 rows now, 1 when it was exported"]


def test_rows_that_somebody_changed_behind_our_back_are_found(here, database, two):
    as_published(here, "bob")
    child = one(database, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", TABLE)
    database.execute(f"UPDATE {child} SET user_id = 'robert'")
    ran = recosync("verify", TABLE)
    assert ran.code == Exit.DIFFERS
    assert ran.err == f"recosync: {TABLE}: the receipt and PostgreSQL: different contents of user_id\n"
    database.execute(f"DELETE FROM {child}")
    assert "1 row and 0" in recosync("verify", TABLE).err


def test_a_view_that_is_behind_or_gone_is_found_once_its_refresh_is_overdue(here, services, database, two):
    as_published(here, "eve")
    arrive(services, upload(services, 3, ["eve"]).manifest())
    query = "SELECT publication FROM recosync.publication WHERE table_name = %s ORDER BY 1"
    _, held, seen = [number for (number,) in database.execute(query, [TABLE])]
    behind = f"view {VIEW} is behind: it holds publication {held}, readers see {seen}"
    ran = recosync("verify", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["tables"][0]["notes"] == [f"{behind}: its refresh may be under way"]
    database.execute(f"UPDATE {OLDER}")
    ran = recosync("verify", TABLE)
    assert ran.code == Exit.DIFFERS
    assert behind in ran.err
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    assert f"view {VIEW} does not exist" in recosync("verify", TABLE).err


def test_a_view_that_waits_for_another_table_is_no_difference(here, services, database, two):
    as_published(here, "bob")
    offers = "recommendable_offers_raw"
    both = replace(services.catalog.views[VIEW], reads=(offers, TABLE))
    services = replace(services, catalog=replace(services.catalog, views={VIEW: both}))
    database.execute(f"UPDATE {OLDER}; DROP MATERIALIZED VIEW {VIEW}")
    verdict = verify.table(services, services.catalog.tables[TABLE])
    assert f"view {VIEW} does not exist: it also reads {offers}, never published" in verdict.notes
    assert verdict.differences == []


def test_a_view_as_source_is_counted_by_a_query(here, two):
    view = f"CREATE OR REPLACE VIEW {SOURCE} AS SELECT 'bob' AS user_id, 'item' AS item_id"
    here.bigquery_client.query(view).result()
    ran = recosync("verify", TABLE, "--json")
    assert (ran.code, ran.json["tables"][0]["source_rows"]) == (0, 1)
    assert ran.json["tables"][0]["notes"] == []


def test_what_a_view_fails_at_is_in_no_output(here, two):
    secret = "ann@example.com"
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE ml_reco_local.raw AS SELECT '{secret}' AS u").result()
    here.bigquery_client.query(
        f"CREATE OR REPLACE VIEW {SOURCE} AS"
        " SELECT u AS user_id, 'item' AS item_id FROM ml_reco_local.raw WHERE CAST(u AS INT64) > 0"
    ).result()
    ran = recosync("verify", TABLE, "--verbose")
    assert ran.code == Exit.DIFFERS
    assert "querying BigQuery: " in ran.err
    assert "(its message may quote a row)" in ran.err
    assert secret not in ran.out + ran.err


def test_a_table_that_can_not_be_counted_leaves_the_others_their_verdicts(here, services, database, two):
    as_published(here, "bob")
    publish_rows(services, 1, "iris_france", {"id": ["1"]})
    database.execute("DROP TABLE iris_france CASCADE")
    ran = recosync("verify", "iris_france", TABLE, "--json")
    assert ran.code == Exit.DIFFERS
    broken, whole = sorted(ran.json["tables"], key=lambda table: table["table"])
    assert (broken["table"], len(broken["differences"])) == ("iris_france", 1)
    assert (whole["postgresql_rows"], whole["differences"]) == (1, [])


@pytest.mark.parametrize("more", [{"name": "text"}, {"name": "varchar", "price": "decimal"}], ids=["type", "column"])
def test_a_catalog_that_is_newer_than_what_is_published_is_a_note(services, database, tmp_path, more):
    drift = Drift(services, database, tmp_path)
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["ann", "bob"])
    drift.refresh(before)
    after = drift.of(more)
    verdict = verify.table(after, after.catalog.tables[DRIFTING])
    changed = "name is character varying" if len(more) == 1 else "price is missing"
    assert (verdict.receipt_rows, verdict.postgresql_rows) == (2, 2)
    assert verdict.notes[0].startswith(f"not counted: {changed}, the catalog says")
    assert [difference for difference in verdict.differences if "does not exist" not in difference] == []
    database.execute(f"UPDATE {drift.parts()[0]} SET n = 7")
    differences = verify.table(after, after.catalog.tables[DRIFTING]).differences
    assert "the receipt and PostgreSQL: different contents of n" in differences


def test_a_table_that_was_never_published_has_nothing_to_compare(services):
    assert recosync("migrate").code == 0
    ran = recosync("verify", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["tables"][0]["notes"] == ["never published"]
