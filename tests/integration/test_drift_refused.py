"""A catalog whose columns change: what stands in the way is named before anything changes, and a kill loses nothing."""

import psycopg
import pytest

from shared.daily import swap_table as swapping
from shared.db.locks import Lock
from shared.errors import BusyError, TargetError
from shared.operate import decisions
from tests.kit.background import Background, wait_for
from tests.kit.drifting_tables import TABLE, VIEW, Drift
from tests.kit.sessions import held, one
from tests.kit.snapshots import day
from tests.kit.uploads import arrive
from tests.kit.workers import worker

BEFORE, AFTER = {"value": "integer"}, {"value": "bigint"}
WITHOUT = {"other": "varchar"}


@pytest.fixture
def drift(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of(BEFORE)
    drift.publish(before, 1, value=[1, 2])
    drift.refresh(before)
    return drift


FOREIGN = {
    "a view": (f"CREATE VIEW public.theirs AS SELECT value FROM {TABLE}", "theirs (value)"),
    "a materialized view": (f"CREATE MATERIALIZED VIEW public.theirs AS TABLE {TABLE}", "theirs (value)"),
    "a function": (
        f"CREATE FUNCTION public.theirs() RETURNS bigint BEGIN ATOMIC SELECT sum(value) FROM {TABLE}; END",
        "function public.theirs() (value)",
    ),
    "a policy": (
        f"CREATE POLICY theirs ON {TABLE} USING (value > 0)",
        f"policy theirs on table public.{TABLE} (value)",
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("columns", [AFTER, WITHOUT], ids=["retyped", "dropped"])
@pytest.mark.parametrize(("create", "name"), FOREIGN.values(), ids=FOREIGN)
def test_what_others_made_of_a_column_is_named_and_nothing_changes_until_it_is_gone(drift, create, name, columns):
    database = drift.database
    database.execute(create)
    before = (drift.types(), drift.rows(), drift.rows(VIEW))
    after = drift.of(columns)
    manifest = drift.manifest(after, 2, **{next(iter(columns)): [None, None]})
    with pytest.raises(TargetError) as refused:
        arrive(after, manifest)
    assert name in str(refused.value)
    assert name in one(database, "SELECT message FROM recosync.failure")
    assert (drift.types(), drift.rows(), drift.rows(VIEW)) == before
    assert one(database, "SELECT count(*) FROM recosync.part WHERE rows IS NOT NULL") == 4
    kind = create.split(" theirs")[0].split(" public.")[0].removeprefix("CREATE ")
    database.execute(f"DROP {kind} theirs" + (f" ON {TABLE}" if kind == "POLICY" else ""))
    assert arrive(after, manifest) == ["published"]
    assert drift.types() == drift.types(VIEW)


@pytest.mark.parametrize(
    ("create", "name"),
    [
        (
            f"ALTER TABLE {TABLE} ADD CONSTRAINT small CHECK (value < 9)",
            f"constraint small on table public.{TABLE} (value)",
        ),
        (f"CREATE INDEX theirs ON {TABLE} (value)", "index public.theirs (value)"),
    ],
    ids=["a constraint", "an index"],
)
def test_what_the_server_would_drop_with_a_column_is_named_too_and_follows_a_retype(drift, create, name):
    drift.database.execute(create)
    without = drift.of(WITHOUT)
    with pytest.raises(TargetError) as refused:
        drift.publish(without, 2, other=["a", "b"])
    assert name in str(refused.value)
    after = drift.of(AFTER)
    drift.publish(after, 3, value=[3, 4])
    assert drift.rows() == drift.rows(VIEW) == [(0, 3), (1, 4)]


def test_a_column_that_others_added_stays_and_the_new_rows_have_nothing_in_it(drift):
    drift.database.execute(f"ALTER TABLE {TABLE} ADD theirs text; UPDATE {TABLE} SET theirs = 'x'")
    after = drift.of(AFTER)
    drift.publish(after, 2, value=[3, 4])
    assert drift.rows() == [(0, 3, None), (1, 4, None)]
    decisions.rollback(after, TABLE, None, "test")
    assert drift.rows() == [(0, 1, "x"), (1, 2, "x")]


def test_a_template_that_still_needs_a_dropped_column_is_refused_before_it_is_dropped(drift):
    after = drift.of(WITHOUT, view="n, value")
    with pytest.raises(TargetError, match='column "value" does not exist'):
        drift.publish(after, 2, other=["a", "b"])
    assert drift.rows() == drift.rows(VIEW) == [(0, 1), (1, 2)]
    assert one(drift.database, "SELECT count(*) FROM recosync.building") == 0


def test_a_template_that_names_the_tables_schema_is_refused(drift):
    after = drift.of(AFTER, table=f"public.{TABLE}")
    with pytest.raises(TargetError, match="Name the catalog's tables without a schema"):
        drift.publish(after, 2, value=[3, 4])
    assert drift.types()["value"] == "integer"


def test_while_a_view_is_being_built_by_others_the_event_is_kept(here, drift):
    after = drift.of(AFTER)
    manifest = drift.manifest(after, 2, value=[3, 4])
    with held(here.dsn, Lock.view(VIEW)), pytest.raises(BusyError):
        arrive(after, manifest)
    assert arrive(after, manifest) == ["published"]


#: Code of a worker that publishes with another catalog than the deployed one.
IMPORT = """
from dataclasses import replace
from pathlib import Path
from shared import catalog
from shared.daily import arrival
from shared.names import ObjectVersion
folder = Path(sys.argv[1])
services = replace(services, catalog=catalog.load(catalog.Place.of(folder)))
arrival.handle(services, ObjectVersion(sys.argv[2], sys.argv[3], int(sys.argv[4])), 1)
"""


def test_a_worker_killed_between_its_builds_and_the_swap_changes_nothing_and_leaves_nothing(here, drift):
    after, database = drift.of(AFTER), drift.database
    manifest = drift.manifest(after, 2, value=[3, 2**40])
    before = (drift.types(), drift.rows(), drift.rows(VIEW))
    with (
        held(here.dsn, Lock.publication(TABLE), shared=True),
        worker(here.env, IMPORT, drift.folder, manifest.bucket, manifest.name, manifest.generation) as process,
    ):
        wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), 60)
        assert one(database, "SELECT count(*) FROM recosync.building") == 1
        process.kill()
        process.wait()
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL(%s)"
        mine = [database.info.backend_pid]
        query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted"
        mine += [pid for (pid,) in database.execute(query)]
        wait_for(lambda: one(database, gone, mine))
    assert (drift.types(), drift.rows(), drift.rows(VIEW)) == before
    assert arrive(after, manifest) == ["published"]
    assert drift.rows() == drift.rows(VIEW) == [(0, 3), (1, 2**40)]
    assert one(database, "SELECT count(*) FROM recosync.building") == 0
    assert one(database, "SELECT count(*) FROM pg_class WHERE relkind IN ('m', 'v') AND relname ~ '^\\d{8}T'") == 1


def test_a_pin_that_comes_while_the_views_are_built_leaves_all_as_it_was(here, drift):
    after, database = drift.of(AFTER), drift.database
    manifest = drift.manifest(after, 2, value=[3, 4])
    before = (drift.types(), drift.rows(), drift.rows(VIEW))
    with held(here.dsn, Lock.publication(TABLE), shared=True) as let_go:
        publisher = Background(lambda: arrive(after, manifest))
        wait_for(lambda: one(database, "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        database.execute("INSERT INTO recosync.pin VALUES (%s, %s, now(), 'test')", [TABLE, str(day(1))])
        let_go(Lock.publication(TABLE))
        assert publisher.result() == ["pinned"]
    assert (drift.types(), drift.rows(), drift.rows(VIEW)) == before
    assert one(database, "SELECT count(*) FROM recosync.building") == 0
    assert decisions.unpin(after, TABLE, "test")


def test_a_reader_that_stays_keeps_the_columns_and_stalls_no_others(here, drift, monkeypatch):

    monkeypatch.setattr(swapping, "READERS_PATIENCE", 1)
    after = drift.of(AFTER)
    manifest = drift.manifest(after, 2, value=[3, 4])
    with psycopg.connect(here.dsn) as long:
        assert one(long, f"SELECT count(*) FROM {VIEW}") == 2
        with pytest.raises(BusyError, match="readers"):
            arrive(after, manifest)
        assert drift.types()["value"] == drift.types(VIEW)["value"] == "integer"
    assert arrive(after, manifest) == ["published"]
    assert drift.types()["value"] == drift.types(VIEW)["value"] == "bigint"
