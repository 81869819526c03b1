"""The connection to PostgreSQL breaks at one message of a step after the other: readers see the old or the new, and a
repeated call brings the step to its end and leaves nothing behind.

A run tries every so many messages, from a random one on; all of them with EVERY_MESSAGE=1.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count

import psycopg
import pytest

from shared.daily.refresh import refresh
from shared.errors import BadRequestError, RetryableError
from shared.ledger import holds, publications
from shared.operate import decisions
from shared.services import Services
from tests.kit.cut import Where, cut_off
from tests.kit.logs import START, named
from tests.kit.sessions import users
from tests.kit.snapshots import TABLE, day, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
STRIDE = 1 if os.environ.get("EVERY_MESSAGE") else 20


@dataclass
class Table:
    """A table whose snapshots are numbered, each with its number in its rows."""

    services: Services
    database: psycopg.Connection
    number: int = 0

    def rows(self, number: int) -> list[str]:
        return [f"{number:05}-a", f"{number:05}-b"]

    def upload(self, rows: list[str] | None = None) -> None:
        self.number += 1
        self.manifest = upload(self.services, self.number, self.rows(self.number) if rows is None else rows).manifest()

    def publish(self) -> None:
        self.upload()
        assert arrive(self.services, self.manifest) == ["published"]

    def refresh(self, services: Services) -> str:
        return refresh(services, TABLE, publications.numbers(self.database, [TABLE])[TABLE])


@dataclass
class Step:
    """A step that is about to be done: readers of the `relation` have `before`, and afterwards `after`."""

    do: Callable[[Services], object]
    before: list[str]
    after: list[str]
    relation: str = TABLE


def importing(table: Table) -> Step:
    before = table.rows(table.number)
    table.upload()
    return Step(lambda services: arrive(services, table.manifest), before, table.rows(table.number))


def refreshing(table: Table) -> Step:
    before = table.rows(table.number)
    table.refresh(table.services)
    table.publish()
    return Step(table.refresh, before, table.rows(table.number), VIEW)


def rolling_back(table: Table) -> Step:
    holds.unpin(table.database, TABLE)
    table.publish()
    table.publish()
    shown = table.number - 1
    return Step(
        lambda services: decisions.rollback(services, TABLE, day(shown), "test"),
        table.rows(table.number),
        table.rows(shown),
    )


def approving(table: Table) -> Step:
    many = [f"{n:05}" for n in range(3_000)]
    table.upload(many)
    if arrive(table.services, table.manifest) == ["held"]:  # as much more than the rows before
        decisions.approve(table.services, TABLE, day(table.number), "test")
    table.upload()
    assert arrive(table.services, table.manifest) == ["held"]
    held = table.number
    return Step(lambda services: decisions.approve(services, TABLE, day(held), "test"), many, table.rows(held))


STEPS = (importing, refreshing, rolling_back, approving)


@pytest.mark.parametrize("where", Where)
@pytest.mark.parametrize("prepare", STEPS)
def test_a_step_of_the_daily_flow_is_brought_to_its_end_by_a_repeated_call(services, database, prepare, where):
    table, broken = Table(services, database), 0
    table.publish()
    for message in messages():
        step = prepare(table)
        with cut_off(services, where, message) as (cutter, through):
            try:
                step.do(through)
            except RetryableError:
                broken += 1
        assert users(database, step.relation) in (step.before, step.after), message
        # An operator who asks again may be told that it was done.
        with suppress(BadRequestError):
            step.do(services)
        assert users(database, step.relation) == step.after, message
        assert left_behind(database) == [], message
        if cutter.messages <= message:
            break
    assert broken


@pytest.mark.parametrize("where", Where)
def test_an_hour_and_its_deletion_are_brought_to_their_end_by_a_repeated_call(log, where):
    log.change(late_hours=0)
    broken, hour, expected = 0, START, {}
    for message in messages():
        expected[hour] = log.add(hour, 3)
        with cut_off(log.services, where, message) as (cutter, through):
            cut_log = replace(log, services=through)
            with suppress(RetryableError):
                answer, status = cut_log.ask(hour + 1, **named(hour), recover_missed=False, delete_from_source=True)
                assert all(failure["retryable"] for failure in answer["failed"]), message
                broken += status != 200
        log.done(hour + 1, **named(hour), recover_missed=False, delete_from_source=True)
        assert (log.state(hour), log.source(), log.bigquery()) == ("deleted", [], expected), message
        hour += 1
        if cutter.messages <= message:
            break
    assert broken


def messages() -> Iterator[int]:
    return count(random.randrange(STRIDE), STRIDE)  # noqa: S311


def left_behind(database: psycopg.Connection) -> list[str]:
    """Views beside the live ones, of which there is one a name."""
    query = "SELECT relname FROM pg_class WHERE relkind = 'm' AND relname LIKE '%non_recommendable_items_mv' ORDER BY 1"
    found = [name for (name,) in database.execute(query) if name != VIEW]
    return [*found, *(str(row) for row in database.execute("SELECT * FROM recosync.building"))]
