"""The daily job, from the call to the views. Also runs against a real project."""

from datetime import UTC, datetime

import pytest

from tests.e2e.system import CATALOG, scheduled


def test_every_row_of_bigquery_comes_to_postgres_and_its_views(system):
    if system.emulated:
        system.fill(1)
    snapshots = system.schedule(scheduled(1) if system.emulated else datetime.now(UTC))
    assert snapshots.keys() == CATALOG.tables.keys()
    system.wait_refreshed(snapshots)
    assert system.agrees()


def test_the_next_days_job_replaces_every_row(emulated, system):
    system.run(2)
    assert system.agrees()
    system.run(3)
    assert system.agrees()


def test_a_job_that_is_called_again_makes_the_same_snapshot_once(emulated, system):
    system.run(4)
    before = {table: system.publications(table) for table in CATALOG.tables}
    objects = sorted(blob.name for blob in emulated.storage_client.list_blobs(emulated.bucket))
    system.fill(5)
    system.schedule(scheduled(4))
    emulated.eventarc.wait_idle()
    assert {table: system.publications(table) for table in CATALOG.tables} == before
    assert sorted(blob.name for blob in emulated.storage_client.list_blobs(emulated.bucket)) == objects


@pytest.mark.parametrize("body", [{"date": "20260110"}, {"date": "20260110", "force": False}])
def test_a_date_means_that_days_snapshot(emulated, system, body):
    system.fill(9)
    system.schedule(scheduled(9))
    status, answer = system.call(body)
    assert status == 200
    assert str(scheduled(9).strftime("%Y%m%dT%H%M%SZ")) in answer
    assert '"status": "exported already"' in answer


def test_force_makes_a_new_snapshot_of_now(emulated, system):
    system.fill(6)
    status, answer = system.call({"tables": ["iris_france"], "force": True, "date": "20260110"})
    assert status == 200
    assert f'"snapshot_id": "{datetime.now(UTC):%Y%m%d}T' in answer
    emulated.eventarc.wait_idle()
    assert system.agrees("iris_france")
