"""Schedules by chance find something: one defect of each kind, planted by hand, is told by its name."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import psycopg
import pytest

from shared.db.locks import Lock
from tests.chaos import daily, hourly
from tests.chaos.schedule import Act, Schedule
from tests.chaos.world import PATIENCE
from tests.kit.background import wait_for
from tests.kit.sessions import held

#: Where nothing happens but the flow itself, before a defect and after it.
DAILY = (Act(0.0, "fill", ("full", "a")), Act(0.1, "export", (1, "planned")), Act(0.2, "rest"), Act(0.3, "plant"))
HOURLY = (
    Act(0.0, "write", (1, 20, 0, "commit")),
    Act(0.2, "ask", ("due", 0, "keep", 1)),
    Act(0.3, "rest"),
    Act(0.4, "plant"),
)


@pytest.fixture(scope="module")
def tables():
    with daily.daily() as world:
        yield world


@pytest.fixture
def log():
    """One for each test: a defect in BigQuery stays."""
    with hourly.hourly() as world:
        yield world


def sql(statement):
    def plant(world):
        with psycopg.connect(world.here.dsn, autocommit=True, options="-c statement_timeout=60s") as connection:
            connection.execute(statement.encode())

    return plant


def unheard(of):
    """Messages that came, and whoever was to hear them did not."""

    def plant(world):
        getattr(world, of).until(lambda: True)
        getattr(world, of).messages.clear()

    return plant


def told_late(world):
    """The message of an earlier build of a view comes after that of a later one."""
    world._materialize("a_mv")
    world._wait_for(world._steps)
    world.refreshed.until(lambda: len(world.refreshed.messages) >= 3)
    earlier, last = [each for each in world.refreshed.messages if each.data["view"] == "a_mv"][-2:]
    for message in (earlier, last):
        attributes = {**message.attributes, "ce-id": f"again {message.attributes['ce-id']}"}
        data = json.dumps(message.data).encode()
        world.here.cloud.publisher.publish(world.here.refreshed_topic, data, **attributes).result(30)


def a_line_of_no_json(world):
    (log,) = (instance.log for instance in world.here.instances["bq_export"])
    with log.open("a") as lines:
        lines.write("Traceback (most recent call last):\n")


def a_line_of_a_bug(world):
    (log,) = (instance.log for instance in world.here.instances["bq_export"])
    with log.open("a") as lines:
        lines.write(json.dumps({"severity": "ERROR", "message": "rows differ. Report this as a bug"}) + "\n")


def an_answer_of_no_help(world):
    world._call(world.here.url("bq_export"), {"date": "of old"}, {})


def told_of_nothing(world):
    """A message of a publication that never was."""
    assert world.published.until(lambda: world.published.messages)
    attributes = {**world.published.messages[-1].attributes, "publication": "1", "ce-id": "of nothing"}
    world.here.cloud.publisher.publish(world.here.topic, b"", **attributes).result(30)


def readers_are_cut_off(world):
    with world.here.cloud.postgres.superuser(world.here.name) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'api'")


IN_TABLES = {
    "a row of another state": (sql("UPDATE a SET n = n - 1 WHERE k = 'k1'"), {"mixed", "apart"}),
    "a row that is missing": (sql("DELETE FROM a WHERE k = 'k1'"), {"mixed", "apart"}),
    "no row at all": (sql("DELETE FROM a"), {"mixed", "apart"}),
    "an earlier state": (sql("UPDATE a SET n = n - 1"), {"backwards", "apart"}),
    "readers whose sessions are ended": (readers_are_cut_off, {"mixed"}),
    "a view that is left": (sql('CREATE MATERIALIZED VIEW "20260101T000000_of_nobody" AS SELECT 1 AS n'), {"leak"}),
    "a line of no JSON": (a_line_of_no_json, {"unclear"}),
    "a line of a bug": (a_line_of_a_bug, {"unclear"}),
    "an answer that blames the caller": (an_answer_of_no_help, {"unclear"}),
    "a publication that never was": (told_of_nothing, {"untold"}),
    "a publication that nobody is told of": (unheard("published"), {"untold"}),
    "a build that is told of after the next one": (told_late, {"untold"}),
}


def settled(world):
    """Whether a call finds nothing left to do; on a busy machine, one call may not have the time for all."""
    status, answer = world._call(world.here.url("hourly_export"), {"table_name": hourly.LOG}, {})
    return status == 200 and not answer["remaining"]


def outcomes(world, acts, plant, monkeypatch):
    """What is told of a schedule in which a defect is planted, once all before it has come to rest."""

    def rest():
        world._wait_for(world._steps)
        world._wait_for(world._calls)
        world.here.eventarc.wait_idle(60)
        if isinstance(world, hourly.Hourly):
            wait_for(lambda: settled(world), PATIENCE)

    def planted():
        plant(world)
        time.sleep(1)  # readers read

    monkeypatch.setattr(world, "_rest", rest, raising=False)
    monkeypatch.setattr(world, "_plant", planted, raising=False)
    return {what.partition(":")[0] for what in world.play(Schedule(1, acts)).wrong}


@pytest.mark.parametrize(("plant", "expected"), IN_TABLES.values(), ids=IN_TABLES)
def test_a_defect_of_the_daily_flow(tables, plant, expected, monkeypatch):
    assert outcomes(tables, DAILY, plant, monkeypatch) == expected
    sql('DROP MATERIALIZED VIEW IF EXISTS "20260101T000000_of_nobody"; DELETE FROM recosync.building')(tables)


def test_a_table_that_takes_no_publish_is_stuck(tables, monkeypatch):
    monkeypatch.setattr(daily, "PATIENCE", 10)  # no call mends this
    plant = sql("ALTER TABLE a ADD CONSTRAINT none CHECK (n < 0) NOT VALID")
    assert outcomes(tables, DAILY, plant, monkeypatch) == {"stuck"}
    sql("ALTER TABLE a DROP CONSTRAINT none")(tables)


def test_a_lock_that_somebody_keeps_is_a_leak(tables, monkeypatch):
    with ExitStack() as stack:

        def plant(world):
            stack.enter_context(held(world.here.dsn, Lock("of a test")))

        assert outcomes(tables, DAILY, plant, monkeypatch) == {"leak"}


def test_where_nothing_is_planted_nothing_is_found(tables, log, monkeypatch):
    assert outcomes(tables, DAILY, lambda world: None, monkeypatch) == set()
    assert outcomes(log, HOURLY, lambda world: None, monkeypatch) == set()


def in_bigquery(statement):
    def plant(world):
        world.here.bigquery_client.query(statement).result()

    return plant


def an_object_that_is_gone(world):
    blobs = world.here.storage_client.list_blobs(world.here.hourly_bucket)
    next(blob for blob in blobs if "/keys" in blob.name and blob.name.endswith(".parquet")).delete()


IN_THE_LOG = {
    "an object that is gone": (an_object_that_is_gone, "apart"),
    "a row that is another in BigQuery": (in_bigquery("UPDATE raw_local.shown SET what = 'x' WHERE TRUE"), "lost"),
    "a row that left the source": (sql("INSERT INTO written VALUES (-1)"), "lost"),
    "an hour that nobody is told of": (unheard("done"), "untold"),
    "a row that is there twice": (
        in_bigquery("INSERT INTO raw_local.shown SELECT * FROM raw_local.shown LIMIT 1"),
        "doubled",
    ),
}


@pytest.mark.parametrize(("plant", "outcome"), IN_THE_LOG.values(), ids=IN_THE_LOG)
def test_a_defect_of_the_hourly_flow(log, plant, outcome, monkeypatch):
    monkeypatch.setattr(hourly, "PATIENCE", 10)  # no call mends these
    assert outcome in outcomes(log, HOURLY, plant, monkeypatch)


def test_a_deployment_with_another_catalog_reaches_readers(tables, monkeypatch):
    seen = []
    acts = (Act(0.0, "deploy", ("next",)), Act(0.1, "rest"), *DAILY)

    def look(world):
        with psycopg.connect(world.here.dsn) as connection:
            seen.extend(connection.execute("SELECT count(*) = max(more) FROM a_mv").fetchone())

    assert outcomes(tables, acts, look, monkeypatch) == set()
    assert seen == [True]


def test_a_clock_an_hour_ahead_has_the_hour_that_is_now_exported(log, monkeypatch):
    seen = []
    acts = (Act(0.0, "clock", (0, 1)), Act(0.1, "rest"), Act(0.2, "write", (0, 20, 0, "commit")), *HOURLY[1:])
    assert outcomes(log, acts, lambda world: seen.append(len(world._brought())), monkeypatch) == set()
    assert seen == [20]


def test_a_clock_an_hour_behind_may_refuse_the_hour_that_has_just_ended(log, monkeypatch):
    acts = (Act(0.0, "clock", (0, -1)), Act(0.1, "rest"), Act(0.2, "ask", ("hour", 0, "keep", 1)), Act(0.3, "rest"))
    assert outcomes(log, (*acts, Act(0.4, "plant")), lambda _: None, monkeypatch) == set()


def test_rows_of_an_hour_that_was_accepted_stay_where_they_are(log, monkeypatch):
    acts = (*HOURLY[:-1], Act(0.4, "write", (1, 300, 0, "commit")), Act(0.5, "plant"), Act(0.6, "accept", (1,)))
    assert outcomes(log, acts, lambda world: world._wait_for(world._steps), monkeypatch) == set()
    assert (len(log._accepted), len(log._brought())) == (320, 20)
