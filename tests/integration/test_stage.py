"""Stage: a part is loaded once, where no reader sees it, whatever happens to the workers."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pyarrow as pa
import pytest

from shared.daily import arrival
from shared.db.locks import Lock
from shared.errors import BusyError, DataError, RetryableError
from shared.services import Services
from tests.kit.background import wait_for
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, bookings, day, publish
from tests.kit.uploads import Upload, arrive, rows
from tests.kit.workers import SHORT_LIVED, importing


def children(database):
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'recosync'::regnamespace AND relname ~ '^part_[0-9]+$'"
    return [name for (name,) in database.execute(query)]


def test_a_part_is_loaded_where_no_reader_sees_it(services, database):
    part = Upload(services, TABLE, day(1)).part(bookings(services, ["ann", "bob"]))
    assert arrive(services, part) == ["staged"]
    (child,) = children(database)
    assert users(database, f"recosync.{child}") == ["ann", "bob"]
    assert users(database) == []


def test_a_part_is_staged_once_however_often_and_concurrently_it_is_announced(here, database):
    def handle(_):
        try:
            return arrival.handle(Services.from_environment(), part, 1)
        except BusyError:
            return "busy"

    services = Services.from_environment()
    part = Upload(services, TABLE, day(1)).part(bookings(services, ["ann"] * 20_000))
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(handle, range(24)))
    assert set(outcomes) == {"staged", "busy"}
    assert one(database, "SELECT array_agg(rows) FROM recosync.part") == [20_000]
    assert len(children(database)) == 1


def test_a_part_that_another_worker_stages_is_to_be_delivered_again(here, services):
    part = Upload(services, TABLE, day(1)).part(bookings(services, ["ann"]))
    with held(here.dsn, Lock.part(part)), pytest.raises(BusyError) as busy:
        arrive(services, part)
    assert isinstance(busy.value, RetryableError)
    assert arrive(services, part) == ["staged"]


@pytest.fixture
def long_part(services):
    """A part whose copy takes a second or two."""
    count = 2_000_000
    codes = pa.DictionaryArray.from_arrays(pa.array([i % 1000 for i in range(count)]), [str(i) for i in range(1000)])
    column = codes.cast(pa.string())
    return Upload(services, TABLE, day(1)).part(rows(TABLE, services, {"user_id": column, "item_id": column}))


def wait_until_copying(database):
    wait_for(lambda: one(database, "SELECT max(tuples_processed) > 0 FROM pg_stat_progress_copy"))


def test_a_worker_killed_in_mid_copy_leaves_nothing_and_the_next_call_stages_the_part(
    here, services, database, long_part
):
    with importing(here.env, long_part) as process:
        wait_until_copying(database)
        process.kill()
    wait_for(lambda: one(database, "SELECT count(*) = 0 FROM pg_stat_progress_copy"))
    assert children(database) == []
    assert one(database, "SELECT count(*) FROM recosync.part") == 0
    assert arrive(services, long_part) == ["staged"]
    assert one(database, "SELECT rows FROM recosync.part") == 2_000_000


def test_a_frozen_worker_loses_its_lock_when_it_can_live_no_longer(here, services, database, long_part):
    age = "SELECT now() - max(backend_start) FROM pg_stat_activity JOIN pg_stat_progress_copy USING (pid)"
    with importing(here.env, long_part) as process:
        wait_until_copying(database)
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: one(database, age) > timedelta(seconds=2))
        with pytest.raises(BusyError):
            arrive(services, long_part)
        assert one(database, "SELECT count(*) FROM pg_stat_progress_copy") == 1
    wait_for(lambda: one(database, "SELECT count(*) = 0 FROM pg_stat_progress_copy"))
    with importing(here.env, long_part, SHORT_LIVED) as process:
        wait_until_copying(database)
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: one(database, age) > timedelta(seconds=2))
        with pytest.raises(BusyError):
            arrive(services, long_part)
        wait_for(lambda: one(database, "SELECT count(*) = 0 FROM pg_stat_progress_copy"))
        assert arrive(services, long_part) == ["staged"]


@pytest.mark.parametrize(
    ("names", "state"), [(["ann", None], "23502"), (["ann", "bo"], "23514")], ids=["NULL", "CHECK"]
)
def test_what_the_table_forbids_is_refused_in_a_part_and_never_quoted(services, database, names, state):
    database.execute(
        f"CREATE TABLE {TABLE} (user_id varchar NOT NULL, item_id varchar,"
        " CONSTRAINT long_enough CHECK (length(user_id) > 2))"
    )
    part = Upload(services, TABLE, day(1)).part(bookings(services, names))
    with pytest.raises(DataError, match=f"{TABLE}.*row group 0.*{state}") as refused:
        arrive(services, part)
    assert "bo" not in str(refused.value)
    assert children(database) == []
    assert one(database, "SELECT subject FROM recosync.failure") == str(part)


def test_a_child_carries_the_not_null_and_checks_of_its_table(services, database):
    database.execute(f"CREATE TABLE {TABLE} (user_id varchar NOT NULL, item_id varchar CHECK (item_id <> ''))")
    publish(services, 1, ["ann"])
    (child,) = children(database)
    with pytest.raises(psycopg.errors.NotNullViolation):
        database.execute(f"INSERT INTO recosync.{child} VALUES (NULL, 'item')")
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(f"INSERT INTO recosync.{child} VALUES ('ann', '')")


def test_a_transaction_older_than_the_stage_reads_every_row_after_the_publish(here, services, database):
    publish(services, 1, ["ann"])
    with psycopg.connect(here.dsn) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM pg_class LIMIT 1")
        publish(services, 2, ["bob", "cleo"], ["dan"])
        assert users(old) == ["bob", "cleo", "dan"]
