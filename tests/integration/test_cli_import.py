"""Imports by hand, from the command line: which snapshot, what holds it, and what others do at the same time."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.daily import arrival, extract
from shared.errors import CatalogError
from shared.operate import imports, patience
from shared.operate.cli.output import Exit
from shared.upkeep import housekeeping
from tests.kit.commands import recosync
from tests.kit.drifting_tables import TABLE as DRIFTING
from tests.kit.drifting_tables import Drift
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import Upload, arrive

VIEW = "non_recommendable_items_mv"
MANY = [f"user-{n:04}" for n in range(3_000)]


def on(number: int) -> list[str]:
    return ["--date", f"{day(number).at:%Y%m%d}"]


@pytest.fixture
def truncated(services):
    """A snapshot of few rows that was never published, between two of many."""
    publish(services, 1, MANY)
    publish(services, 3, MANY)
    upload(services, 2, ["ann"]).manifest()


def test_an_older_snapshot_that_nobody_has_seen_is_held_by_its_limits(services, database, truncated):
    for _ in range(2):
        ran = recosync("import", TABLE, *on(2), "--json")
        assert ran.code == Exit.HELD
        (told,) = ran.json["imported"]
        assert (told["status"], told["published_snapshot_id"]) == ("held", str(day(3)))
        assert told["reasons"] == ["1 row, 100.0% fewer than the 3,000 published; the limit is 30.0%"]
        assert len(users(database)) == 3_000


def test_the_command_that_is_told_of_a_held_older_snapshot_publishes_it(database, truncated):
    assert (
        f"    recosync rollback {TABLE} {day(2)}\n    recosync reject {TABLE} {day(2)}\n"
        in recosync("import", TABLE, *on(2)).err
    )
    assert recosync("approve", TABLE, day(2)).code == Exit.USAGE
    assert recosync("rollback", TABLE, day(2)).code == 0
    assert users(database) == ["ann"]


def test_one_that_readers_have_seen_is_published_again_whatever_it_holds(services, database):
    publish(services, 1, ["ann"])
    assert arrive(services, upload(services, 2, MANY).manifest()) == ["held"]
    assert recosync("approve", TABLE).code == 0
    ran = recosync("import", TABLE, *on(1), "--json")
    assert (ran.code, ran.json["imported"][0]["status"]) == (0, "published")
    assert users(database) == ["ann"]


def test_a_table_without_a_snapshot_of_the_day_leaves_the_others_alone(services, database):
    upload(services, 1, ["ann"]).manifest()
    ran = recosync("import", "iris_france", TABLE, *on(1), "--json")
    assert ran.code == Exit.USAGE
    assert [entry["table"] for entry in ran.json["imported"]] == [TABLE]
    assert [(entry["table"], entry["retryable"]) for entry in ran.json["failed"]] == [("iris_france", False)]
    assert users(database) == ["ann"]


def test_an_empty_manifest_is_none(services, database):
    upload(services, 1, ["ann"]).manifest()
    upload(services, 2, ["bob"]).raw_manifest(b"")
    assert recosync("import", TABLE).code == 0
    assert users(database) == ["ann"]
    assert recosync("import", TABLE, "--snapshot", day(2)).code == Exit.USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", TABLE, "--date", "20260102", "--snapshot", day(1)),
        ("export", TABLE, "--date", "20260102", "--force"),
    ],
)
def test_options_that_contradict_each_other_are_refused(services, arguments):
    ran = recosync(*arguments)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "takes no --date" in ran.err


@pytest.fixture
def old(services, monkeypatch):
    """A snapshot so old that housekeeping drops its parts, and a function that has it do so after each staging."""
    monkeypatch.setattr(patience, "PAUSE", 0.05)
    for number in range(1, 6):
        publish(services, number, [f"user-{number}"])
    staging = arrival.stage_all

    def dropping(times: int) -> None:
        left = iter(range(times))

        def stage_all(*arguments):
            staging(*arguments)
            if next(left, None) is not None:
                assert housekeeping.run(services, datetime.now(UTC) + timedelta(days=4))["parts"]

        monkeypatch.setattr(arrival, "stage_all", stage_all)

    return dropping


def test_parts_that_are_dropped_meanwhile_are_staged_again(database, old):
    old(1)
    ran = recosync("import", TABLE, "--snapshot", day(1))
    assert ran.code == 0
    assert ran.err == f"waiting: {TABLE} {day(1)}: parts of it were dropped just now\n"
    assert users(database) == ["user-1"]


def test_parts_that_are_dropped_all_the_time_are_a_reason_to_come_back(database, old, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", 0)
    old(1_000)
    ran = recosync("import", TABLE, "--snapshot", day(1))
    assert ran.code == Exit.RETRY
    assert "parts of it were dropped just now" in ran.err
    assert users(database) == ["user-5"]


def test_a_snapshot_of_other_columns_is_told_with_the_way_that_there_is(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["ann"])
    drift.manifest(before, 2, name=["bob"])
    after = drift.of({"name": "varchar", "price": "decimal"})
    table = after.catalog.tables[DRIFTING]
    with pytest.raises(
        CatalogError, match=f"the catalog says n, name, price. .* recosync rollback {DRIFTING} {day(1)}"
    ):
        imports.find(after, table, None, day(1))
    with pytest.raises(CatalogError, match=f"Export it anew: recosync export {DRIFTING} --force"):
        imports.find(after, table, None, day(2))


@pytest.fixture
def exported(here, services):
    """A snapshot that an export left complete, and whose event is lost."""
    source = "ml_reco_local.user_booked_item"
    here.bigquery_client.query(f"CREATE OR REPLACE TABLE {source} AS SELECT 'ann' AS user_id, 'x' AS item_id").result()
    assert "The functions import it" in recosync("export", TABLE, *on(1)).out


@pytest.mark.usefixtures("exported")
def test_an_export_that_finds_its_snapshot_complete_names_the_import_that_is_left(database):
    ran = recosync("export", TABLE, *on(1))
    assert (ran.code, ran.err) == (0, "")
    assert "The functions import it" not in ran.out
    command = f"recosync import {TABLE} --snapshot {day(1)}"
    assert command in ran.out
    assert recosync(*command.split()[1:]).code == 0
    assert users(database) == ["ann"]
    assert "recosync import" not in recosync("export", TABLE, *on(1)).out


@pytest.mark.usefixtures("exported")
def test_an_export_does_not_wait_for_what_nobody_imports():
    ran = recosync("export", TABLE, *on(1), "--wait", "--json")
    assert ran.code == Exit.HELD
    assert [entry["status"] for entry in ran.json["imported"]] == ["waiting"]
    assert f"recosync import {TABLE} --snapshot {day(1)}" in ran.err
    assert recosync("import", TABLE).code == 0
    assert recosync("materialize", VIEW).code == 0
    assert recosync("export", TABLE, *on(1), "--wait").code == 0


def test_an_older_source_is_no_reason_to_hold_an_older_snapshot(here, database, monkeypatch):
    """Who names an older day wants its rows."""
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta())
    source = "ml_reco_local.user_booked_item"
    for number, user in ((1, "ann"), (2, "bob")):
        query = f"CREATE OR REPLACE TABLE {source} AS SELECT '{user}' AS user_id, 'x' AS item_id"
        here.bigquery_client.query(query).result()
        assert recosync("export", TABLE, *on(number)).code == 0
    assert recosync("import", TABLE, *on(2)).code == 0
    assert recosync("import", TABLE, *on(1)).code == 0
    assert one(database, "SELECT count(DISTINCT source_modified_at) FROM recosync.snapshot") == 2
    assert users(database) == ["ann"]


def test_a_table_that_fails_for_good_decides_the_exit_code(services):
    """What failed for good outweighs what makes no sense."""
    broken = Upload(services, "enriched_user", day(1))
    broken.part(b"no Parquet")
    broken.manifest()
    assert recosync("import", "iris_france", "enriched_user", *on(1)).code == Exit.FAILED
    assert recosync("import", "iris_france", *on(1)).code == Exit.USAGE
