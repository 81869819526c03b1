"""The DAGs of docs/airflow, run by Airflow against the emulated cloud."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local import context
from local.proxy import Answer
from shared.catalog import ROOT
from shared.daily import extract
from shared.db.locks import Lock
from tests.airflow.conftest import DAILY, HOURLY
from tests.e2e.system import CATALOG
from tests.kit.sessions import held

TABLES = list(CATALOG.tables)
TABLE, VIEW, LOG = "enriched_user", "enriched_user_mv", "past_offer_context"
WELL = {f"{table}.{step}": ("success", 1) for table in TABLES for step in ("export", "readers")}
HOUR = timedelta(hours=1)


def now() -> datetime:
    """An instant that is of today while a run of the DAG for it lasts: what is of an earlier day is asked for by it."""
    soon = datetime.now(UTC) + timedelta(minutes=2)
    while datetime.now(UTC).date() < soon.date():
        time.sleep(1)
    return datetime.now(UTC).replace(microsecond=0)


def snapshot(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


def objects(deployed) -> set[tuple[str, int]]:
    buckets = (deployed.bucket, deployed.hourly_bucket)
    return {(blob.name, blob.generation) for bucket in buckets for blob in deployed.storage_client.list_blobs(bucket)}


@pytest.fixture(scope="module")
def first(airflow, system):
    """The first run of all, on the rows of a first day; and its instant."""
    system.fill(1)
    at = now()
    ran = airflow.run(DAILY, at)
    assert (ran.state, ran.tasks) == ("success", WELL), ran.log
    assert system.agrees()
    assert publications(system) == {table: [snapshot(at)] for table in TABLES}
    return at, ran


def publications(system):
    return {table: system.publications(table) for table in TABLES}


def test_a_run_that_ends_well_has_told_nobody_its_token(first):
    _, ran = first
    assert set(ran.returned) == set(WELL)
    assert "Bearer" not in ran.log


def test_each_table_and_view_is_an_asset_on_which_others_wait(first):
    at, ran = first
    assert {uri for uri, _ in ran.events} == {f"recosync://postgresql/{name}" for name in (*TABLES, *CATALOG.views)}
    assert len(ran.events) == len(TABLES) + len(CATALOG.views)
    (update,) = ran.updates(f"postgresql/{VIEW}")
    assert update == {"snapshot": snapshot(at), "publication": update["publication"], "rows": 2501}
    assert "of_the_view" in ran.queued


def test_a_run_that_is_cleared_doubles_nothing(first, airflow, deployed, system):
    before = objects(deployed), publications(system)
    ran = airflow.run(DAILY, first[0])
    assert (ran.state, [state for state, _ in ran.tasks.values()]) == ("success", ["success"] * len(WELL)), ran.log
    assert (objects(deployed), publications(system), ran.events) == (*before, [])


@pytest.mark.usefixtures("first")
def test_a_run_that_finds_its_sources_unchanged_tells_nothing_new(airflow, deployed, system):
    # A test before may have filled them again; and of what has just changed, nobody knows yet when it did.
    time.sleep(extract.CLOCKS_DIFFER.total_seconds() + 1)
    assert airflow.run(DAILY, now()).state == "success"
    before = objects(deployed), publications(system)
    ran = airflow.run(DAILY, now())
    assert (ran.state, ran.tasks) == ("success", WELL), ran.log
    assert {table: ran.returned[f"{table}.export"] for table in TABLES} == {t: had[-1] for t, had in before[1].items()}
    assert (objects(deployed), publications(system), ran.events) == (*before, [])


def test_a_day_before_is_backfilled_with_a_snapshot_that_readers_do_not_go_back_to(first, airflow, system):
    day, before = first[0] - timedelta(days=2), publications(system)
    for _ in range(2):
        ran = airflow.run(DAILY, day)
        assert ran.state == "success", ran.log
        assert ran.returned[f"{TABLE}.export"] == f"{day:%Y%m%d}T000000Z"
        assert (publications(system), ran.events) == (before, [])


@pytest.mark.usefixtures("first")
def test_a_failure_for_good_is_tried_once_and_told_in_the_tasks_log(airflow, deployed, system):
    system.fill(2)
    deployed.bigquery_client.delete_table("seed_local.iris_france")
    at = now()
    ran = airflow.run(DAILY, at)
    others = {name: state for name, state in WELL.items() if not name.startswith("iris_france.")}
    failed = {"iris_france.export": ("failed", 1), "iris_france.readers": ("upstream_failed", 0)}
    assert (ran.state, ran.tasks) == ("failed", {**others, **failed}), ran.log
    assert re.search(r"AirflowFailException.*status 422: .*seed_local\.iris_france", ran.log)
    system.fill(2)
    ran = airflow.run(DAILY, at)
    assert ran.state == "success", ran.log
    assert system.agrees()


@pytest.mark.usefixtures("first")
def test_a_failure_that_can_succeed_later_is_tried_again_until_it_does(airflow, deployed, system):
    system.fill(3)
    closed, refused = [], []

    def without_a_database(request, forward):
        """The first call for the table finds PostgreSQL closed."""
        if closed or TABLE.encode() not in request.body:
            return forward(request)
        with deployed.cloud.postgres.superuser("postgres") as admin:
            admin.execute(f"ALTER DATABASE {deployed.name} ALLOW_CONNECTIONS false")
            closed.append(forward(request))
            admin.execute(f"ALTER DATABASE {deployed.name} ALLOW_CONNECTIONS true")
        return closed[0]

    def without_an_instance(request, forward):
        """The first look at the status comes to no instance."""
        if refused:
            return forward(request)
        refused.append(Answer(503, b"no available instance", {}))
        return refused[0]

    at = now()
    gates = airflow.gates
    with gates["bq_export"].fault(without_a_database), gates["status"].fault(without_an_instance):
        ran = airflow.run(DAILY, at)
    assert ran.state == "success", ran.log
    assert ran.tasks[f"{TABLE}.export"] == ("success", 2)
    assert closed[0].status == 500
    assert "AirflowException: status 500: " in ran.log
    assert "AirflowException: status 503: no available instance" in ran.log
    assert sorted(tries for _, tries in ran.tasks.values()) == [1] * (len(WELL) - 2) + [2, 2]
    assert system.publications(TABLE).count(snapshot(at)) == 1
    assert system.agrees()


@pytest.mark.usefixtures("first")
def test_a_held_snapshot_fails_with_the_command_that_lets_the_cleared_task_succeed(airflow, deployed, system):
    system.fill(4)
    source = f"{system.dataset(TABLE)}.{CATALOG.tables[TABLE].source.table}"
    system.bigquery.query(f"UPDATE {source} SET user_id = NULL WHERE booking_cnt < 100").result()
    at = now()
    ran = airflow.run(DAILY, at)
    assert ran.tasks[f"{TABLE}.readers"] == ("failed", 1), ran.log
    assert ran.tasks["iris_france.readers"] == ("success", 1)
    (command,) = set(re.findall(r"is held: .*To decide: (recosync approve [\w ]+), or recosync reject", ran.log))
    assert snapshot(at) not in system.publications(TABLE)
    env = {**os.environ, **deployed.env}
    subprocess.run([ROOT / ".venv" / "bin" / shlex.split(command)[0], *shlex.split(command)[1:]], env=env, check=True)
    deployed.eventarc.wait_idle()
    ran = airflow.run(DAILY, at)
    assert ran.state == "success", ran.log
    assert ran.updates(f"postgresql/{VIEW}")[-1]["snapshot"] == snapshot(at)
    assert system.agrees()


def ended(hours: int = 0) -> datetime:
    """The beginning of the hour that ended last, or of one so many hours before."""
    return now().replace(minute=0, second=0) - HOUR * (1 + hours)


def run_of(hour: datetime) -> datetime:
    """When Airflow runs the DAG for an hour."""
    return hour + HOUR + timedelta(minutes=5)


def in_bigquery(deployed, hour: datetime) -> int:
    query = f"SELECT count(*) FROM raw_local.{LOG} WHERE TIMESTAMP_TRUNC(date, HOUR) = TIMESTAMP '{hour:%F %T}+00'"
    ((rows,),) = deployed.bigquery_client.query(query).result()
    return rows


@pytest.fixture(scope="module")
def newest(airflow, deployed):
    """The first run of all, for the newest hour; and that hour."""
    hour = ended()
    context.write(deployed.dsn, hour, hour + HOUR, 50)
    ran = airflow.run(HOURLY, run_of(hour))
    assert (ran.state, ran.tasks) == ("success", {LOG: ("success", 1)}), ran.log
    assert in_bigquery(deployed, hour) == 50
    return hour, ran


def test_an_hour_is_waited_for_behind_those_that_come_first(newest):
    _, ran = newest
    assert "Hours before come first. To be called for again: " in ran.log


def test_a_log_is_an_asset_on_which_others_wait(newest):
    hour, ran = newest
    assert {"hour": f"{hour:%Y%m%dT%H}", "rows": 50} in ran.updates(f"bigquery/{LOG}")
    assert "of_the_log" in ran.queued


def test_an_hour_that_is_cleared_doubles_nothing_and_tells_nothing_new(airflow, deployed, newest):
    hour = newest[0] - HOUR
    context.write(deployed.dsn, hour, hour + HOUR, 30)
    before = airflow.run(HOURLY, run_of(hour))
    assert before.state == "success", before.log
    stood = objects(deployed)
    ran = airflow.run(HOURLY, run_of(hour))
    assert ran.state == "success", ran.log
    assert (objects(deployed), ran.events) == (stood, [])
    assert in_bigquery(deployed, hour) == 30


@pytest.mark.usefixtures("newest")
def test_an_hour_long_ago_is_backfilled(airflow, deployed):
    hour = ended(50)
    context.write(deployed.dsn, hour, hour + HOUR, 20)
    ran = airflow.run(HOURLY, run_of(hour))
    assert (ran.state, ran.returned[LOG]["rows"]) == ("success", 20), ran.log
    assert in_bigquery(deployed, hour) == 20
    assert {"hour": f"{hour:%Y%m%dT%H}", "rows": 20} in ran.updates(f"bigquery/{LOG}")


@pytest.mark.usefixtures("newest")
def test_an_hour_that_fails_for_good_is_tried_once_and_again_when_its_task_is_cleared(airflow, deployed):
    hour = ended(100)
    context.write(deployed.dsn, hour, hour + HOUR, 10)
    within = f"date >= '{hour:%F %T}' AND date < '{hour + HOUR:%F %T}'"
    with psycopg.connect(deployed.dsn) as connection:
        connection.execute(f"UPDATE {LOG} SET offer_stock_price = 'NaN' WHERE {within}".encode())
    ran = airflow.run(HOURLY, run_of(hour))
    assert (ran.state, ran.tasks) == ("failed", {LOG: ("failed", 1)}), ran.log
    assert re.search(rf"AirflowFailException: {hour:%Y%m%dT%H}: .*offer_stock_price", ran.log)
    with psycopg.connect(deployed.dsn) as connection:
        connection.execute(f"UPDATE {LOG} SET offer_stock_price = 1 WHERE {within}".encode())
    ran = airflow.run(HOURLY, run_of(hour))
    assert ran.state == "success", ran.log
    assert in_bigquery(deployed, hour) == 10


@pytest.mark.usefixtures("newest")
def test_an_hour_that_others_are_at_is_tried_again(airflow, deployed):
    hour, answers = ended(150), []
    context.write(deployed.dsn, hour, hour + HOUR, 10)

    def while_another_is_at_it(request, forward):
        if answers:
            return forward(request)
        with held(deployed.dsn, Lock.hourly(LOG)):
            answers.append(forward(request))
        return answers[0]

    with airflow.gates["hourly_export"].fault(while_another_is_at_it):
        ran = airflow.run(HOURLY, run_of(hour))
    assert (answers[0].status, ran.tasks) == (500, {LOG: ("success", 2)}), ran.log
    assert in_bigquery(deployed, hour) == 10


def test_whoever_may_not_call_is_told_what_is_missing(airflow):
    function = airflow.gates["hourly_export"]
    with function.fault(lambda request, forward: Answer(403, b"<title>403 Forbidden</title>", {})):
        ran = airflow.run(HOURLY, run_of(ended(200)))
    assert ran.tasks == {LOG: ("failed", 1)}, ran.log
    assert "Does Airflow's account have roles/run.invoker on the function?" in ran.log
