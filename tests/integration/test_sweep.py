"""A step's way to PostgreSQL breaks at one message after the other, or its process is killed there: readers see the old
or the new, and a repeated call brings the step to its end and leaves nothing behind.

A run tries every so many messages, from a random one on; all of them with EVERY_MESSAGE=1, each fifth with 5, however
long a test takes then.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest

from shared.catalog import FOLDER_VARIABLE
from shared.daily import arrival
from shared.daily.refresh import refresh
from shared.errors import BadRequestError, BusyError, IncompleteError, RetryableError
from shared.ledger import holds, publications
from shared.names import Hour, ObjectVersion, SnapshotId
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.services import HourlyServices, Services
from tests.kit import drifting_tables
from tests.kit.background import wait_for
from tests.kit.cut import Cutter, Where, cut_off
from tests.kit.logs import START, at, named
from tests.kit.sessions import users
from tests.kit.snapshots import TABLE, bookings, day
from tests.kit.uploads import Upload, arrive
from tests.kit.workers import ask, do, do_hourly, started

VIEW = "non_recommendable_items_mv"
STRIDE = int(os.environ.get("EVERY_MESSAGE", "0"))
pytestmark = [pytest.mark.timeout(0)] if STRIDE else []

#: The ledger as it was before its version 6.
OLDER_LEDGER = """
    DROP VIEW recosync.freshness;
    DROP TABLE recosync.catalog_entry;
    DROP INDEX recosync.failure_by_snapshot;
    DELETE FROM recosync.migration WHERE version >= 6
"""


@dataclass(frozen=True)
class Break:
    """What happens at a message: the connection is cut, or the worker is killed. A run tries every so many messages."""

    where: Where
    kills: bool = False

    def __str__(self) -> str:
        return f"{'killed' if self.kills else 'cut'}-{self.where.name}".lower()

    def sweep(self, at: Callable[[int], tuple[Cutter, bool]]) -> None:
        """Break a step at one message after the other, until it has fewer: `at` takes a new one each time. One that has
        fewer than the first of them is broken at its own first.
        """
        stride = STRIDE or (100 if self.kills else 40)
        first = random.randrange(stride)  # noqa: S311
        points = _broken(at, count(first, stride)) or _broken(at, [0])
        assert points
        sys.stdout.write(f"{points} points\n")  # -rP shows it

    def at[S: (Services, HourlyServices)](
        self, message: int, services: S, step: Callable[[S], object], **env: str
    ) -> tuple[Cutter, bool]:
        """Take the step with services whose way to PostgreSQL breaks there; whether it was broken off. `env` is for a
        process of its own.
        """
        with cut_off(services, self.where, message) as (cutter, through):
            if not self.kills:
                try:
                    step(through)
                except RetryableError:
                    return cutter, True
                return cutter, False
            pid: Future[int] = Future()
            cutter.met = lambda: os.kill(pid.result(), signal.SIGKILL)
            env = {**os.environ, **env, "DATABASE_URL": through.settings.database.read()}
            with started(env, do_hourly if isinstance(services, HourlyServices) else do, step) as worker:
                pid.set_result(worker.pid)
                code = worker.wait(300)
            assert code in (0, -signal.SIGKILL), message
            return cutter, code != 0


def _broken(at: Callable[[int], tuple[Cutter, bool]], messages: Iterable[int]) -> int:
    """At how many of these messages a step was broken off."""
    points = 0
    for message in messages:
        cutter, was_broken = at(message)
        points += was_broken
        if cutter.messages <= message:
            break
    return points


def minute(number: int) -> SnapshotId:
    """A snapshot of long ago: a sweep of every message makes more of them than a year has days."""
    return SnapshotId(day(0).at + timedelta(minutes=number))


BREAKS = (*map(Break, Where), Break(Where.BEFORE, kills=True), Break(Where.AFTER, kills=True))


@dataclass
class Table:
    """A table whose snapshots are numbered, each with its number in its rows."""

    services: Services
    database: psycopg.Connection
    folder: Path
    number: int = 0

    def rows(self, number: int) -> list[str]:
        return [f"{number:05}-a", f"{number:05}-b"]

    def upload(self, rows: Sequence[str] | None = None) -> None:
        self.number += 1
        rows = self.rows(self.number) if rows is None else rows
        snapshot = Upload(self.services, TABLE, minute(self.number))
        for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            snapshot.part(bookings(self.services, part))
        bucket = self.services.settings.bucket
        self.parts = [ObjectVersion(bucket, part.name, part.generation) for part in snapshot.parts]
        self.manifest = snapshot.manifest()

    def publish(self) -> None:
        self.upload()
        assert arrive(self.services, self.manifest) == ["published"]

    def step(
        self, do: Callable[[Services], object], before: list[str], after: list[str], relation: str = TABLE
    ) -> Step:
        """A step after which readers of the relation have other rows."""
        return Step(self.services, do, lambda: users(self.database, relation), before, after)


@dataclass
class Step:
    """A step that is about to be done: what is `seen` is as `before`, and then as `after`. `env` is what a process of
    its own knows besides.
    """

    services: Services
    do: Callable[[Services], object]
    seen: Callable[[], object]
    before: object
    after: object
    env: Mapping[str, str] = field(default_factory=dict)


def importing(table: Table) -> Step:
    before = table.rows(table.number)
    table.upload()
    return table.step(arriving(table), before, table.rows(table.number))


def publishing(table: Table) -> Step:
    before = table.rows(table.number)
    table.upload()
    assert arrive(table.services, *table.parts) == ["staged", "staged"]
    return table.step(arriving(table), before, table.rows(table.number))


def arriving(table: Table) -> Callable[[Services], object]:
    return partial(arrival.handle, version=table.manifest, size=1)


def refreshing(table: Table) -> Step:
    def refreshed() -> Callable[[Services], object]:
        return partial(refresh, table=TABLE, publication=publications.numbers(table.database, [TABLE])[TABLE])

    before = table.rows(table.number)
    refreshed()(table.services)
    table.publish()
    return table.step(refreshed(), before, table.rows(table.number), VIEW)


def rolling_back(table: Table) -> Step:
    holds.unpin(table.database, TABLE)
    table.publish()
    table.publish()
    shown = table.number - 1
    return table.step(
        partial(decisions.rollback, name=TABLE, snapshot=minute(shown), by="test"),
        table.rows(table.number),
        table.rows(shown),
    )


def approving(table: Table) -> Step:
    many = [f"{n:05}" for n in range(3_000)]
    table.upload(many)
    if arrive(table.services, table.manifest) == ["held"]:  # as much more than the rows before
        decisions.approve(table.services, TABLE, minute(table.number), "test")
    table.upload()
    assert arrive(table.services, table.manifest) == ["held"]
    held = table.number
    return table.step(partial(decisions.approve, name=TABLE, snapshot=minute(held), by="test"), many, table.rows(held))


def migrating(table: Table) -> Step:
    """An older ledger, and one column more for a table and the parts that are kept."""
    drift = drifting_tables.Drift(table.services, table.database, table.folder)
    columns = dict.fromkeys((f"c{n}" for n in range(table.number)), "text")
    if table.number == 1:
        for number in (1, 2):
            drift.publish(drift.of(columns), number, c0=["a", "b"])
    table.database.execute(OLDER_LEDGER.encode())
    table.number += 1
    services, before = drift.of({**columns, f"c{len(columns)}": "text"}), drift.rows()
    env = {FOLDER_VARIABLE: str(table.folder)}
    return Step(services, migrate, drift.rows, before, [(*row, None) for row in before], env)


@pytest.mark.parametrize("breaks", BREAKS, ids=str)
@pytest.mark.parametrize("prepare", [importing, publishing, refreshing, rolling_back, approving, migrating])
def test_a_step_of_the_daily_flow_is_brought_to_its_end_by_a_repeated_call(
    services, database, tmp_path, prepare, breaks
):
    table = Table(services, database, tmp_path)
    table.publish()

    def broken_at(message: int) -> tuple[Cutter, bool]:
        step = prepare(table)
        outcome = breaks.at(message, step.services, step.do, **step.env)
        assert step.seen() in (step.before, step.after), message
        repeat(lambda: step.do(step.services))
        assert step.seen() == step.after, message
        assert left_behind(database) == [], message
        return outcome

    breaks.sweep(broken_at)


@pytest.mark.parametrize("breaks", BREAKS, ids=str)
def test_an_hour_and_its_deletion_are_brought_to_their_end_by_a_repeated_call(log, breaks):
    log.change(late_hours=0)
    env = {"HOURLY_START": str(Hour(at(START))), "HOURLY_LATE_HOURS": "0"}
    hours, expected = count(START), {}

    def broken_at(message: int) -> tuple[Cutter, bool]:
        hour = next(hours)
        expected[hour] = log.add(hour, 3)
        body = {**named(hour), "recover_missed": False, "delete_from_source": True}
        step = partial(ask, body={"table_name": log.name, **body}, now=at(hour + 1))
        outcome = breaks.at(message, log.services, step, **env)
        repeat(lambda: log.done(hour + 1, **body))
        assert (log.state(hour), log.source(), log.bigquery()) == ("deleted", [], expected), message
        return outcome

    breaks.sweep(broken_at)


def repeat(call: Callable[[], object]) -> None:
    """Make a call again, and once more as long as the server is busy with what the first one sent it, or with its part
    of a snapshot. An operator who asks again may be told that it was done.
    """

    def done() -> bool:
        with suppress(BadRequestError):
            try:
                call()
            except (BusyError, IncompleteError):
                return False
        return True

    wait_for(done, 60)


def left_behind(database: psycopg.Connection) -> list[str]:
    """Views beside the live ones, of which there is one a name; builds and tables of parts that the ledger lost."""
    query = """
        SELECT relname FROM pg_class
        WHERE relkind = 'm' AND relname ~ 'non_recommendable_items_mv$' AND relname <> 'non_recommendable_items_mv'
        UNION ALL SELECT build_name FROM recosync.building
        UNION ALL SELECT relname FROM pg_class
        WHERE relnamespace = 'recosync'::regnamespace AND relname ~ '^part_[0-9]+$' AND relkind = 'r'
        AND substr(relname, 6)::bigint NOT IN (SELECT id FROM recosync.part WHERE dropped_at IS NULL)
    """
    return [name for (name,) in database.execute(query)]
