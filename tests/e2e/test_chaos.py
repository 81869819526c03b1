"""Schedules by chance find something: one defect of each kind, planted by hand, is told by its name."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest

from shared.db.locks import Lock
from tests.chaos import daily, hourly
from tests.chaos.schedule import Act, Schedule
from tests.kit.sessions import held

#: Where nothing happens but the flow itself, before a defect and after it.
DAILY = (
    Act(0.0, "fill", ("full", "a")),
    Act(0.1, "export", (1, "planned")),
    Act(1.0, "plant"),
    Act(2.0, "fill", ("full",)),
)
HOURLY = (Act(0.0, "write", (1, 20, 0, "commit")), Act(0.2, "ask", ("due", 0, "keep", 1)), Act(1.5, "plant"))


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
        with psycopg.connect(world.here.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    return plant


def a_line_of_no_json(world):
    (log,) = (instance.log for instance in world.here.instances["bq_export"])
    with log.open("a") as lines:
        lines.write("Traceback (most recent call last):\n")


IN_TABLES = {
    "a row of another state": (sql("UPDATE a SET n = n - 1 WHERE k = 'k1'"), "mixed"),
    "a row that is missing": (sql("DELETE FROM a WHERE k = 'k1'"), "mixed"),
    "no row at all": (sql("DELETE FROM a"), "mixed"),
    "an earlier state": (sql("UPDATE a SET n = n - 1"), "backwards"),
    "a view that is left": (sql('CREATE MATERIALIZED VIEW "20260101T000000_of_nobody" AS SELECT 1 AS n'), "leak"),
    "a line of no JSON": (a_line_of_no_json, "unclear"),
}


def outcomes(world, acts, plant, monkeypatch):
    monkeypatch.setattr(world, "_plant", lambda: plant(world), raising=False)
    return {what.partition(":")[0] for what in world.play(Schedule(1, acts)).wrong}


@pytest.mark.parametrize(("plant", "outcome"), IN_TABLES.values(), ids=IN_TABLES)
def test_a_defect_of_the_daily_flow(tables, plant, outcome, monkeypatch):
    assert outcomes(tables, DAILY, plant, monkeypatch) == {outcome}
    sql('DROP MATERIALIZED VIEW IF EXISTS "20260101T000000_of_nobody"; DELETE FROM recosync.building')(tables)


def test_a_table_that_takes_no_publish_is_stuck(tables, monkeypatch):
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
        world._wait_for(world._calls)
        world.here.bigquery_client.query(statement).result()

    return plant


IN_THE_LOG = {
    "a row that left the source": (sql("INSERT INTO written VALUES (-1)"), "lost"),
    "a row that is there twice": (
        in_bigquery("INSERT INTO raw_local.shown SELECT * FROM raw_local.shown LIMIT 1"),
        "doubled",
    ),
}


@pytest.mark.parametrize(("plant", "outcome"), IN_THE_LOG.values(), ids=IN_THE_LOG)
def test_a_defect_of_the_hourly_flow(log, plant, outcome, monkeypatch):
    assert outcome in outcomes(log, HOURLY, plant, monkeypatch)
