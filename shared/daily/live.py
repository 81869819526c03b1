"""Live: the view under its own name, whose place a build takes, with its owner, its grants and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from shared import log
from shared.catalog import View
from shared.daily.build import Build, drop, dropped_stand_in
from shared.daily.context import DailyRun
from shared.db.locks import busy
from shared.errors import BusyError, TargetError
from shared.ledger import view_builds
from shared.ledger.names import SCHEMA
from shared.target import belongings, columns, places, tables, views
from shared.target.belongings import Belonging, Heir
from shared.target.views import Grant, ViewState

#: What is to be done after columns changed. The server refuses a statement that was prepared before on a column that is
#: another now, or with `*`, as often as it is executed.
RECYCLE = "recycle the API's connections: what they prepared on these columns, or with *, fails until then"


@dataclass(frozen=True)
class Replacement:
    """A build that is to take a live view's place. `old` is the name that the live view gets, None where there is no
    live view, and `stood` how it stands. `stand_ins` are the relations that it reads instead of tables, `belongings`
    what others hung on it, and `lost` the grants of columns that the build lacks.
    """

    build: Build
    old: str | None = None
    stood: ViewState | None = None
    stand_ins: tuple[str, ...] = ()
    belongings: tuple[Belonging, ...] = ()
    lost: tuple[Grant, ...] = ()
    columns_changed: bool = False

    @property
    def view(self) -> View:
        return self.build.view


def refuse_unfit(run: DailyRun, view: View, patience: float) -> None:
    """Refuse the build of a view that could not take the live one's place."""
    live = run.relation(view)
    places.refuse_unusable(run.connection, view.schema, view.name, creates=True)
    for table in (run.catalog.tables[name] for name in view.reads):
        places.refuse_unusable(run.connection, table.schema, view.name)
    places.refuse_elsewhere(run.connection, view)
    if views.name_is_taken(run.connection, live):
        raise TargetError("is no materialized view", where=view.name, remedy="Rename it, or the catalog's entry")
    refuse_dependants(run, view)
    if views.has_old_readers(run.connection, live, patience):
        # The swap would find no gap, and the build would be for nothing.
        raise busy(run.connection, f"a transaction older than {patience} s reads it", view.name, relations=[live])


def drop_leftovers(run: DailyRun, view: View, patience: str = "10s") -> None:
    """Drop the builds of the view that never took its place, and the view whose place one took, as far as no reader
    holds one for longer. The caller holds the view's lock, so no worker is at them.
    """
    leftovers = view_builds.leftovers(run.connection, view.name)
    if leftovers:
        log.warning("dropping what a build left that was cut off", builds=leftovers)
        drop(run, leftovers, patience)


def prepare(run: DailyRun, build: Build) -> Replacement:
    """Do all that can be done before readers are locked out: once they are, they wait, and a round trip is long."""
    schema, name = build.view.schema, build.view.name
    live, new = run.relation(build.view), run.relation(build.view, build.name)
    view_builds.forget(run.connection, build.name)
    stood = views.standing(run.connection, live)
    if stood is None:
        return Replacement(build)
    # Should nobody come to drop it, the next build does.
    old = f"{build.name}_old"
    view_builds.start(run.connection, old, name)
    theirs = pass_on(run, build)
    lost = views.pass_on(run.connection, live, new)
    for stand_in in _ledgers(run, new):
        views.let_owner_read(run.connection, new, tables.relation(SCHEMA, stand_in))
    stand_ins = tuple(
        stand_in
        for stand_in in _ledgers(run, live)
        if stand_in.endswith(f"_{name}") and len(stand_in) == len(build.name)
    )
    before, after = (columns.of_relation(run.connection, schema, view) for view in (name, build.name))
    return Replacement(build, old, stood, stand_ins, tuple(theirs), tuple(lost), columns_changed=before != after)


def pass_on(run: DailyRun, build: Build) -> list[Belonging]:
    """Give the build the live view's belongings, as far as they changed since it was built; those belongings."""
    heir = Heir(run.relation(build.view, build.name), build.stamp)
    wanted = belongings.of(run.connection, run.relation(build.view), heir)
    belongings.settle(run.connection, heir, wanted, build.stated, build.view.name)
    return wanted


def _ledgers(run: DailyRun, view: sql.Identifier) -> list[str]:
    """The relations of the ledger's schema that the view reads."""
    return sorted(name for schema, name in views.sources(run.connection, view) if schema == SCHEMA)


def replaced(run: DailyRun, replacements: Sequence[Replacement]) -> list[sql.Composable]:
    """The statements that put the builds into the live views' places. Their rows are for `check`. The old views stay,
    for `dropped`.
    """
    away = [(each, each.old) for each in replacements if each.old is not None]
    return [
        *(views.renamed(run.relation(each.view), old) for each, old in away),
        *(views.renamed(run.relation(each.view, each.build.name), each.view.name) for each in replacements),
        # Now that it is locked, nothing of that can change any more.
        *(views.asked_for_standing(run.connection, run.relation(each.view, old)) for each, old in away),
        *(sql.SQL(theirs.rename) for each in replacements for theirs in each.belongings if theirs.rename),
    ]


def check(replacements: Iterable[Replacement], found: Iterable[Sequence[TupleRow]]) -> None:
    """Raise BusyError when owner, grants or belongings of a live view were changed since its replacement was prepared.
    Raise TargetError when an object depends on the live view, and would be lost.
    """
    for each, rows in zip((each for each in replacements if each.old is not None), found, strict=True):
        stands = ViewState(*rows[0])
        _refuse(each.view, stands.dependants)
        if each.stood is None or stands.state != each.stood.state:
            raise BusyError("its grants, or what hangs on it, were changed just now", where=each.view.name)


def dropped(run: DailyRun, replacements: Iterable[Replacement]) -> list[sql.Composed]:
    """The statements that drop the old views, and the stand-ins that these read instead of tables."""
    old = [views.dropped(run.relation(each.view, each.old)) for each in replacements if each.old is not None]
    stand_ins = [dropped_stand_in(name) for each in replacements for name in each.stand_ins]
    return [*old, *stand_ins]


def forget_old(connection: psycopg.Connection, replacements: Iterable[Replacement]) -> None:
    """Note that the old views are dropped."""
    for each in replacements:
        if each.old is not None:
            view_builds.forget(connection, each.old)


def tell(replacements: Iterable[Replacement]) -> None:
    """Log what an operator has to know of views that were replaced, once that is committed."""
    for each in replacements:
        for grant in each.lost:
            log.warning(
                "a grant went with its column",
                view=each.view.name,
                column=grant.column,
                grantee=grant.grantee or "PUBLIC",
                privilege=grant.privilege,
            )
        gone = [theirs.what for theirs in each.belongings if theirs.statement is None]
        if gone:
            log.warning("what hung on a column or index of a view went with it", view=each.view.name, what=gone)
        if each.columns_changed:
            log.warning(f"a view's columns changed: {RECYCLE}", view=each.view.name)


def refuse_dependants(run: DailyRun, view: View) -> None:
    """Raise TargetError when something depends on the view, and would be lost with it."""
    stands = views.standing(run.connection, run.relation(view))
    _refuse(view, stands.dependants if stands else ())


def _refuse(view: View, dependants: Sequence[str]) -> None:
    if dependants:
        raise TargetError(
            f"other objects depend on it: {', '.join(dependants)}",
            where=view.name,
            remedy="Drop them, or make them read the tables instead",
        )
