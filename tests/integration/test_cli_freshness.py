"""`recosync wait`: scripts of others go on when a table or view is fresh enough, and hear of it when it won't be."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.daily import refresh
from shared.errors import SyncError
from shared.ledger import calls
from shared.ledger.calls import ExportCall
from shared.names import SnapshotId
from shared.operate import decisions, freshness
from shared.operate.cli.output import Exit
from shared.operate.migrate import migrate
from tests.kit.background import Background, wait_for
from tests.kit.commands import Ran, recosync
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, bookings
from tests.kit.uploads import Upload, arrive

VIEW = "non_recommendable_items_mv"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def now(monkeypatch) -> None:
    """Ages are of each test's own time: an hour may pass before the last one."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def at(services) -> Callable[..., list[str]]:
    """Have a snapshot arrive that was exported so long ago; what becomes of it."""

    def arrives(age: timedelta, *users: str) -> list[str]:
        snapshot = Upload(services, TABLE, SnapshotId(NOW - age))
        snapshot.part(bookings(services, users or ["ann"]))
        return arrive(services, snapshot.manifest())

    return arrives


@pytest.fixture
def build(services, database) -> Callable[[], str]:
    query = "SELECT max(publication) FROM recosync.publication"
    return lambda: refresh.refresh(services, TABLE, one(database, query))


@pytest.fixture
def wait(here, services, monkeypatch) -> Callable[..., Ran]:
    """The command as somebody runs it who has the API's role, and nothing of the deployment but that."""
    migrate(services, reader="api")
    for name in here.env:
        if "EMULATOR" not in name:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", here.cloud.postgres.dsn(here.name, "api"))
    return lambda *arguments: recosync("wait", *arguments)


class Waiting:
    """A wait in the background."""

    def __init__(self, call: Callable[[], Ran], looks: list[float]) -> None:
        self._looks, self._call = looks, Background(call)

    def goes_on(self) -> None:
        """It has looked twice since, and still waits."""
        before = len(self._looks)
        wait_for(lambda: len(self._looks) > before + 2)
        assert self._call.running

    def ended(self) -> Ran:
        return self._call.result()


@pytest.fixture
def waiting(wait, monkeypatch) -> Callable[..., Waiting]:
    looks: list[float] = []

    def pause() -> None:
        looks.append(time.monotonic())
        time.sleep(0.05)

    monkeypatch.setattr(freshness, "pause", pause)
    return lambda *arguments: Waiting(lambda: wait(*arguments), looks)


def test_what_is_fresh_enough_is_not_waited_for(wait, at, build):
    assert at(2 * HOUR) == ["published"]
    build()
    for how in ((), ("--fresher-than", "3h"), ("--since", f"{NOW - 2 * HOUR:%Y-%m-%dT%H:%M:%S}")):
        ran = wait(VIEW, TABLE, *how)
        assert (ran.code, ran.err) == (0, "")
        assert f"{TABLE}  reached  fresh  {SnapshotId(NOW - 2 * HOUR)}" in ran.out


def test_a_view_is_waited_for_until_it_holds_rows_of_that_time(waiting, at, build):
    assert at(3 * HOUR) == ["published"]
    build()
    asked = waiting(VIEW, "--since", (NOW - HOUR).isoformat(), "--json")
    asked.goes_on()
    # What was exported before is not what was asked for.
    assert at(2 * HOUR) == ["published"]
    asked.goes_on()
    build()
    asked.goes_on()
    assert at(HOUR) == ["published"]
    asked.goes_on()
    build()
    ran = asked.ended()
    assert ran.code == 0
    (told,) = ran.json["waited"]
    assert (told["status"], told["snapshot"], told["state"]) == ("reached", str(SnapshotId(NOW - HOUR)), "fresh")
    assert told["fresh_at"] == (NOW - HOUR).isoformat()
    assert ran.err.splitlines() == [
        f"{VIEW}: waiting for rows as of {NOW - HOUR:%Y-%m-%d %H:%M:%S} UTC or later of {TABLE}, it is fresh",
        f"{VIEW}: waiting for rows as of {NOW - HOUR:%Y-%m-%d %H:%M:%S} UTC or later of {TABLE}, it is behind",
        f"{VIEW}: waiting for rows as of {NOW - HOUR:%Y-%m-%d %H:%M:%S} UTC or later of {TABLE}, it is fresh",
        f"{VIEW}: waiting for rows as of {NOW - HOUR:%Y-%m-%d %H:%M:%S} UTC or later, it is behind",
    ]


def test_a_source_that_is_found_unchanged_is_as_fresh_as_that(waiting, database, at, build):
    assert at(3 * HOUR) == ["published"]
    build()
    asked = waiting(VIEW, "--fresher-than", "2h")
    asked.goes_on()
    calls.record(
        database, [ExportCall(TABLE, NOW - HOUR, "confirmed unchanged", SnapshotId(NOW - 3 * HOUR), message=None)]
    )
    assert asked.ended().code == 0


def test_who_waits_in_vain_hears_of_it_by_a_code_of_its_own(wait, at):
    assert at(2 * HOUR) == ["published"]
    ran = wait(VIEW, TABLE, "--fresher-than", "3h", "--timeout", "0s", "--json")
    assert ran.code == Exit.LATE
    assert [(each["name"], each["status"], each["state"]) for each in ran.json["waited"]] == [
        (VIEW, "late", "behind"), (TABLE, "reached", "fresh"),
    ]  # fmt: skip
    assert ran.err.splitlines()[-1] == f"recosync: {VIEW}: not reached: {VIEW} is behind; it may still come"


def test_a_hold_ends_the_wait_unless_what_is_there_is_fresh_enough(waiting, services, at, build):
    assert at(3 * HOUR, *(f"user-{n}" for n in range(3_000))) == ["published"]
    build()
    asked = waiting(VIEW, "--fresher-than", "2h", "--json")
    asked.goes_on()
    assert at(HOUR) == ["held"]
    ran = asked.ended()
    assert ran.code == Exit.HELD
    assert (ran.json["waited"][0]["status"], ran.json["waited"][0]["because"]) == ("held", TABLE)
    assert ran.err.splitlines()[-1] == (f"recosync: {VIEW}: what is newer of {TABLE} is held, and waits for a decision")
    assert waiting(VIEW, "--fresher-than", "4h").ended().code == 0


def test_a_pin_ends_the_wait_and_a_refresh_to_come_does_not(waiting, services, at, build):
    assert at(3 * HOUR) == at(2 * HOUR) == ["published"]
    decisions.rollback(services, TABLE, None, "test")
    # The table is as fresh as asked for, and its view on the way there.
    asked = waiting(VIEW, "--fresher-than", "4h")
    asked.goes_on()
    build()
    assert asked.ended().code == 0
    ran = waiting(VIEW, TABLE, "--fresher-than", "3h").ended()
    assert ran.code == Exit.HELD
    assert "an operator went back to an earlier snapshot" in ran.err


def test_a_failure_for_good_ends_the_wait(waiting, database, at, build):
    assert at(3 * HOUR) == ["published"]
    build()
    database.execute(f"CREATE VIEW theirs AS SELECT * FROM {VIEW}")
    assert at(HOUR) == ["published"]
    asked = waiting(VIEW, "--fresher-than", "2h")
    asked.goes_on()
    with pytest.raises(SyncError):
        build()
    ran = asked.ended()
    assert ran.code == Exit.FAILED
    assert ran.err.splitlines()[-1].startswith(f"recosync: {VIEW}: {VIEW} failed for good")
    database.execute("DROP VIEW theirs")
    calls.record(database, [ExportCall(TABLE, NOW, "failed", None, "is empty")])
    # The refresh that may come is of rows that are fresh enough.
    assert waiting(VIEW, "--fresher-than", "30m").ended().code == Exit.FAILED


def test_an_unknown_name_and_two_wishes_make_no_sense(wait):
    ran = wait("enriched_users")
    assert ran.code == Exit.USAGE
    assert "enriched_users: is no table or view of the deployment, which has enriched_user_mv, i" in ran.err
    assert wait(VIEW, "--since", "2026-01-01", "--fresher-than", "6h").code == Exit.USAGE
    for option in (("--since", "yesterday"), ("--fresher-than", "6"), ("--timeout", "-1s")):
        assert wait(VIEW, *option).code == Exit.USAGE


def test_who_may_not_look_is_told_what_is_missing(here, services, wait, database, monkeypatch):
    database.execute("REVOKE USAGE ON SCHEMA recosync FROM api")
    ran = wait(VIEW)
    assert (ran.code, ran.err) == (
        Exit.RETRY, "recosync: api: may not read the ledger. Have an operator run: recosync migrate --reader api\n",
    )  # fmt: skip
    database.execute("DROP VIEW recosync.freshness")
    assert wait(VIEW).code == Exit.RETRY
    monkeypatch.delenv("DATABASE_URL")
    ran = wait(VIEW)
    assert ran.code == Exit.RETRY
    assert "set one of DATABASE_URL" in ran.err
    assert "GCP_PROJECT_ID" not in ran.err


def test_a_server_that_is_away_for_a_while_is_waited_for(here, waiting, at, build):
    assert at(3 * HOUR) == ["published"]
    build()
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"ALTER DATABASE {here.name} ALLOW_CONNECTIONS false")
        asked = waiting(VIEW, "--fresher-than", "4h")
        asked.goes_on()
        admin.execute(f"ALTER DATABASE {here.name} ALLOW_CONNECTIONS true")
    assert asked.ended().code == 0
