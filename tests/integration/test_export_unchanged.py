"""A source that has not changed since the newest snapshot is not exported again, however often Scheduler calls."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.catalog import Column, PgType
from shared.daily import arrival, export, extract
from shared.daily.context import TableRun
from shared.daily.names import parse_object_name
from shared.db.postgres import connect
from shared.errors import BadRequestError
from shared.names import ObjectVersion, SnapshotId, TableRef
from shared.operate import decisions
from tests.kit.answer_schemas import checked
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE
from tests.kit.uploads import arrive

SOURCE = "ml_reco_local.user_booked_item"
FIRST = datetime(2026, 3, 1, 2, tzinfo=UTC)


class Mornings:
    """Calls at planned instants, and the import of what they made."""

    def __init__(self, here, services) -> None:
        self.client, self.client_storage, self.services = here.bigquery_client, here.storage_client, services
        self.at = FIRST - timedelta(hours=1)

    def source(self, rows: int, kind: str = "TABLE") -> None:
        query = (
            f"SELECT CONCAT('u', CAST(n AS STRING)) AS user_id, 'i' AS item_id FROM UNNEST(GENERATE_ARRAY(1, {rows})) n"
        )
        self.client.query(f"CREATE OR REPLACE {kind} {SOURCE} AS {query}").result()

    def call(self, **body: object) -> dict:
        """What the next call says of the table."""
        self.at += timedelta(hours=1)
        asked = export.parse(self.services, {"tables": [TABLE], **body}, self.at, datetime.now(UTC))
        answer, status = export.run(self.services, asked)
        assert status == 200
        checked("bq_export", {**answer, "housekeeping": None})
        return answer["tables"][0] if answer["tables"] else answer["failed"][0]

    def bring(self) -> list[str]:
        """Hand the objects of the newest snapshot to the import."""
        return arrive(self.services, *[o for o in self.objects() if o.name.endswith("manifest.json")])

    def objects(self) -> list[ObjectVersion]:
        """The objects of the newest snapshot."""
        storage, bucket = self.services.storage, self.services.settings.bucket
        folder = storage.folders(bucket, f"{self.services.settings.prefix}/{TABLE}/")[-1]
        return [stored.version for stored in storage.objects(bucket, folder)]

    def record(self) -> None:
        """Let the manifest of the newest snapshot be recorded, and the worker die before it has staged anything."""
        (manifest,) = [version for version in self.objects() if version.name.endswith("manifest.json")]
        with connect(self.services.settings, "test") as connection:
            name = parse_object_name(manifest.name, self.services.settings.prefix)
            table = self.services.catalog.tables[TABLE]
            assert arrival._record(TableRun(self.services, connection, table), name.folder, manifest, recorded=False)

    def jobs(self) -> int:
        return len([job for job in self.client.list_jobs() if job.job_id.startswith("recosync-")])


@pytest.fixture
def mornings(here, services, monkeypatch):
    # The emulated source is made just before it is read.
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta(0))
    return Mornings(here, services)


@pytest.fixture
def settled(mornings):
    """One morning's snapshot is published."""
    mornings.source(2_000)
    assert mornings.call()["status"] == "exported"
    assert mornings.bring() == ["published"]
    return mornings


def outcomes(database) -> list[str]:
    return [row[0] for row in database.execute("SELECT outcome FROM recosync.export_run ORDER BY id")]


def test_an_unchanged_source_is_confirmed_and_nothing_moves(settled, database):
    jobs = settled.jobs()
    first = "20260301T020000Z"
    assert settled.call() == {
        "table": TABLE, "source": "{BIGQUERY_ML_RECOMMENDATION_DATASET}.user_booked_item",
        "snapshot_id": first, "status": "unchanged", "published_snapshot_id": first, "reasons": [],
    }  # fmt: skip
    assert settled.jobs() == jobs
    assert outcomes(database) == ["exported", "confirmed unchanged"]
    assert one(database, "SELECT count(*) FROM recosync.publication") == 1


def test_a_source_that_came_late_is_caught_by_the_next_call(settled, database):
    settled.call()
    settled.source(2_100)
    assert settled.call()["rows"] == 2_100
    assert settled.bring() == ["published"]
    assert outcomes(database) == ["exported", "confirmed unchanged", "exported"]


def test_force_exports_whatever_stands(settled):
    assert settled.call(force=True)["status"] == "exported"


def test_a_planned_call_that_comes_again_after_an_export_by_hand_is_not_the_older_of_the_two(settled):
    by_hand = settled.call(force=True)["snapshot_id"]
    assert settled.bring() == ["published"]
    time.sleep(1)  # ids are of seconds
    assert settled.call()["status"] == "unchanged"
    settled.source(2_100)
    again = settled.call()
    assert (again["status"], again["rows"], again["snapshot_id"] > by_hand) == ("exported", 2_100, True)
    assert settled.bring() == ["published"]


def test_a_planned_call_that_has_made_its_snapshot_finds_it_though_a_newer_one_came(settled):
    settled.call(force=True)
    assert settled.bring() == ["published"]
    settled.source(2_100)
    settled.at -= timedelta(hours=2)
    assert settled.call()["status"] == "exported already"


def test_a_view_may_have_changed_at_any_time(mornings):
    mornings.source(10, "VIEW")
    mornings.call()
    mornings.bring()
    assert mornings.call()["status"] == "exported"


def test_a_repeated_call_finds_its_own_snapshot(settled):
    settled.at -= timedelta(hours=1)
    assert settled.call()["status"] == "exported already"


def test_new_columns_in_the_catalog_are_fetched_from_an_unchanged_source(settled, here):
    settled.client.query(f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT *, 1 AS rank FROM {SOURCE}").result()
    settled.call()
    settled.bring()
    known = settled.services.catalog
    wider = replace(known.tables[TABLE], columns=(*known.tables[TABLE].columns, Column("rank", PgType.INTEGER)))
    settled.services = replace(settled.services, catalog=replace(known, tables={**known.tables, TABLE: wider}))
    assert settled.call()["status"] == "exported"


def test_a_snapshot_that_failed_for_good_is_exported_again(settled, database):
    settled.source(2_001)
    settled.call()
    row = "('DataError', %s, %s, 'test', 'test')"
    statement = f"INSERT INTO recosync.failure (kind, table_name, snapshot_id, subject, message) VALUES {row}"
    database.execute(statement.encode(), [TABLE, str(SnapshotId(settled.at))])
    settled.record()
    assert settled.call()["status"] == "exported"


def test_a_held_snapshot_is_told_again_and_not_exported_again(settled, database):
    settled.source(100)
    settled.call()
    held = str(SnapshotId(settled.at))
    assert settled.bring() == ["held"]
    answer = settled.call()
    assert (answer["status"], answer["snapshot_id"]) == ("held", held)
    assert "95.0% fewer" in answer["reasons"][0]
    outcome, message = database.execute("SELECT outcome, message FROM recosync.export_run ORDER BY id DESC").fetchone()
    assert (outcome, message) == ("confirmed unchanged", answer["reasons"][0])
    assert answer["published_snapshot_id"] == "20260301T020000Z"
    decisions.reject(settled.services, TABLE, None, "test")
    assert settled.call()["status"] == "unchanged"


def test_a_snapshot_on_its_way_is_not_called_confirmed(settled, database):
    settled.source(2_100)
    settled.call()
    settled.record()
    assert settled.call()["status"] == "exported already"
    assert outcomes(database)[-1] == "exported already"


def test_a_snapshot_whose_objects_are_gone_before_they_came_is_exported_again(settled):
    settled.source(2_100)
    settled.call()
    settled.record()
    for version in settled.objects():
        settled.client_storage.bucket(version.bucket).blob(version.name).delete()
    assert settled.call()["status"] == "exported"


def test_a_job_that_another_call_has_just_begun_leaves_the_time_of_the_source_unknown(settled, monkeypatch):
    """Its query may have read the source before the change that this call has seen."""
    settled.source(2_200)
    unknown, asked = settled.services.bigquery.job, []

    def not_there_yet(name, location):
        asked.append(name)
        return None if len(asked) == 1 else unknown(name, location)

    settled.at += timedelta(hours=1)
    table = settled.services.catalog.tables[TABLE]
    begun = extract.Extraction(settled.services, table, SnapshotId(settled.at), datetime.now(UTC), 0)
    source = TableRef(settled.services.settings.project, *SOURCE.split("."))
    begun._start_query(settled.services.bigquery.table(source), 1)
    monkeypatch.setattr(settled.services.bigquery, "job", not_there_yet)
    settled.at -= timedelta(hours=1)
    assert settled.call()["status"] == "exported"
    settled.bring()
    assert settled.call()["status"] == "exported"


def test_a_refresh_that_failed_for_good_does_not_export_an_unchanged_source(settled, database):
    row = "('TargetError', %s, '20260301T020000Z', 'publication 1', 'test')"
    statement = f"INSERT INTO recosync.failure (kind, table_name, snapshot_id, subject, message) VALUES {row}"
    database.execute(statement.encode(), [TABLE])
    assert settled.call()["status"] == "unchanged"


def test_a_source_that_stays_as_it_is_for_too_long_is_told(settled, database, caplog):
    known = settled.services.catalog
    strict = replace(known.tables[TABLE], limits=replace(known.tables[TABLE].limits, source_age=0))
    settled.services = replace(settled.services, catalog=replace(known, tables={**known.tables, TABLE: strict}))
    answer = settled.call()
    assert answer["status"] == "unchanged"
    assert "the limit is 0 h before the export" in answer["reasons"][0]
    assert "source is stale" in caplog.text
    assert one(database, "SELECT message FROM recosync.export_run ORDER BY id DESC") == answer["reasons"][0]


def test_what_can_not_be_recorded_is_asked_for_again(mornings, database):
    mornings.source(10)
    mornings.call()
    database.execute("ALTER TABLE recosync.export_run ADD CHECK (id < 2)")
    asked = export.parse(mornings.services, {"tables": [TABLE]}, mornings.at, datetime.now(UTC))
    answer, status = export.run(mornings.services, asked)
    assert (status, answer["tables"][0]["status"]) == (500, "exported already")


def test_a_call_for_the_future_is_refused(services):
    with pytest.raises(BadRequestError, match="scheduled for the future"):
        export.parse(services, {}, datetime.now(UTC) + timedelta(days=2), datetime.now(UTC))


def test_a_source_whose_types_drifted_is_held_with_what_differs(settled, database):
    settled.client.query(f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT 1 AS user_id, 'i' AS item_id").result()
    answer = settled.call()
    assert "column user_id is INT64, character varying takes STRING" in answer["error"]
    outcome, message = database.execute("SELECT outcome, message FROM recosync.export_run ORDER BY id DESC").fetchone()
    assert outcome == "held"
    assert "column user_id is INT64" in message


def test_a_source_that_is_gone_is_recorded_as_failed(settled, database):
    settled.client.query(f"DROP TABLE {SOURCE}").result()
    assert "does not exist" in settled.call()["error"]
    assert outcomes(database)[-1] == "failed"


def test_the_receipt_has_what_all_three_count(settled, database):
    bigquery, parquet, postgresql = database.execute(
        "SELECT bigquery, parquet, postgresql FROM recosync.receipt"
    ).fetchone()
    length = sum(len(f"u{n}") for n in range(1, 2_001))
    columns = {"user_id": {"values": 2_000, "sum": length}, "item_id": {"values": 2_000, "sum": 2_000}}
    assert bigquery == parquet == postgresql == {"rows": 2_000, "columns": columns, "keys": None}
