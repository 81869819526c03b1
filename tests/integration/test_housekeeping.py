"""Housekeeping: what nobody needs is dropped a set time after it came, and what somebody may need stays."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from shared.daily import swap_table as swapping
from shared.daily.refresh import refresh
from shared.db.locks import Lock
from shared.errors import IncompleteError
from shared.ledger import holds
from shared.operate.decisions import rollback
from shared.upkeep import housekeeping
from tests.kit.background import Background, wait_for
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import Upload, arrive
from tests.kit.workers import worker

VIEW = "non_recommendable_items_mv"


def later(days=4):
    return datetime.now(UTC) + timedelta(days=days)


def kept(services, now=None):
    """What a run leaves of the kinds that it did not fail at."""
    dropped = housekeeping.run(services, now or later())
    assert dropped is not None
    assert None not in dropped.values()
    return dropped


def staged(database):
    """The days of the snapshots that stand in PostgreSQL, by the ledger, which tells the truth."""
    tables = {
        int(name.removeprefix("part_"))
        for (name,) in database.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace AND relkind = 'r'"
            " AND relname ~ '^part_[0-9]'"
        )
    }
    rows = database.execute("SELECT id, snapshot_id FROM recosync.part WHERE dropped_at IS NULL").fetchall()
    assert {id_ for id_, _ in rows} == tables
    return sorted({snapshot for _, snapshot in rows})


def days(*numbers):
    return [str(day(number)) for number in numbers]


@pytest.fixture
def five(services):
    """Five snapshots, published one after the other, each in two parts."""
    for number in range(1, 6):
        publish(services, number, [f"ann-{number}"], [f"bob-{number}"])


@pytest.mark.usefixtures("five")
def test_the_two_snapshots_before_the_published_one_stay_and_a_rollback_to_each_works(services, database):
    assert kept(services)["parts"] == 4
    assert staged(database) == days(3, 4, 5)
    assert users(database) == ["ann-5", "bob-5"]
    for number in (4, 3):
        rollback(services, TABLE, day(number), "an operator")
        assert users(database) == [f"ann-{number}", f"bob-{number}"]
        assert kept(services)["parts"] == 0
    assert kept(services) == dict.fromkeys(("builds", "stand_ins", "parts", "temporary_tables", "ledger_rows"), 0)


@pytest.mark.usefixtures("five")
def test_nothing_is_dropped_before_its_time(services, database):
    kept(services, later(days=2))
    assert staged(database) == days(1, 2, 3, 4, 5)
    longer = replace(services, settings=replace(services.settings, retention=timedelta(days=30)))
    kept(longer, later(days=29))
    assert staged(database) == days(1, 2, 3, 4, 5)


def test_the_rows_that_stood_before_any_publish_can_be_brought_back_as_long_as_they_are_one_of_the_two(
    services, database
):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")
    database.execute(f"INSERT INTO {TABLE} VALUES ('old', 'x')")
    for number in (1, 2):
        publish(services, number, ["new"])
    kept(services)
    adopted = holds.previous(database, TABLE, day(1))
    rollback(services, TABLE, adopted, "an operator")
    assert users(database) == ["old"]
    holds.unpin(database, TABLE)
    publish(services, 3, ["newer"])
    kept(services)
    assert staged(database) == [str(adopted), *days(1, 2, 3)]
    publish(services, 4, ["newest"])
    publish(services, 5, ["still newer"])
    kept(services)
    assert staged(database) == days(3, 4, 5)


def test_what_never_completed_goes_and_can_come_back(services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2)
    part = snapshot.part(bookings(services, ["bob"]))
    assert arrive(services, part) == ["staged"]
    kept(services)
    assert staged(database) == days(1)
    assert arrive(services, part, snapshot.manifest()) == ["staged", "published"]
    assert users(database) == ["bob"]


def test_what_an_event_stages_of_a_rejected_snapshot_is_dropped_at_once(here, services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2)
    parts = [snapshot.part(bookings(services, [name])) for name in ("bob", "cleo")]
    with held(here.dsn, Lock.part(parts[1])), pytest.raises(IncompleteError):
        arrive(services, snapshot.manifest())
    holds.hold(database, TABLE, day(2), ["too small"])
    kept(services)
    assert staged(database) == days(1, 2)
    holds.decide(database, TABLE, day(2), "rejected", "an operator")
    kept(services, later(days=0))
    assert staged(database) == days(1)


@pytest.mark.usefixtures("five")
def test_what_readers_see_is_never_dropped_whatever_the_ledger_says(services, database):
    database.execute("UPDATE recosync.publication SET snapshot_id = %s", [str(day(1))])
    kept(services)
    assert users(database) == ["ann-5", "bob-5"]


@pytest.mark.usefixtures("five")
def test_a_table_that_left_the_catalog_keeps_its_rows_and_nothing_to_go_back_to(services, database):
    without = {name: table for name, table in services.catalog.tables.items() if name != TABLE}
    kept(replace(services, catalog=replace(services.catalog, tables=without, views={})))
    assert staged(database) == days(5)
    assert users(database) == ["ann-5", "bob-5"]


@pytest.mark.usefixtures("five")
def test_a_part_that_somebody_works_on_or_reads_is_left_to_the_next_run(here, services, database):
    row = database.execute("SELECT min(id) FROM recosync.part WHERE snapshot_id = %s", [str(day(1))]).fetchone()
    with psycopg.connect(here.dsn) as reader:
        reader.execute(f"SELECT count(*) FROM recosync.part_{row[0]}".encode())
        assert kept(services)["parts"] == 3
        assert staged(database) == days(1, 3, 4, 5)
    assert kept(services)["parts"] == 1
    assert staged(database) == days(3, 4, 5)


@pytest.mark.usefixtures("five")
def test_a_part_that_a_foreign_view_reads_stays_until_the_view_goes(services, database):
    row = database.execute("SELECT min(id) FROM recosync.part").fetchone()
    database.execute(f"CREATE VIEW public.of_an_analyst AS SELECT * FROM recosync.part_{row[0]}")
    assert kept(services)["parts"] == 3
    database.execute("DROP VIEW public.of_an_analyst")
    assert kept(services)["parts"] == 1


@pytest.mark.usefixtures("five")
def test_a_snapshot_that_is_just_being_published_is_left_alone(here, services, database):
    with held(here.dsn, Lock.publication(TABLE)):
        assert kept(services)["parts"] == 0
    with held(here.dsn, Lock.publication(TABLE), shared=True):  # as a view's build does
        assert kept(services)["parts"] == 4


@pytest.mark.usefixtures("five")
def test_a_rollback_that_is_under_way_is_either_in_time_or_refused(here, services, database, monkeypatch):
    """It chose a snapshot that housekeeping drops before its turn comes: readers keep what they have, whole."""
    awaited = swapping._await_builds

    def overtaken(*arguments):
        monkeypatch.setattr(swapping, "_await_builds", awaited)
        assert kept(services)["parts"] == 4
        awaited(*arguments)

    monkeypatch.setattr(swapping, "_await_builds", overtaken)
    with pytest.raises(IncompleteError, match="import it again"):
        rollback(services, TABLE, day(1), "an operator")
    assert users(database) == ["ann-5", "bob-5"]
    assert holds.pinned(database, TABLE) is None
    with held(here.dsn, Lock.publication(TABLE), shared=True) as let_go:
        under_way = Background(lambda: rollback(services, TABLE, day(3), "an operator"))
        wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        kept(services)
        let_go(Lock.publication(TABLE))
        under_way.result()
    assert users(database) == ["ann-3", "bob-3"]


HOUSEKEEPING = """
from datetime import UTC, datetime, timedelta
from shared.upkeep import housekeeping
housekeeping.run(services, datetime.now(UTC) + timedelta(days=4))
"""


@pytest.mark.usefixtures("five")
def test_a_run_that_is_killed_leaves_nothing_half_dropped(here, services, database):
    row = database.execute("SELECT max(id) FROM recosync.part WHERE snapshot_id = %s", [str(day(2))]).fetchone()
    with psycopg.connect(here.dsn) as reader:
        reader.execute(f"SELECT count(*) FROM recosync.part_{row[0]}".encode())
        with worker(here.env, HOUSEKEEPING) as process:
            wait_for(
                lambda: one(database, "SELECT true FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
            )
            process.kill()
            process.wait()
    wait_for(lambda: housekeeping.run(services, later()) is not None)
    assert staged(database) == days(3, 4, 5)


@pytest.mark.usefixtures("five")
def test_one_run_at_a_time(here, services, database):
    with held(here.dsn, Lock.housekeeping()):
        assert housekeeping.run(services, later()) is None
    assert staged(database) == days(1, 2, 3, 4, 5)


def test_old_temporary_tables_are_dropped_and_others_are_not(here, services):
    ours = {f"{TABLE}_20260101T050000Z_1", "past_offer_context_20260310T10_1_2f0dab47_1"}
    theirs = {"of_an_analyst", f"{TABLE}_20260101T050000Z"}
    for name in ours | theirs:
        here.bigquery_client.query(f"CREATE TABLE tmp_local.`{name}` AS SELECT 1 AS n").result()

    def left():
        return {table.table_id for table in here.bigquery_client.list_tables("tmp_local")}

    assert kept(services, later(days=2))["temporary_tables"] == 0
    assert left() == ours | theirs
    assert kept(services)["temporary_tables"] == 2
    assert left() == theirs


@pytest.mark.usefixtures("five")
def test_a_temporary_data_set_that_is_gone_leaves_the_rest_of_the_work_alone(here, services, database):
    here.bigquery_client.delete_dataset("tmp_local")
    dropped = housekeeping.run(services, later())
    assert (dropped["parts"], dropped["temporary_tables"]) == (4, None)


def test_builds_of_views_that_left_the_catalog_are_dropped_unless_one_is_at_work(here, services, database):
    publish(services, 1, ["ann"])
    refresh(services, TABLE, 1)
    build = f"20260101T000000000000_{VIEW}"
    database.execute(f'CREATE MATERIALIZED VIEW public."{build}" AS SELECT 1 AS n')
    database.execute("INSERT INTO recosync.building (build_name, view_name) VALUES (%s, %s)", [build, VIEW])
    assert kept(services)["builds"] == 0  # the next refresh drops it
    without = replace(services, catalog=replace(services.catalog, views={}))
    with held(here.dsn, Lock.view(VIEW)):
        assert kept(without)["builds"] == 0
    assert kept(without)["builds"] == 1
    assert one(database, "SELECT to_regclass(%s)", f'"{build}"') is None
    assert one(database, f"SELECT count(*) FROM {VIEW}") == 1


def test_what_a_build_read_instead_of_a_table_is_dropped_once_nothing_reads_it(services, database):
    publish(services, 1, ["ann"])
    stand_in = f"20260101T000000000000_{VIEW}"
    database.execute(f'CREATE VIEW recosync."{stand_in}" AS SELECT user_id FROM {TABLE}')
    database.execute(f'CREATE MATERIALIZED VIEW public.built AS SELECT * FROM recosync."{stand_in}"')
    assert kept(services)["stand_ins"] == 0
    database.execute("DROP MATERIALIZED VIEW public.built")
    assert kept(services)["stand_ins"] == 1
    assert one(database, "SELECT to_regclass(%s)", f'recosync."{stand_in}"') is None


def test_the_ledger_forgets_calls_and_failures_of_long_ago(services, database):
    publish(services, 1, ["ann"])
    database.execute(
        "INSERT INTO recosync.export_run (table_name, started_at, outcome) VALUES (%s, now(), 'failed')", [TABLE]
    )
    database.execute("INSERT INTO recosync.failure (kind, subject, message) VALUES ('DataError', 'a', 'b')")
    assert kept(services, later(days=89))["ledger_rows"] == 0
    assert kept(services, later(days=91))["ledger_rows"] == 2
    assert one(database, "SELECT count(*) FROM recosync.publication") == 1


def test_the_ledger_forgets_snapshots_of_long_ago_that_nobody_needs(services, database):
    def told(table):
        return [name for (name,) in database.execute(f"SELECT snapshot_id FROM recosync.{table} ORDER BY 1".encode())]

    first = upload(services, 1, ["ann"])
    manifest = first.manifest()
    assert arrive(services, manifest) == ["published"]
    publish(services, 2, ["bob"])
    refresh(services, TABLE, 1)
    lost = Upload(services, TABLE, day(3)).part(bookings(services, ["of a manifest that never came"]))
    assert arrive(services, lost) == ["staged"]
    for number in (4, 5, 6):
        publish(services, number, [f"user-{number}"])
    assert kept(services)["parts"] == 3
    assert kept(services, later(days=89))["ledger_rows"] == 0
    # The second is what the view holds; of the third, there is but a part.
    assert kept(services, later(days=91))["ledger_rows"] == 2
    assert told("snapshot") == told("receipt") == told("publication") == told("snapshot_part") == days(2, 4, 5, 6)
    assert told("part") == days(2, 4, 5, 6)
    refresh(services, TABLE, 1)
    assert kept(services, later(days=91))["ledger_rows"] == 1
    assert told("snapshot") == told("receipt") == told("publication") == told("part") == days(4, 5, 6)
    assert one(database, "SELECT count(*) FROM recosync.view_build") == 1
    assert arrive(services, manifest) == ["stale"]
    assert kept(services, later(days=200))["ledger_rows"] == 0
    assert rollback(services, TABLE, None, "test").snapshot == day(5)
    assert rollback(services, TABLE, day(4), "test").snapshot == day(4)
    assert users(database) == ["user-4"]


def test_the_ledger_keeps_what_a_message_is_owed_of_and_what_is_pinned_or_newer_than_what_readers_see(
    services, database
):
    for number in range(1, 7):
        publish(services, number, [f"user-{number}"])
    assert rollback(services, TABLE, day(5), "test").snapshot == day(5)
    database.execute("UPDATE recosync.publication SET announced_at = NULL WHERE snapshot_id = %s", [str(day(2))])
    database.execute(
        "INSERT INTO recosync.refreshed (view_name, views, publications, rows, seconds)"
        " SELECT 'v', '{v}', jsonb_build_object(table_name, publication), 1, 1 FROM recosync.publication"
        " WHERE snapshot_id = %s AND cause = 'event'",
        [str(day(1))],
    )
    assert kept(services)["parts"] == 2
    assert kept(services, later(days=200))["ledger_rows"] == 0
    database.execute("DELETE FROM recosync.refreshed")
    assert kept(services, later(days=200))["ledger_rows"] == 1
    assert [name for (name,) in database.execute("SELECT snapshot_id FROM recosync.snapshot ORDER BY 1")] == days(
        2, 3, 4, 5, 6
    )


def test_its_numbers_can_be_answered(services):
    assert json.loads(json.dumps(housekeeping.run(services, later())))["parts"] == 0
