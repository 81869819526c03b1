"""The daily job while events, functions and the database fail: in the end PostgreSQL holds what BigQuery does, once."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from http.client import HTTPException

import psycopg
import pytest

from local.eventarc import Faults
from shared.db.locks import Lock
from tests.e2e.system import scheduled
from tests.kit.background import Background, wait_for
from tests.kit.servers import stops_the_server
from tests.kit.sessions import held, one

#: Tables of several parts; two are enough to see a fault, and twice as fast as four.
TABLES = ("enriched_user", "recommendable_offers_raw")
BRAKE = Lock("the brake of a test")


@pytest.fixture(scope="module")
def published(system, days):
    """A day that has come through before anything fails: its tables are there."""
    system.run(next(days), *TABLES)


@pytest.fixture
def day(emulated, system, days):
    """A day whose job runs under faults. In the end it must have come through, and only once."""
    number = next(days)
    system.fill(number)
    yield number
    emulated.eventarc.faults = Faults()
    snapshot = f"{scheduled(number):%Y%m%dT%H%M%SZ}"
    system.wait_refreshed(dict.fromkeys(TABLES, snapshot))
    emulated.eventarc.wait_idle()
    assert system.agrees(*TABLES)
    for table in TABLES:
        assert system.publications(table).count(snapshot) == 1
    assert system.select("SELECT count(*) FROM recosync.building") == [(0,)]
    assert system.select("SELECT kind FROM recosync.failure") == []


def is_part(event):
    return "part-" in str(event.subject)


@pytest.mark.matrix
@pytest.mark.parametrize("copies", [2, 3])
def test_every_event_comes_several_times(emulated, system, day, copies):
    emulated.eventarc.faults = Faults(copies=copies)
    system.schedule(scheduled(day), *TABLES)
    emulated.eventarc.wait_idle()
    assert len(emulated.eventarc.deliveries) >= 7 * copies


def test_the_events_of_the_parts_are_lost(emulated, system, day):
    before = len(emulated.eventarc.deliveries)
    emulated.eventarc.faults = Faults(drop=is_part)
    system.schedule(scheduled(day), *TABLES)
    emulated.eventarc.wait_idle()
    assert not any(is_part(delivery.event) for delivery in emulated.eventarc.deliveries[before:])


def test_the_events_of_the_manifests_come_first(emulated, system, day):
    emulated.eventarc.faults = Faults(hold=lambda _: True)
    system.schedule(scheduled(day), *TABLES)
    wait_for(lambda: len(emulated.eventarc.held()) == 7)
    emulated.eventarc.faults = Faults()
    emulated.eventarc.release(lambda events: sorted(events, key=is_part))


def test_the_events_of_the_parts_come_late(emulated, system, day):
    emulated.eventarc.faults = Faults(delay=lambda event: 2 if is_part(event) else 0)
    system.schedule(scheduled(day), *TABLES)


def test_a_days_events_come_after_those_of_the_next_day(emulated, system, day):
    earlier = scheduled(day).replace(hour=1)
    emulated.eventarc.faults = Faults(hold=lambda event: f"{earlier:%Y%m%dT%H}" in str(event.subject))
    system.schedule(earlier, *TABLES)
    wait_for(lambda: len(emulated.eventarc.held()) == 7)
    system.wait_refreshed(system.schedule(scheduled(day), *TABLES))
    emulated.eventarc.faults = Faults()
    emulated.eventarc.release()


@contextmanager
def in_mid_copy(system, day):
    """Inside the block, the day's job hangs in the middle of copying a part; the copy goes on when it ends."""
    with psycopg.connect(system.dsn, autocommit=True) as connection:
        connection.execute(f"""
            CREATE OR REPLACE FUNCTION public.brake() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                WHILE NOT pg_try_advisory_xact_lock_shared({BRAKE.key}) LOOP PERFORM pg_sleep(0.01); END LOOP;
                RETURN true;
            END $$
        """)
        connection.execute("ALTER TABLE public.enriched_user ADD CONSTRAINT slow CHECK (public.brake()) NOT VALID")
        try:
            with held(system.dsn, BRAKE):
                system.schedule(scheduled(day), *TABLES)
                wait_for(lambda: one(connection, "SELECT count(*) FROM pg_stat_progress_copy"))
                yield
        finally:
            with psycopg.connect(system.dsn, autocommit=True) as again:
                again.execute("ALTER TABLE public.enriched_user DROP CONSTRAINT slow")


def test_the_importing_functions_are_killed_in_mid_copy(emulated, system, published, day):
    with in_mid_copy(system, day):
        for instance in emulated.instances["gcs_import"]:
            instance.kill()
    for instance in emulated.instances["gcs_import"]:
        instance.restart()


@stops_the_server
@pytest.mark.matrix
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_database_is_restarted_in_mid_copy(emulated, system, published, day, mode):
    with in_mid_copy(system, day):
        emulated.cloud.postgres.restart(mode)


def test_the_refreshing_function_is_killed_at_work(emulated, system, day):
    (instance,) = emulated.instances["mv_refresh"]
    lines = emulated.log("mv_refresh").count("view built")
    system.schedule(scheduled(day), *TABLES)
    wait_for(lambda: emulated.log("mv_refresh").count("view built") > lines)
    instance.kill()
    instance.restart()


@pytest.mark.matrix
@pytest.mark.parametrize("sign", ["part-", "manifest"])
def test_the_exporting_function_is_killed_at_work_and_called_again(emulated, system, day, sign):
    def written():
        prefix = f"recommendation_exports/{TABLES[0]}/{scheduled(day):%Y%m%dT}"
        blobs = emulated.storage_client.list_blobs(emulated.bucket, prefix=prefix)
        return any(sign in blob.name for blob in blobs)

    (instance,) = emulated.instances["bq_export"]
    call = Background(lambda: system.schedule(scheduled(day), *TABLES))
    wait_for(written)
    instance.kill()
    with suppress(OSError, HTTPException, AssertionError):  # it may have ended just before
        call.result()
    instance.restart()
    system.schedule(scheduled(day), *TABLES)


def test_the_job_is_called_several_times_at_once(emulated, system, day):
    calls = [Background(lambda: system.schedule(scheduled(day), *TABLES)) for _ in range(4)]
    assert [call.result() for call in calls] == [calls[0].result()] * 4
