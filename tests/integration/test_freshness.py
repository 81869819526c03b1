"""`recosync.freshness`: how fresh each table and view is, for those who read them and know nothing of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from shared.daily import export, refresh
from shared.errors import SyncError
from shared.ledger import calls, entries, failing
from shared.ledger.calls import ExportCall
from shared.ledger.failing import Failing
from shared.names import ADOPTED, SnapshotId
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.operate.status.ledger_rows import FAILING
from shared.operate.status.tables import FRESH
from tests.kit.commands import recosync
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, bookings, publish
from tests.kit.uploads import Upload, arrive, rows

VIEW = "non_recommendable_items_mv"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def now(monkeypatch) -> None:
    """Ages are of each test's own time: an hour may pass before the last one."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


@dataclass
class Freshness:
    """What a reader is told, who has no right but to the schema."""

    dsn: str

    def __call__(self, name: str = VIEW) -> dict[str, Any]:
        with psycopg.connect(self.dsn, row_factory=dict_row) as reader:
            (row,) = reader.execute("SELECT * FROM recosync.freshness WHERE name = %s", [name])
            return row

    def states(self) -> tuple[str, str]:
        """The table's, and its view's."""
        return self(TABLE)["state"], self(VIEW)["state"]


@pytest.fixture
def freshness(here, services, database) -> Freshness:
    migrate(services, reader="api")
    return Freshness(here.cloud.postgres.dsn(here.name, "api"))


@pytest.fixture
def at(services) -> Callable[..., list[str]]:
    """Have a snapshot arrive that was exported so long ago; what becomes of it."""

    def arrives(age: timedelta, *users: str) -> list[str]:
        snapshot = Upload(services, TABLE, SnapshotId(NOW - age))
        snapshot.part(bookings(services, users or ["ann"]))
        return arrive(services, snapshot.manifest())

    return arrives


def refreshed(services, database) -> None:
    assert refresh.refresh(services, TABLE, one(database, "SELECT max(publication) FROM recosync.publication")) in (
        "refreshed",
        "fresh",
    )


def called(database, outcome: str, snapshot: SnapshotId | None = None, message: str | None = None) -> None:
    """What the last call found of the source."""
    calls.record(database, [ExportCall(TABLE, NOW, outcome, snapshot, message)])


def test_each_table_and_view_of_the_catalog_has_a_row_before_anything_is_published(freshness, services, database):
    told = database.execute("SELECT name, kind, schema_name, reads, state FROM recosync.freshness").fetchall()
    known = services.catalog
    assert sorted(told) == sorted(
        [
            *((t.name, "table", "public", [t.name], "never_published") for t in known.tables.values()),
            *((v.name, "view", "public", list(v.reads), "never_published") for v in known.views.values()),
        ]
    )
    told = freshness(VIEW)
    assert {name for name, value in told.items() if value is None} == {
        "snapshot", "publication", "source_changed_at", "fresh_at", "published_at", "refreshed_at", "age",
    }  # fmt: skip


def test_a_view_is_behind_until_it_holds_what_is_published(freshness, services, database, at):
    assert at(2 * HOUR) == ["published"]
    assert freshness.states() == ("fresh", "behind")
    assert freshness(VIEW)["snapshot"] is None
    refreshed(services, database)
    assert freshness.states() == ("fresh", "fresh")
    before = freshness(VIEW)
    assert at(HOUR) == ["published"]
    assert freshness.states() == ("fresh", "behind")
    # It still has what it had.
    assert freshness(VIEW) | {"age": 0, "state": 0} == before | {"age": 0, "state": 0}


def test_what_is_told_of_a_table_and_its_view(freshness, services, database, at):
    assert at(HOUR) == ["published"]
    refreshed(services, database)
    number, published, built = database.execute(
        "SELECT publication, published_at, built_at"
        " FROM recosync.publication JOIN recosync.view_build USING (publication)"
    ).fetchone()
    for name, refreshed_at in ((TABLE, None), (VIEW, built)):
        told = freshness(name)
        assert told["contract"] == 1
        assert (told["snapshot"], told["publication"]) == (str(SnapshotId(NOW - HOUR)), number)
        assert (told["fresh_at"], told["published_at"]) == (NOW - HOUR, published)
        assert told["refreshed_at"] == refreshed_at
        # Another uploader's manifest does not say when the source was changed.
        assert told["source_changed_at"] is None
        assert HOUR <= told["age"] < 2 * HOUR


def test_a_snapshot_of_ours_says_when_its_source_was_changed_and_is_as_fresh_as_the_last_look(
    freshness, here, services, database, monkeypatch
):
    monkeypatch.setattr("shared.daily.extract.CLOCKS_DIFFER", timedelta())
    here.bigquery_client.query(
        "CREATE OR REPLACE TABLE ml_reco_local.user_booked_item AS SELECT 'ann' AS user_id, 'item' AS item_id"
    ).result()
    table = services.catalog.tables[TABLE]
    answer, _ = export.run(services, export.ExportRequest((table,), datetime.now(UTC) - HOUR, None, force=False))
    snapshot = SnapshotId.parse(answer["tables"][0]["snapshot_id"])
    folder = Upload(services, TABLE, snapshot).folder
    assert arrive(services, services.storage.find(here.bucket, folder.manifest).version) == ["published"]
    first = freshness(TABLE)
    (stated,) = database.execute("SELECT export_started_at, source_modified_at FROM recosync.snapshot")
    assert (first["fresh_at"], first["source_changed_at"]) == stated
    answer, _ = export.run(services, export.ExportRequest((table,), datetime.now(UTC), None, force=False))
    assert answer["tables"][0]["status"] == "unchanged"
    again = freshness(TABLE)
    assert again["fresh_at"] > first["fresh_at"]
    assert again["age"] < datetime.now(UTC) - first["fresh_at"]
    assert {**again, "fresh_at": 0, "age": 0} == {**first, "fresh_at": 0, "age": 0}


def test_what_was_not_looked_at_for_longer_than_the_status_page_takes_for_fresh_is_stale(
    freshness, services, database, at
):
    assert at(FRESH + HOUR) == ["published"]
    refreshed(services, database)
    assert freshness.states() == ("stale", "stale")
    called(database, "confirmed unchanged", SnapshotId(NOW - FRESH - HOUR), "the source is older than its limit")
    assert freshness.states() == ("stale", "stale")
    called(database, "confirmed unchanged", SnapshotId(NOW - FRESH - HOUR))
    assert freshness.states() == ("fresh", "fresh")
    assert FRESH == FAILING == timedelta(hours=26)


def test_a_hold_is_told_until_it_is_decided_and_the_view_that_holds_what_is_published_says_so_too(
    freshness, services, database, at
):
    assert at(3 * HOUR, *(f"user-{n}" for n in range(3_000))) == ["published"]
    refreshed(services, database)
    assert at(2 * HOUR) == ["held"]
    assert freshness.states() == ("held", "held")
    assert freshness(VIEW)["snapshot"] == str(SnapshotId(NOW - 3 * HOUR))
    decisions.reject(services, TABLE, None, "test")
    assert freshness.states() == ("fresh", "fresh")
    assert at(HOUR) == ["held"]
    decisions.approve(services, TABLE, None, "test")
    assert freshness.states() == ("fresh", "behind")


def test_a_source_of_another_shape_is_held_until_a_call_finds_it_right(freshness, services, database, at):
    assert at(HOUR) == ["published"]
    refreshed(services, database)
    called(database, "held", message="user_id is INT64, the catalog takes STRING")
    called(database, "to be retried", message="busy")
    assert freshness.states() == ("held", "held")
    called(database, "confirmed unchanged", SnapshotId(NOW - HOUR))
    assert freshness.states() == ("fresh", "fresh")


def test_a_rollback_pins_until_it_is_unpinned(freshness, services, database, at):
    assert at(3 * HOUR) == at(2 * HOUR) == ["published"]
    decisions.rollback(services, TABLE, None, "test")
    assert freshness.states() == ("pinned", "behind")
    refreshed(services, database)
    assert freshness.states() == ("pinned", "pinned")
    assert freshness(VIEW)["snapshot"] == str(SnapshotId(NOW - 3 * HOUR))
    assert freshness(VIEW)["fresh_at"] == NOW - 3 * HOUR
    decisions.unpin(services, TABLE, "test")
    assert freshness.states() == ("fresh", "fresh")


def test_rows_of_before_the_first_publish_have_no_age(freshness, services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar, item_id varchar)")
    database.execute(f"INSERT INTO {TABLE} VALUES ('ann', 'item')")
    publish(services, 1, ["bob"])
    decisions.rollback(services, TABLE, ADOPTED, "test")
    told = freshness(TABLE)
    assert (told["snapshot"], told["state"]) == (str(ADOPTED), "pinned")
    assert (told["fresh_at"], told["age"]) == (None, None)
    decisions.unpin(services, TABLE, "test")
    assert freshness(TABLE)["state"] == "stale"


@pytest.mark.parametrize("what", ["export", "import"])
def test_a_failure_for_good_is_told_until_it_is_mended_or_acknowledged(freshness, services, database, at, what):
    assert at(3 * HOUR) == ["published"]
    refreshed(services, database)
    if what == "export":
        called(database, "failed", message="is empty")
    else:
        broken = Upload(services, TABLE, SnapshotId(NOW - 2 * HOUR))
        broken.part(b"no parquet", rows=1)
        with pytest.raises(SyncError):
            arrive(services, broken.manifest())
    assert freshness.states() == ("failed", "failed")
    of = "export_run" if what == "export" else "failure"
    known = "acknowledged_at = now(), acknowledged_by = 'me', acknowledged_why = 'known'"
    with database.transaction(force_rollback=True):
        database.execute(f"UPDATE recosync.{of} SET {known}")
        assert one(database, f"SELECT state FROM recosync.freshness WHERE name = '{TABLE}'") == "fresh"
    if what == "export":
        called(database, "exported", SnapshotId(NOW - HOUR))
    else:
        assert at(HOUR) == ["published"]
        refreshed(services, database)
    assert freshness.states() == ("fresh", "fresh")


def test_a_refresh_that_failed_for_good_is_told_of_the_view_alone(freshness, services, database, at):
    assert at(2 * HOUR) == ["published"]
    refreshed(services, database)
    database.execute(f"CREATE VIEW theirs AS SELECT * FROM {VIEW}")
    assert at(HOUR) == ["published"]
    with pytest.raises(SyncError):
        refreshed(services, database)
    assert freshness.states() == ("fresh", "failed")
    database.execute("DROP VIEW theirs")
    refreshed(services, database)
    assert freshness.states() == ("fresh", "fresh")


@pytest.mark.parametrize(
    ("function", "name", "states"),
    [
        ("bq_export", TABLE, ("failing", "behind")),
        ("gcs_import", TABLE, ("failing", "behind")),
        ("mv_refresh", TABLE, ("fresh", "failing")),
        ("mv_refresh", VIEW, ("fresh", "failing")),
        ("mv_refresh", "another", ("fresh", "behind")),
    ],
)
def test_what_a_function_tries_again_is_failing_where_it_does(
    freshness, services, database, at, function, name, states
):
    assert at(HOUR) == ["published"]
    told = Failing(name, "ConfigurationError", "the bucket is closed", retryable=True)
    failing.tell(services.settings, function, [told])
    assert freshness.states() == states
    for other in ({"error": "BusyError"}, {"retryable": False}):
        failing.tell(services.settings, function, [replace(told, **other)])
        assert freshness.states() == ("fresh", "behind")
    failing.tell(services.settings, function, [told])
    database.execute("UPDATE recosync.failing SET last_at = last_at - interval '27 hours'")
    assert freshness.states() == ("fresh", "behind")


def test_of_several_tables_that_a_view_reads_the_oldest_counts(freshness, services, database, at):
    assert at(3 * HOUR) == ["published"]
    refreshed(services, database)
    known = services.catalog
    view = replace(known.views[VIEW], reads=("iris_france", TABLE))
    entries.keep(database, replace(known, views={**known.views, VIEW: view}))
    # What it reads was never published, though it stands.
    assert (freshness(VIEW)["state"], freshness(VIEW)["snapshot"]) == ("never_published", None)
    other = Upload(services, "iris_france", SnapshotId(NOW - HOUR))
    other.part(one_row(services))
    assert arrive(services, other.manifest()) == ["published"]
    entries.keep(database, replace(known, views={**known.views, VIEW: view}))
    assert freshness(VIEW)["state"] == "behind"
    database.execute(
        "INSERT INTO recosync.view_build (view_name, table_name, publication, seconds)"
        f" SELECT '{VIEW}', table_name, publication, 1 FROM recosync.publication WHERE table_name = 'iris_france'"
    )
    told = freshness(VIEW)
    assert (told["state"], told["snapshot"]) == ("fresh", str(SnapshotId(NOW - 3 * HOUR)))
    assert told["refreshed_at"] == one(database, "SELECT max(built_at) FROM recosync.view_build")
    called(database, "failed", message="is empty")
    assert freshness(VIEW)["state"] == "failed"


def one_row(services) -> object:
    return rows("iris_france", services, {"id": ["1"]})


def test_what_leaves_the_catalog_or_moves_in_it_is_so_in_the_next_call(freshness, services, database):
    known = services.catalog
    views = {name: replace(view, schema="elsewhere") for name, view in known.views.items() if name != VIEW}
    changed = replace(services, catalog=replace(known, views=views))
    export.run(changed, export.ExportRequest((), datetime.now(UTC), None, force=False))
    assert one(database, "SELECT count(*) FROM recosync.freshness WHERE name = %s", VIEW) == 0
    assert freshness("iris_france_mv")["schema_name"] == "elsewhere"
    # Who does not speak for the deployment leaves it as it is.
    export.run(replace(services, migrates=False), export.ExportRequest((), datetime.now(UTC), None, force=False))
    assert one(database, "SELECT count(*) FROM recosync.freshness WHERE name = %s", VIEW) == 0
    publish(services, 1, ["ann"])
    assert freshness(VIEW)["schema_name"] == "public"


def test_a_reader_sees_no_more_than_it_is_told(freshness, services):
    publish(services, 1, ["ann"])
    with psycopg.connect(freshness.dsn, autocommit=True) as reader:
        for statement in ("SELECT * FROM recosync.part_1", "DELETE FROM recosync.catalog_entry"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


def test_of_several_states_the_first_counts(freshness, services, database, at):
    assert at(4 * HOUR, *(f"user-{n}" for n in range(3_000))) == at(3 * HOUR, *["ann"] * 3_000) == ["published"]
    decisions.rollback(services, TABLE, None, "test")
    refreshed(services, database)
    assert at(2 * HOUR) == ["held"]
    called(database, "failed", message="is empty")
    failing.tell(services.settings, "bq_export", [Failing(TABLE, "ConfigurationError", "closed", retryable=True)])
    assert freshness.states() == ("pinned", "pinned")
    for undo, state in (
        ("DELETE FROM recosync.pin", "held"),
        ("UPDATE recosync.hold SET decision = 'rejected', decided_at = now()", "failed"),
        ("DELETE FROM recosync.export_run", "failing"),
        ("DELETE FROM recosync.failing", "fresh"),
    ):
        database.execute(undo)
        assert freshness.states() == (state, state)


def test_a_view_that_somebody_dropped_is_told_as_the_ledger_knows_it(freshness, services, database, at):
    assert at(HOUR) == ["published"]
    refreshed(services, database)
    database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    assert freshness.states() == ("fresh", "fresh")
    assert recosync("status", "--json").json["views"][2]["gone"] == f"recosync materialize {VIEW}"


#: A year of a table's days: eight calls each, ten parts, every tenth day a failure and a hold.
YEAR = """
INSERT INTO recosync.snapshot (table_name, snapshot_id, rows, columns, export_started_at)
SELECT '{table}', to_char(day, 'YYYYMMDD"T"HH24MISS"Z"'), 1, '[]', day
FROM generate_series(now() - interval '400 days', now() - interval '30 days', interval '1 day') AS day;
INSERT INTO recosync.receipt (table_name, snapshot_id, postgresql)
SELECT table_name, snapshot_id, '{{"rows": 1, "columns": {{}}}}' FROM recosync.snapshot ON CONFLICT DO NOTHING;
INSERT INTO recosync.publication (table_name, publication, snapshot_id, rows, announced_at)
SELECT table_name, extract(epoch FROM export_started_at) * 1000, snapshot_id, rows, now() FROM recosync.snapshot
WHERE table_name = '{table}' AND export_started_at < now() - interval '29 days';
INSERT INTO recosync.view_build (view_name, table_name, publication, seconds)
SELECT '{view}', table_name, publication, 1 FROM recosync.publication WHERE table_name = '{table}'
ON CONFLICT DO NOTHING;
INSERT INTO recosync.export_run (table_name, started_at, outcome, snapshot_id)
SELECT table_name, export_started_at, (ARRAY['exported', 'confirmed unchanged', 'exported already'])[1 + n % 3],
    snapshot_id
FROM recosync.snapshot, generate_series(1, 8) AS n WHERE table_name = '{table}';
INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)
SELECT export_started_at, 'DataError', table_name, snapshot_id, 'part', 'broken' FROM recosync.snapshot
WHERE table_name = '{table}' AND snapshot_id LIKE '______0%';
INSERT INTO recosync.hold (table_name, snapshot_id, reasons)
SELECT table_name, snapshot_id, '{{less}}' FROM recosync.snapshot
WHERE table_name = '{table}' AND snapshot_id LIKE '______1%';
"""


def test_the_answer_takes_a_few_pages_however_long_the_history_is(freshness, services, database, at):
    for name in services.catalog.tables:
        view = next(view.name for view in services.catalog.views_of(name))
        database.execute(YEAR.format(table=name, view=view).encode())
    # One that no call names.
    database.execute("DELETE FROM recosync.export_run WHERE table_name = %s", [TABLE])
    database.execute("ANALYZE")
    assert at(HOUR) == ["published"]
    refreshed(services, database)
    assert freshness.states() == ("fresh", "fresh")
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM recosync.freshness WHERE name = '{VIEW}'"
    plan = one(database, explain)[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100
    large = {"snapshot", "publication", "view_build", "export_run"}
    assert not large & {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
