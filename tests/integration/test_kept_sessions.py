"""A session that is kept from one event to the next: to whom it is given, it is like a new one."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import psycopg
import psycopg.conninfo
import pytest

from shared.daily import arrival
from shared.db import kept as kept_sessions
from shared.db.kept import kept
from shared.db.locks import Lock, end_stale_holders, lock_or_busy
from shared.db.postgres import connect
from shared.errors import RetryableError
from shared.services import Services
from tests.kit.background import wait_for
from tests.kit.exchanges import counted
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, bookings, day
from tests.kit.uploads import Upload

#: All that a session is set to. Of what a transaction sets for itself there is nothing between two.
SETTINGS = """
    SELECT array_agg((name, setting) ORDER BY name), current_user, session_user
    FROM pg_settings WHERE name <> 'application_name'
"""


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    for each in kept_sessions._left:
        each.session.close()
    kept_sessions._left.clear()


@pytest.fixture
def settings(services):
    return services.settings


def pid_of(settings):
    with kept(settings, "test") as session:
        return session.info.backend_pid


def test_the_next_call_has_the_same_session(settings):
    assert pid_of(settings) == pid_of(settings)


def test_whatever_was_done_in_it_it_is_as_a_new_one(settings, database):
    database.execute("CREATE TABLE of_somebody (n integer)")
    with kept(settings, "test") as session:
        pid = session.info.backend_pid
        session.execute("SET lock_timeout = '7s'; SET search_path = public; SET timezone = 'Asia/Tokyo'")
        session.execute("SET synchronous_commit = off; SET work_mem = '1MB'; SET recosync.of_somebody = 'x'")
        session.execute("CREATE TEMP TABLE of_somebody (n integer); LISTEN something")
        session.execute("SELECT pg_advisory_lock(42), pg_advisory_lock_shared(43)")
        session.execute("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT")
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    assert database.execute(held, [pid]).fetchone() == (0,)
    with kept(settings, "test") as session, connect(settings, "test") as new:
        assert session.info.backend_pid == pid
        assert session.execute(SETTINGS).fetchone() == new.execute(SETTINGS).fetchone()
        assert (session.postgis, session.pgvector) == (new.postgis, new.pgvector)
        assert one(session, "SELECT count(*) FROM pg_cursors") == 0
        assert one(session, "SELECT count(*) FROM pg_listening_channels()") == 0
        assert one(session, "SELECT to_regclass('pg_temp.of_somebody')") is None
        assert one(session, "SELECT current_setting('recosync.of_somebody', true)") in (None, "")


def test_the_session_of_a_call_that_failed_is_closed(settings):
    sessions = []

    def fail():
        with kept(settings, "test") as session:
            sessions.append(session)
            raise psycopg.OperationalError

    with pytest.raises(RetryableError):
        fail()
    assert sessions[0].closed
    assert kept_sessions._left == []


def test_a_session_that_the_server_has_ended_is_followed_by_a_new_one(settings, database):
    pid = pid_of(settings)
    database.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert pid_of(settings) != pid


def test_a_session_to_which_the_way_is_gone_is_followed_by_a_new_one(here, monkeypatch):
    to = psycopg.conninfo.conninfo_to_dict(here.dsn)
    with counted(str(to["host"]), int(to["port"])) as way:
        for name, value in here.env.items():
            if value == here.dsn:
                monkeypatch.setenv(name, value.replace(f":{to['port']}/", f":{way.port}/"))
        settings = Services.from_environment().settings
        pid = pid_of(settings)
        assert pid_of(settings) == pid
        monkeypatch.setattr(kept_sessions, "PATIENCE", 0.2)
        way.silence()
        assert pid_of(settings) != pid


def test_the_server_ends_a_session_that_nobody_uses(settings, database, monkeypatch):
    monkeypatch.setattr(kept_sessions, "IDLE", 1)
    pid = pid_of(settings)
    there = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
    wait_for(lambda: database.execute(there, [pid]).fetchone()[0])
    assert pid_of(settings) != pid


@pytest.mark.parametrize("limit", ["IDLE", "LONGEST"])
def test_a_session_that_is_too_old_is_followed_by_a_new_one(settings, monkeypatch, limit):
    pid = pid_of(settings)
    monkeypatch.setattr(kept_sessions, limit, 0)
    assert pid_of(settings) != pid


def test_a_session_by_another_url_is_another(settings, here):
    pid = pid_of(settings)
    other = replace(settings, function_timeout=settings.function_timeout + 1)
    assert pid_of(other) != pid


def test_a_kept_session_that_works_is_not_held_to_be_frozen(settings):
    short = replace(settings, life=1)
    pid_of(short)
    (left,) = kept_sessions._left
    # As if it had been opened long ago: the server counts from there too.
    kept_sessions._left[:] = [replace(left, opened=left.opened - 100)]
    lock = Lock("of the test")
    with kept(short, "test") as session, connect(settings, "another") as other:
        lock_or_busy(session, lock, session=True)
        assert session.info.backend_pid == left.session.info.backend_pid
        assert one(session, "SELECT current_setting('application_name')") in (
            "recosync 102s test",
            "recosync 103s test",
        )
        end_stale_holders(other, lock)
        assert one(session, "SELECT 1") == 1


def test_events_that_come_one_after_the_other_have_one_session(services, database):
    upload = Upload(services, TABLE, day(1))
    objects = [upload.part(bookings(services, ["ann"])), upload.part(bookings(services, ["bob"])), upload.manifest()]
    pids = []

    @contextlib.contextmanager
    def noting(settings, purpose):
        with kept(settings, purpose) as session:
            pids.append(session.info.backend_pid)
            yield session

    outcomes = [arrival.handle(services, version, 1, noting) for version in objects]
    assert outcomes == ["staged", "staged", "published"]
    assert len(pids) == 3
    assert len(set(pids)) == 1


def test_a_role_that_the_url_sets_is_the_sessions_own(cloud, here, monkeypatch):
    with cloud.postgres.superuser(here.name) as admin:
        admin.execute("CREATE ROLE kept_as; GRANT kept_as TO recosync")
        try:
            for name, value in here.env.items():
                if value == here.dsn:
                    monkeypatch.setenv(name, f"{value}?options=-c%20role%3Dkept_as")
            settings = Services.from_environment().settings
            for _ in range(2):
                with kept(settings, "test") as session:
                    assert one(session, "SELECT current_user") == "kept_as"
                    session.execute("SET ROLE recosync")
        finally:
            while kept_sessions._left:
                kept_sessions._left.pop().session.close()
            admin.execute("DROP ROLE kept_as")
