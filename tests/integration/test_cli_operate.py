"""What operators look at and decide from the command line: status, verify, rollback, approve, reject."""

import getpass

import pytest

from shared.operate.cli.output import Exit
from tests.commands import recosync
from tests.steps import TABLE, day, one, upload, users
from tests.uploads import arrive

VIEW = "non_recommendable_items_mv"
SOURCE = "ml_reco_local.user_booked_item"
EVERYBODY = [f"user-{n:04}" for n in range(3_000)]


@pytest.fixture
def two(services):
    """A table with two publications, and its view."""
    for number, names in ((1, ["ann"]), (2, ["bob"])):
        assert arrive(services, upload(services, number, names).manifest()) == ["published"]
    assert recosync("materialize", VIEW).code == 0


@pytest.fixture
def held(services):
    """A table with a snapshot that was lost by two thirds."""
    assert arrive(services, upload(services, 1, EVERYBODY).manifest()) == ["published"]
    assert arrive(services, upload(services, 2, EVERYBODY[:1_000]).manifest()) == ["held"]


def as_published(here, user: str) -> None:
    here.bigquery_client.query(
        f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT '{user}' AS user_id, 'item' AS item_id"
    ).result()


def test_a_rollback_brings_the_rows_and_the_views_back_and_pins_them(services, database, two):
    ran = recosync("rollback", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["snapshot_id"] == str(day(1))
    assert ran.json["previous_snapshot_id"] == str(day(2))
    assert (ran.json["publication"], ran.json["views"]) == (3, "refreshed")
    assert users(database) == users(database, VIEW) == ["ann"]
    assert one(database, "SELECT pinned_by FROM recosync.pin") == getpass.getuser()
    assert arrive(services, upload(services, 3, ["eve"]).manifest()) == ["pinned"]
    ran = recosync("import", TABLE)
    assert ran.code == Exit.HELD
    assert f"recosync rollback {TABLE} --unpin" in ran.err


def test_after_an_unpin_events_publish_again(services, database, two):
    assert recosync("rollback", TABLE).code == 0
    assert recosync("rollback", TABLE, "--unpin", "--json").json["status"] == "unpinned"
    assert arrive(services, upload(services, 3, ["eve"]).manifest()) == ["published"]
    assert users(database) == ["eve"]
    assert recosync("rollback", TABLE, "--unpin", "--json").json["status"] == "was not pinned"


def test_what_was_gone_back_from_is_published_again_by_an_import(database, two):
    for option in ((), ("--unpin",)):
        assert recosync("rollback", TABLE, *option).code == 0
    assert recosync("import", TABLE, "--json").json["imported"][0]["status"] == "published"
    assert users(database) == ["bob"]


def test_a_rollback_to_a_named_snapshot(services, database, two):
    arrive(services, upload(services, 3, ["eve"]).manifest())
    assert recosync("rollback", TABLE, day(1)).code == 0
    assert users(database) == ["ann"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((TABLE, day(7)), f"has no snapshot {day(7)}"),
        ((TABLE, day(1), "--unpin"), "--unpin takes no snapshot"),
        (("nothing",), "is no table of the catalog"),
    ],
)
def test_an_impossible_rollback_says_why(two, arguments, why):
    ran = recosync("rollback", *arguments)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert why in ran.err


def test_what_is_approved_is_published(services, database, held):
    ran = recosync("approve", TABLE)
    assert ran.code == 0
    assert len(users(database)) == len(users(database, VIEW)) == 1_000
    assert one(database, "SELECT decided_by FROM recosync.hold") == getpass.getuser()


def test_what_is_rejected_never_is(services, database, held):
    assert recosync("reject", TABLE, day(2), "--json").json["status"] == "rejected"
    assert len(users(database)) == 3_000
    ran = recosync("import", TABLE)
    assert ran.code == Exit.FAILED
    assert "somebody rejected it" in ran.err
    assert recosync("approve", TABLE, day(2)).code == Exit.USAGE


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
    assert "1 rows and 0" in recosync("verify", TABLE).err


def test_a_view_that_is_behind_or_gone_is_found(here, services, database, two):
    as_published(here, "eve")
    arrive(services, upload(services, 3, ["eve"]).manifest())
    ran = recosync("verify", TABLE)
    assert ran.code == Exit.DIFFERS
    assert f"view {VIEW} is behind: it holds publication 2, readers see 3" in ran.err
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    assert f"view {VIEW} does not exist" in recosync("verify", TABLE).err


def test_a_table_that_was_never_published_has_nothing_to_compare(services):
    ran = recosync("verify", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["tables"][0]["notes"] == ["never published"]


def test_the_status_tells_what_waits_and_the_commands_for_it(services, held):
    ran = recosync("status")
    assert ran.code == 0
    assert f"recosync approve {TABLE} {day(2)}" in ran.out
    assert recosync("status", "--json").json["tables"][2]["held"][0]["snapshot"] == str(day(2))


def test_a_status_that_is_not_whole_says_so(services, monkeypatch):
    ran = recosync("status")
    assert ran.code == Exit.RETRY
    assert "there is no ledger yet" in ran.err


def test_a_migration_makes_the_ledger_and_lets_a_role_read_it(here, services, database):
    assert recosync("migrate", "--json").json["changes"] == ["ledger: brought up to date"]
    assert recosync("migrate").out == "Nothing to change.\n"
    assert recosync("migrate", "--reader", "api", "--json").json["changes"] == ["api: may read the ledger"]
    assert one(database, "SELECT has_schema_privilege('api', 'recosync', 'USAGE')") is True
    ran = recosync("migrate", "--reader", "nobody")
    assert ran.code == Exit.USAGE
    assert "there is no such role" in ran.err


def test_a_migration_adds_the_columns_that_the_catalog_has_more(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar)")
    changes = recosync("migrate", "--json").json["changes"]
    assert f"{TABLE}: item_id character varying added" in changes
