"""Work that kills its worker each time ends as a permanent failure, and no other work does."""

from contextlib import contextmanager

import psycopg
import pytest

from shared.daily.refresh import refresh
from shared.db.locks import Lock
from shared.db.postgres import connect
from shared.errors import BusyError, FatalWorkError, RetryableError
from shared.ledger import attempts, migrations
from shared.names import ObjectVersion
from tests.kit.background import Background, wait_for
from tests.kit.logs import named
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import Upload, arrive
from tests.kit.workers import IMPORT, worker

VIEW = "non_recommendable_items_mv"
REFRESH = "from shared.daily.refresh import refresh\nrefresh(services, sys.argv[1], int(sys.argv[2]))"
HOURS = """
from datetime import UTC, datetime
from shared.hourly import run
from shared.hourly.request import parse
from shared.services import HourlyServices
hourly = HourlyServices.from_environment()
run.run(hourly, parse(hourly, {"date": "20260310", "hour": 10}, None, datetime(2026, 3, 10, 12, 5, tzinfo=UTC)))
"""


@contextmanager
def locked(dsn, relation):
    """Hold up whoever writes to the relation, and whoever reads one that is no table of the ledger."""
    mode = "SHARE ROW EXCLUSIVE" if relation.startswith("recosync.") else "ACCESS EXCLUSIVE"
    with psycopg.connect(dsn) as other:
        other.execute(f"LOCK TABLE {relation} IN {mode} MODE".encode())
        yield


def unanswered(database):
    return one(database, "SELECT coalesce(max(unanswered), 0) FROM recosync.attempt")


def kill_workers(here, database, held, code, *arguments):
    """Kill as many workers as may die, each in the midst of the work, where it waits for what the test has `held`."""
    for number in range(1, attempts.MOST + 1):
        with locked(here.dsn, held), worker({**here.env, "HOURLY_START": "20260310T10"}, code, *arguments) as process:
            wait_for(lambda number=number: unanswered(database) == number)
            process.kill()
        wait_for(lambda: one(database, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"))


def killing(here, database, held, version):
    kill_workers(here, database, held, IMPORT, version.bucket, version.name, version.generation)


def test_a_part_that_kills_its_workers_fails_for_good_and_says_how_often(here, services, database):
    publish(services, 1, ["ann"])
    snapshot = Upload(services, TABLE, day(2))
    part = snapshot.part(bookings(services, ["bob"]))
    killing(here, database, "recosync.part", part)
    with pytest.raises(FatalWorkError, match=f"{part}.*begun 5 times") as failed:
        arrive(services, part)
    assert one(database, "SELECT message FROM recosync.failure") == str(failed.value)
    assert users(database) == ["ann"]
    # Nothing forbids to try again.
    assert arrive(services, snapshot.manifest()) == ["published"]
    assert users(database) == ["bob"]


def test_a_manifest_that_kills_its_workers_fails_for_good(here, services, database):
    publish(services, 1, ["ann"])
    manifest = upload(services, 2, ["bob"]).manifest()
    killing(here, database, "recosync.snapshot", manifest)
    with pytest.raises(FatalWorkError, match=str(manifest)):
        arrive(services, manifest)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 1
    assert arrive(services, manifest) == ["published"]


def test_a_view_whose_build_kills_its_workers_fails_for_good_until_the_next_publication(here, services, database):
    publish(services, 1, ["ann"])
    refresh(services, TABLE, 1)
    publish(services, 2, ["bob"])
    kill_workers(here, database, "recosync.building", REFRESH, TABLE, 2)
    with pytest.raises(FatalWorkError, match=VIEW):
        refresh(services, TABLE, 2)
    assert users(database, VIEW) == ["ann"]
    assert VIEW in str(one(database, "SELECT message FROM recosync.failure"))
    publish(services, 3, ["cleo"])
    assert refresh(services, TABLE, 3) == "refreshed"
    assert users(database, VIEW) == ["cleo"]


def test_an_hour_that_kills_its_workers_fails_for_good_and_the_next_ones_go_on(log):
    migrations.prepare(log.database, migrates=True)
    log.add(10)
    kill_workers(log.here, log.database, "past_offer_context", HOURS)
    log.add(11)
    answer = log.call(12)
    assert [hour["hour"] for hour in answer["hours"]] == ["20260310T11"]
    (failure,) = answer["failed"]
    assert (failure["hour"], failure["retryable"]) == ("20260310T10", False)
    assert "hour 20260310T10 of past_offer_context: was begun 5 times" in failure["error"]
    assert (log.state(10), log.bigquery()) == ("failed", {11: [2]})
    assert log.done(13, **named(10)) == {10: "exported"}
    assert log.bigquery() == {10: [1], 11: [2]}


def test_a_worker_that_has_an_answer_is_not_counted(here, services, database):
    """Least of all one that lost its connection: the server was restarted."""
    publish(services, 1, ["ann"])
    part = Upload(services, TABLE, day(2)).part(bookings(services, ["bob"]))
    with locked(here.dsn, "recosync.part"):
        stage = Background(lambda: arrive(services, part))
        wait_for(lambda: unanswered(database) == 1)
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(RetryableError):
            stage.result()
    assert unanswered(database) == 0
    assert arrive(services, part) == ["staged"]
    assert unanswered(database) == 0


@pytest.mark.parametrize("held_up", ["the note of who comes next", "the end of the own note"])
def test_a_note_that_somebody_holds_up_leaves_no_lock(here, services, database, held_up):
    """Who lets the lock go takes the note away in the same statement, which is committed a moment later."""
    version, work = ObjectVersion("a bucket", "a part", 1), attempts.Work("a part", "")
    lock, settings = Lock.part(version), services.settings
    with connect(settings, "test") as connection, psycopg.connect(here.dsn) as other:
        migrations.prepare(connection, migrates=True)
        if held_up == "the note of who comes next":
            other.execute("INSERT INTO recosync.attempt (work) VALUES ('a part')")
            with pytest.raises(BusyError), attempts.alone(connection, settings, lock, work):
                raise AssertionError
        else:
            with attempts.alone(connection, settings, lock, work):
                other.execute("SELECT FROM recosync.attempt WHERE work = 'a part' FOR UPDATE")
        assert one(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_role_that_may_not_use_the_ledger_counts_nothing(here, database):
    assert not attempts.kept(database)  # there is none yet
    migrations.prepare(database, migrates=True)
    assert attempts.kept(database)
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as other:
        assert not attempts.kept(other)
