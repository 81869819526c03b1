"""What operators look at and decide from the command line: status, rollback, approve, reject, migrate."""

import getpass
import shlex
from dataclasses import replace
from functools import partial

import pytest

from shared import catalog
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.ledger import snapshots
from shared.operate import decisions, patience
from shared.operate.cli.output import Exit
from shared.target import tables
from tests.kit import sessions
from tests.kit.commands import recosync
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
EVERYBODY = [f"user-{n:04}" for n in range(3_000)]


def number(database):
    """What readers see now is published as."""
    return one(database, "SELECT max(publication) FROM recosync.publication WHERE table_name = %s", TABLE)


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


def test_a_rollback_brings_the_rows_and_the_views_back_and_pins_them(services, database, two):
    ran = recosync("rollback", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["snapshot_id"] == str(day(1))
    assert ran.json["previous_snapshot_id"] == str(day(2))
    assert (ran.json["publication"], ran.json["views"]) == (number(database), "refreshed")
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


@pytest.fixture
def pinned(services, two):
    """A table that is pinned, to which two snapshots came meanwhile."""
    assert recosync("rollback", TABLE).code == 0
    for number, names in ((3, ["cleo"]), (4, ["dan"])):
        assert arrive(services, upload(services, number, names).manifest()) == ["pinned"]


def test_an_unpin_brings_the_newest_that_arrived_meanwhile_and_its_views(database, pinned):
    ran = recosync("rollback", TABLE, "--unpin", "--json")
    assert (ran.code, ran.json["status"], ran.json["snapshot_id"]) == (Exit.DONE, "unpinned", str(day(4)))
    assert (ran.json["previous_snapshot_id"], ran.json["views"]) == (str(day(1)), "refreshed")
    assert ran.json["publication"] == number(database)
    assert users(database) == users(database, VIEW) == ["dan"]
    ran = recosync("rollback", TABLE, "--unpin", "--json")
    assert (ran.json["status"], ran.json["snapshot_id"], ran.json["publication"]) == ("was not pinned", None, None)


def test_an_unpin_that_died_before_it_brought_anything_is_repeated(services, database, pinned):
    assert decisions.unpin(services, TABLE, "test")
    ran = recosync("rollback", TABLE, "--unpin", "--json")
    assert (ran.code, ran.json["status"], ran.json["snapshot_id"]) == (Exit.DONE, "was not pinned", str(day(4)))
    assert users(database) == ["dan"]


def test_an_unpin_after_which_nothing_has_arrived_says_so(database, two):
    assert recosync("rollback", TABLE).code == 0
    ran = recosync("rollback", TABLE, "--unpin")
    assert ran.code == Exit.DONE
    assert f"{TABLE} is unpinned." in ran.out
    assert "Nothing newer than what readers see has arrived" in ran.out
    assert users(database) == ["ann"]


def test_an_unpin_names_who_decides_about_what_is_held(services, database):
    for number, names in ((1, EVERYBODY), (2, EVERYBODY[:2_900])):
        assert arrive(services, upload(services, number, names).manifest()) == ["published"]
    assert recosync("rollback", TABLE).code == 0
    arrive(services, upload(services, 3, EVERYBODY[:9]).manifest())
    ran = recosync("rollback", TABLE, "--unpin")
    assert ran.code == Exit.HELD
    assert f"recosync approve {TABLE} {day(3)}" in ran.err
    assert one(database, "SELECT count(*) FROM recosync.pin") == 0
    assert len(users(database)) == 3_000
    ran = recosync("rollback", TABLE, "--unpin", "--json")
    assert "99.7% fewer" in ran.json["reasons"][0]
    assert recosync("reject", TABLE).code == 0
    assert recosync("rollback", TABLE, "--unpin").code == Exit.DONE


def test_an_unpin_whose_snapshot_does_not_come_stands_and_names_the_command_that_brings_it(services, database, pinned):
    database.execute(f"CREATE TABLE mine (CHECK (user_id <> 'x')) INHERITS ({TABLE})".encode())
    ran = recosync("rollback", TABLE, "--unpin", "--json")
    assert ran.code == Exit.FAILED
    assert (ran.json["status"], ran.json["snapshot_id"], ran.json["retryable"]) == ("unpinned", str(day(4)), False)
    assert "mine" in ran.json["error"]
    assert ran.err.splitlines()[-1].strip() == f"recosync import {TABLE} --snapshot {day(4)}"
    assert one(database, "SELECT count(*) FROM recosync.pin") == 0
    assert users(database) == ["ann"]
    database.execute("DROP TABLE mine")
    assert recosync(*shlex.split(ran.err.splitlines()[-1])[1:]).code == 0
    assert users(database) == ["dan"]


def test_an_unpin_names_the_import_of_what_is_not_staged_any_more(services, database, pinned):
    with connect(services.settings, "test") as connection, connection.transaction():
        for part in snapshots.named_parts(connection, TABLE, day(4)):
            tables.drop_child(connection, part.id)
    ran = recosync("rollback", TABLE, "--unpin")
    assert ran.code == Exit.HELD
    assert f"recosync import {TABLE} --snapshot {day(4)}" in ran.err
    assert recosync("import", TABLE, "--snapshot", day(4)).code == 0
    assert users(database) == ["dan"]


def test_what_was_gone_back_from_is_published_again_by_an_import(database, two):
    for option in ((), ("--unpin",)):
        assert recosync("rollback", TABLE, *option).code == 0
    assert recosync("import", TABLE, "--json").json["imported"][0]["status"] == "published"
    assert users(database) == ["bob"]


@pytest.fixture
def foreign(database, two):
    """Somebody's view over ours, which keeps ours from being replaced."""
    database.execute(f"CREATE VIEW theirs AS SELECT * FROM {VIEW}")


def test_a_rollback_whose_views_stay_behind_is_told_and_not_to_be_repeated(database, foreign):
    ran = recosync("rollback", TABLE, "--json")
    assert ran.code == Exit.FAILED
    assert (ran.json["snapshot_id"], ran.json["publication"]) == (str(day(1)), number(database))
    assert "theirs" in ran.json["views"]
    assert f"its views alone:\n    recosync materialize {VIEW}\n" in ran.err
    assert (users(database), users(database, VIEW)) == (["ann"], ["bob"])
    ran = recosync("rollback", TABLE)
    assert ran.code == Exit.USAGE
    assert f"is back at {day(1)} already" in ran.err
    database.execute("DROP VIEW theirs")
    assert recosync("materialize", VIEW).code == 0
    assert users(database, VIEW) == ["ann"]


def test_a_rollback_whose_views_somebody_builds_is_told(here, services, database, two, monkeypatch):
    arrive(services, upload(services, 3, ["eve"]).manifest())
    monkeypatch.setattr(patience, "while_busy", partial(patience.while_busy, seconds=0))
    with sessions.held(here.dsn, Lock.view(VIEW)):
        ran = recosync("rollback", TABLE, "--json")
    assert (ran.code, ran.json["snapshot_id"]) == (Exit.RETRY, str(day(2)))
    assert recosync("rollback", TABLE).code == Exit.USAGE
    assert users(database) == ["bob"]


def test_a_rollback_does_not_call_a_view_fresh_that_waits_for_another_table(services, two, monkeypatch):
    known = services.catalog
    view = replace(known.views[VIEW], name="both_mv", reads=(TABLE, "iris_france"))
    other = replace(known, views={**known.views, "both_mv": view})
    monkeypatch.setattr(catalog, "load", lambda *_: other)
    ran = recosync("rollback", TABLE, "--json")
    assert ran.code == 0
    assert ran.json["views"] == "refreshed, without both_mv: another table has yet to be published"


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


def test_a_migration_that_fails_tells_what_it_changed_before(services):
    ran = recosync("migrate", "--reader", "nobody", "--json")
    assert ran.code == Exit.USAGE
    assert ran.json["changes"] == ["ledger: brought up to date"]
    assert "there is no such role" in ran.json["error"]


def test_a_migration_adds_the_columns_that_the_catalog_has_more(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar)")
    changes = recosync("migrate", "--json").json["changes"]
    assert f"{TABLE}: item_id character varying added" in changes
