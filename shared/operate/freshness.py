"""Wait until tables and views are fresh enough, by `recosync.freshness` alone: who waits needs no catalog, and no right
but that of reading the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

import psycopg
from psycopg.rows import class_row

from shared.db import queries
from shared.db.postgres import connect, translated
from shared.errors import BadRequestError, ConfigurationError, RetryableError
from shared.operate.patience import Patience, Tell, pause
from shared.settings import CommonSettings

#: States of a table in which nothing newer comes before somebody did something; the first is told of several.
type Stuck = Literal["failed", "held", "pinned"]
STUCK: tuple[Stuck, ...] = ("failed", "held", "pinned")


@dataclass(frozen=True)
class Freshness:
    """A row of `recosync.freshness`: docs/contract.md tells what each column means."""

    name: str
    kind: str
    reads: list[str]
    state: str
    snapshot: str | None
    publication: int | None
    source_changed_at: datetime | None
    fresh_at: datetime | None
    published_at: datetime | None
    refreshed_at: datetime | None
    age: timedelta | None


@dataclass(frozen=True)
class Wanted:
    """How fresh rows should be: as the source had them at this instant or later, or younger than that."""

    since: datetime | None = None
    fresher_than: timedelta | None = None

    def met_by(self, row: Freshness) -> bool:
        if row.fresh_at is None or row.age is None:
            return False
        return (self.since is None or row.fresh_at >= self.since) and (
            self.fresher_than is None or row.age < self.fresher_than
        )

    def __str__(self) -> str:
        return f"rows as of {self.since:%Y-%m-%d %H:%M:%S} UTC or later" if self.since else "fresher rows"


@dataclass(frozen=True)
class Waited:
    """What came of the wait for a table or view: it is fresh enough (`reached`), nothing comes before somebody did
    something about the table or view `because`, or it has yet to come (`late`).
    """

    row: Freshness
    what: Literal["reached", "late"] | Stuck
    because: str

    @classmethod
    def of(cls, row: Freshness, wanted: Wanted, others: Mapping[str, Freshness]) -> Self:
        """By the row, and by those of the tables that it reads."""
        if wanted.met_by(row):
            return cls(row, "reached", row.name)
        lacking = [others[name] for name in row.reads if name in others and not wanted.met_by(others[name])]
        # If its tables are fresh enough, a view's state is about its own refresh.
        about = lacking or [row]
        for state in STUCK:
            for each in about:
                if each.state == state:
                    return cls(row, state, each.name)
        return cls(row, "late", about[0].name)


def until_fresh(
    settings: CommonSettings, names: Sequence[str], wanted: Wanted, tell: Tell, seconds: float
) -> list[Waited]:
    """What came of each, once all are fresh enough, one can't become so without somebody, or the seconds are over.

    Raises BadRequestError for a name that there is not, ConfigurationError where nobody may look, and RetryableError
    when PostgreSQL could not be reached to the end.
    """
    patience = {name: Patience(tell, seconds) for name in names}
    while True:
        try:
            found = look(settings, names, wanted)
        except ConfigurationError:
            raise
        except RetryableError as e:
            if not patience[names[0]].lasts(None, f"waiting for PostgreSQL: {e}"):
                raise
            pause()
            continue
        late = [one for one in found if one.what == "late"]
        if not late or any(one.what in STUCK for one in found):
            return found
        lasting = [patience[one.row.name].lasts(None, _awaited(one, wanted)) for one in late]
        if not all(lasting):
            return found
        pause()


def look(settings: CommonSettings, names: Sequence[str], wanted: Wanted) -> list[Waited]:
    """How it stands with each of them, as of one instant."""
    with (
        connect(settings, "wait") as connection,
        translated("asking recosync.freshness"),
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        stands, usable, role = connection.execute(queries.load("freshness")["access"]).fetchone() or (False, False, "")
        if not stands:
            raise ConfigurationError(
                "there is no recosync.freshness",
                where="the database",
                remedy="Check DATABASE_URL. An operator brings an older ledger up to date with: recosync migrate",
            )
        if not usable:
            raise ConfigurationError(
                "may not read the ledger", where=role, remedy=f"Have an operator run: recosync migrate --reader {role}"
            )
        found = _rows(connection, names)
        unknown = [name for name in names if name not in found]
        if unknown:
            known = ", ".join(name for (name,) in connection.execute(queries.load("freshness")["known"]))
            raise BadRequestError(f"is no table or view of the deployment, which has {known}", where=", ".join(unknown))
        others = found | _rows(connection, [read for row in found.values() for read in row.reads])
        return [Waited.of(found[name], wanted, others) for name in names]


def _rows(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, Freshness]:
    with connection.cursor(row_factory=class_row(Freshness)) as cursor:
        cursor.execute(queries.load("freshness")["freshness"], {"names": list(names)})
        return {row.name: row for row in cursor}


def _awaited(one: Waited, wanted: Wanted) -> str:
    of = "" if one.because == one.row.name else f" of {one.because}"
    return f"{one.row.name}: waiting for {wanted}{of}, it is {one.row.state}"
