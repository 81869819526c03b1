"""The daily job, from the call to the views."""

import pytest

from tests.e2e.system import CATALOG, scheduled


def test_every_row_of_bigquery_comes_to_postgres_and_its_views(system, day):
    system.fill(day)
    snapshots = system.schedule(scheduled(day))
    assert snapshots.keys() == CATALOG.tables.keys()
    system.wait_refreshed(snapshots)
    assert system.agrees()


def test_the_next_days_job_replaces_every_row(emulated, system, days):
    system.run(next(days))
    assert system.agrees()
    system.run(next(days))
    assert system.agrees()


def test_a_job_that_is_called_again_makes_the_same_snapshot_once(emulated, system, day, days):
    system.run(day)
    emulated.eventarc.wait_idle()
    before = {table: system.publications(table) for table in CATALOG.tables}
    objects = sorted(blob.name for blob in emulated.storage_client.list_blobs(emulated.bucket))
    system.fill(next(days))
    system.schedule(scheduled(day))
    emulated.eventarc.wait_idle()
    assert {table: system.publications(table) for table in CATALOG.tables} == before
    assert sorted(blob.name for blob in emulated.storage_client.list_blobs(emulated.bucket)) == objects


@pytest.mark.parametrize("force", [{}, {"force": False}])
def test_a_date_means_that_days_snapshot(emulated, system, day, force):
    at = scheduled(day)
    system.fill(day)
    system.schedule(at)
    status, answer = system.call({"date": f"{at:%Y%m%d}", **force})
    assert status == 200
    assert f"{at:%Y%m%dT%H%M%SZ}" in answer
    assert '"status": "exported already"' in answer
