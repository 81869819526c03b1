"""Wait until readers have snapshots, in tables and in views: follow the functions in the ledger, and say what for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg

from shared.catalog import Table, View
from shared.daily.context import TableRun
from shared.daily.templates import digest_of_all
from shared.db import queries
from shared.db.postgres import connect, translated
from shared.errors import ConfigurationError, NotReachedError, PermanentError, RetryableError, SyncError
from shared.ledger import publications, snapshots
from shared.names import SnapshotId
from shared.operate import outcome
from shared.operate.outcome import SnapshotOutcome
from shared.operate.patience import Patience, Tell, pause
from shared.services import Services
from shared.words import quantity


@dataclass(frozen=True)
class Awaited:
    """A snapshot that readers are to have. If it is `new`, the functions are about to bring it. Then an earlier try at
    it, which the ledger dates before `since`, counts for nothing.
    """

    table: Table
    snapshot: SnapshotId
    new: bool
    since: datetime


@dataclass(frozen=True)
class Step:
    """What a snapshot on its way waits for: a stage of the flow, how much of that is done, and why it does not move, as
    far as the ledger knows. Another `progress` means that it moved.
    """

    stage: str
    done: str
    why: str | None
    progress: object

    @property
    def detail(self) -> str:
        return f" ({self.done})" if self.done else ""

    def __str__(self) -> str:
        return self.stage + (f": {self.why}" if self.why else "")


type Became = SnapshotOutcome | SyncError


def clock(services: Services) -> datetime:
    """The time by the database's clock, which the ledger's rows are of."""
    with connect(services.settings, "wait") as connection:
        (now,) = connection.execute(queries.load("waiting")["clock"]).fetchone() or (None,)
    assert isinstance(now, datetime)  # noqa: S101 - for mypy
    return now


def until_seen(
    services: Services, awaited: Sequence[Awaited], tell: Tell, seconds: float
) -> Iterator[tuple[Awaited, Became]]:
    """What became of each snapshot, as soon as that is known: readers of the table and of its views have it, something
    stopped it, or nothing has moved for so many seconds (NotReachedError).

    A view that also reads a table without a publication is not waited for, unless that table's snapshot is awaited too.
    """
    waits = {one.table.name: Patience(tell, seconds) for one in awaited}
    pending = list(awaited)
    while pending:
        coming = {one.table.name for one in pending}
        for one in list(pending):
            found = _look(services, one, coming)
            if isinstance(found, Step):
                name = f"{one.table.name} {one.snapshot}"
                if waits[one.table.name].lasts(found.progress, f"{name}: waiting for {found}", found.detail):
                    continue
                vain = f"not reached: {found}{found.detail}; nothing has moved for {seconds:g} s"
                found = NotReachedError(vain, where=name)
            pending.remove(one)
            yield one, found
        if pending:
            pause()


def _look(services: Services, one: Awaited, coming: set[str]) -> Became | Step:
    """How far a snapshot is. What can't be looked at now is a reason to wait like others."""
    try:
        with (
            connect(services.settings, "wait") as connection,
            translated(f"looking at {one.table.name}"),
            connection.transaction(),
        ):
            # As of one instant: what is built is in its place, or under way.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return _found(TableRun(services, connection, one.table), one, coming)
    except ConfigurationError as e:
        return e
    except RetryableError as e:
        return Step("PostgreSQL, to tell how far it is", "", str(e), None)
    except SyncError as e:
        return e


def _found(run: TableRun, one: Awaited, coming: set[str]) -> Became | Step:
    connection = run.connection
    now = outcome.of(run, one.snapshot)
    if now.what == "under way":
        failure = _failure(connection, "import_failure", one, since=one.since if one.new else None)
        if failure is not None:
            return PermanentError(failure)
        return _before_publication(connection, one) if one.new else replace(now, what="waiting")
    if now.what != "published" or not now.behind:
        return replace(now, new=one.new)
    templates = digest_of_all(run.views)
    failure = _failure(connection, "refresh_failure", one, publication=now.publication, templates=templates)
    if failure is not None:
        return PermanentError(f"published, and its views are as they were: {failure}")
    views = [run.catalog.views[name] for name in now.behind]
    to_come = [view for view in views if _can_be_built(connection, view, coming)]
    if to_come:
        return _before_views(connection, one, now, to_come)
    return replace(now, what="without views", new=one.new)


def _before_publication(connection: psycopg.Connection, one: Awaited) -> Step:
    parts = snapshots.named_parts(connection, one.table.name, one.snapshot)
    staged = sum(part.staged_rows is not None for part in parts)
    stage = "publish" if parts and staged == len(parts) else "stage"
    done = f"{staged} of {quantity(len(parts), 'part')} staged" if parts else ""
    return Step(stage, done, _why(connection, one), staged)


def _before_views(connection: psycopg.Connection, one: Awaited, now: SnapshotOutcome, views: Sequence[View]) -> Step:
    names = [view.name for view in views]
    building = connection.execute(queries.load("waiting")["building"], {"views": names}).fetchall()
    under_way = "; ".join(f"a build of {name} began at {at:%H:%M:%S} UTC" for name, at in building)
    why = _why(connection, one, now.publication, names) or under_way or None
    return Step(f"refresh of {', '.join(names)}", f"publication {now.publication}", why, (now.behind, building))


def _why(
    connection: psycopg.Connection, one: Awaited, publication: int | None = None, views: Sequence[str] = ()
) -> str | None:
    """Why the snapshot does not move, or once it is published the views, as far as the ledger knows: what the function
    told as failed last time, and tries again, or what has not come to it.
    """
    function, names = "gcs_import" if publication is None else "mv_refresh", [one.table.name, *views]
    failing = _failure(connection, "failing", one, function=function, names=names, since=one.since if one.new else None)
    if failing is not None:
        return f"{function} tries it again: {failing}"
    if publication is None:
        recorded = snapshots.find(connection, one.table.name, one.snapshot) is not None
        return None if recorded else "gcs_import has not recorded its manifest yet"
    values = {"table": one.table.name, "publication": publication}
    (owed,) = connection.execute(queries.load("waiting")["owed"], values).fetchone() or (False,)
    return "its message is not sent yet" if owed else None


def _can_be_built(connection: psycopg.Connection, view: View, coming: set[str]) -> bool:
    return set(view.reads) <= coming | publications.numbers(connection, view.reads).keys()


def _failure(connection: psycopg.Connection, query: str, one: Awaited, **values: object) -> str | None:
    """What was recorded last as failed."""
    given: Mapping[str, object] = {"table": one.table.name, "snapshot": str(one.snapshot), **values}
    row = connection.execute(queries.load("waiting")[query], given).fetchone()
    return None if row is None else str(row[0])
