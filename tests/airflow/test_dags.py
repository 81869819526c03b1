"""The DAGs of docs/airflow, run by Airflow against the emulated cloud."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.airflow.conftest import DAILY, HOURLY
from tests.e2e.system import CATALOG

TABLES = list(CATALOG.tables)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_a_run_ends_well_when_readers_have_the_snapshot(airflow, system):
    system.fill(1)
    at = now()
    ran = airflow.run(DAILY, at)
    assert ran.state == "success", ran.log
    assert set(map(tuple, ran.tasks.values())) == {("success", 1)}
    assert system.agrees()
    snapshot = f"{at:%Y%m%dT%H%M%SZ}"
    assert {table: system.publications(table) for table in TABLES} == dict.fromkeys(TABLES, [snapshot])
    (update,) = ran.updates("postgresql/enriched_user_mv")
    assert (update["snapshot"], update["rows"]) == (snapshot, 2501)
    assert len(ran.events) == len(TABLES) + len(CATALOG.views)
    assert ran.queued == ["of_the_view"]
