"""Evolve: before the columns of a table change, make sure that they may, and build anew the views that use them.

The views are built beside the live ones, over the parts themselves, so that nothing slow is left for the swap. The swap
puts the views in place, changes the columns of the table, which has neither rows nor children at that moment, and
attaches the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from shared import log
from shared.catalog import View
from shared.daily import live
from shared.daily.build import Build, StandIn, build_all
from shared.daily.context import TableRun
from shared.db.locks import Lock, lock_or_busy, session_locks
from shared.errors import BusyError, TargetError
from shared.ledger import migrations, publications
from shared.target import columns, demands, tables, views
from shared.target.columns import Changes, Columns, Dependant
from shared.target.demands import Demands

#: Seconds that a reader of a view may have read it for; a swap would not outwait an older one.
READERS_PATIENCE = 60


@dataclass(frozen=True)
class Evolution:
    """What a publish has to do to the columns of its table, and the views that it puts in place with them. `keep` says
    whether columns stay that the parts do not have.
    """

    keep: bool
    changes: Changes
    parts: Mapping[int, Columns]
    demands: Demands
    builds: tuple[Build, ...] = ()

    @property
    def breaking(self) -> tuple[str, ...]:
        return self.changes.breaking

    def is_like(self, other: Evolution) -> bool:
        """Whether the table needs and demands the same, whatever is built for it."""
        return (self.changes, self.demands) == (other.changes, other.demands)

    def lacking(self) -> Iterator[tuple[sql.Identifier, Columns]]:
        """The parts that lack a column of the table to be, with what they have."""
        for id_, present in self.parts.items():
            if self.changes.columns.keys() - present.keys():
                yield tables.child(id_), present


def compare(run: TableRun, part_ids: Sequence[int], *, keep: bool) -> Evolution:
    """What the table needs for these parts. Raises TargetError when the parts contradict each other.

    A column that neither the parts nor the catalog have is dropped if an earlier snapshot had it. If no snapshot ever
    had it, it belongs to others, or to a newer catalog that is about to be deployed, and it stays. With `keep`, every
    column that the parts lack stays as it is.
    """
    with run.connection.pipeline():
        of_table = columns.asked_of_relation(run.connection, run.schema, run.table.name)
        of_parts = columns.asked_of_parts(run.connection, part_ids)
        demanded = demands.asked(run.connection, run.parent)
    present, parts = of_table(), of_parts()
    declared = columns.of_catalog(run.table)
    kept = present.keys() if keep else columns.of_others(run.connection, run.table, present)
    with _at(run.table.name):
        changes = columns.changes(present, declared, list(parts.values()), kept)
    # The constraints of a retyped column are made anew with it, by the server.
    checked = changes.columns.keys() - changes.retyped.keys()
    return Evolution(keep, changes, parts, demanded(changes.columns.keys(), checked))


def is_new(run: TableRun) -> bool:
    """Whether nothing was ever published to the table. Then its columns are others', and no publish drops or retypes
    them.
    """
    return not migrations.exists(run.connection) or publications.published(run.connection, run.table.name) is None


@contextmanager
def prepared(run: TableRun, part_ids: Sequence[int], *, keep: bool) -> Iterator[Evolution]:
    """What the table needs, with the views built that the swap has to put in place. The builds are dropped if no swap
    takes them.

    Raises TargetError, before anything changes that readers see, when the columns may not change, a view can't be built
    without them, or the parts do not meet the table's demands. Raises BusyError while others are at the views.
    """
    found = compare(run, part_ids, keep=keep)
    if found.demands and _impose(run, found):
        found = compare(run, part_ids, keep=keep)
    present = [id_ for id_, its in found.parts.items() if its]
    tables.add_indexes(run.connection, run.schema, run.table.name, present)
    for id_ in present:
        tables.declare(run.connection, run.schema, run.table, id_, kept=True)
    if not found.breaking:
        yield found
        return
    _refuse_new(run, found.changes)
    with session_locks(run.connection):
        # What a killed build left depends on the table too.
        for view in run.views:
            lock_or_busy(run.connection, Lock.view(view.name), session=True)
            live.drop_leftovers(run, view)
        _refuse_foreign(run, blocking(run, found.changes))
        # Every view of the table changes with it, not only those that have to: readers see one state of both.
        views = [view for view in run.views if _is_live(run, view)]
        for view in views:
            live.refuse_unfit(run, view, READERS_PATIENCE)
        builds = _build(run, found, views) if views else []
        try:
            yield replace(found, builds=tuple(builds))
        finally:
            with suppress(psycopg.Error):
                for view in views:
                    live.drop_leftovers(run, view)


def _impose(run: TableRun, found: Evolution) -> bool:
    """Make the parts as the table demands, which it may have come to demand after they were staged; whether any was
    changed. It takes long, as each is read for it.
    """
    changed = False
    wanted = found.changes.columns
    for id_, present in found.parts.items():
        part = tables.child(id_)
        met = demands.of(run.connection, part, wanted.keys(), wanted.keys())
        missing = found.demands.beyond(met)
        if not missing or not present:  # somebody dropped it, which is told later
            continue
        with _at(run.where), run.connection.transaction():
            _refuse_lacking(run, missing, present)
            if missing.checks:  # they may use any column
                columns.add(run.connection, part, present, wanted)
            demands.impose(run.connection, part, missing)
            unlike = missing.beyond(demands.of(run.connection, part, wanted.keys(), wanted.keys()))
            for name, check in unlike.checks.items():
                raise TargetError(
                    f"its constraint {name}, made anew from PostgreSQL's own text of it, is another constraint",
                    remedy=f"ALTER TABLE … DROP CONSTRAINT {name}, ADD CONSTRAINT {name}_2 {check}",
                )
        changed = True
    return changed


def _refuse_lacking(run: TableRun, missing: Demands, present: Columns) -> None:
    lacking = sorted(missing.required - present.keys())
    if lacking:
        raise TargetError(
            f"{', '.join(lacking)} is NOT NULL, and the snapshot was staged without it",
            remedy=f"ALTER it to DROP NOT NULL, or: recosync export {run.table.name} --force",
        )


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Say where a TargetError was found that does not know it."""
    try:
        yield
    except TargetError as e:
        raise TargetError(e.what, where=where, remedy=e.remedy) from e


def blocking(run: TableRun, changes: Changes) -> list[Dependant]:
    """The objects that use the columns to be dropped or retyped, and so keep PostgreSQL from changing them."""
    found = columns.dependants(run.connection, run.schema, run.table.name, changes.breaking)
    return [dependant for dependant in found if dependant.column in changes.dropped or not dependant.follows]


def foreign(run: TableRun, found: Sequence[Dependant]) -> list[str]:
    """The names of those objects that are not views of the catalog."""
    own = {(view.schema, view.name) for view in run.views}
    return sorted({f"{one.name} ({one.column})" for one in found if one.view not in own})


def _refuse_foreign(run: TableRun, found: Sequence[Dependant]) -> None:
    names = foreign(run, found)
    if names:
        raise TargetError(
            f"its columns can't change while other objects use them: {', '.join(names)}",
            where=run.where,
            remedy=f"Drop them and then: recosync import {run.table.name}. Or take the catalog's change back",
        )


def _refuse_new(run: TableRun, changes: Changes) -> None:
    if is_new(run):
        present, wanted = columns.of_relation(run.connection, run.schema, run.table.name), changes.columns
        differing = (f"{n} is {present.get(n)}, the catalog says {wanted.get(n, 'nothing')}" for n in changes.breaking)
        raise TargetError(
            "; ".join(differing),
            where=run.where,
            remedy="Alter the table, or the catalog",
        )


def _is_live(run: TableRun, view: View) -> bool:
    return views.exists(run.connection, run.relation(view))


def _build(run: TableRun, found: Evolution, views: Sequence[View]) -> list[Build]:
    """Build the views over the parts, as if these were the table's children already."""
    others = sorted({name for view in views for name in view.reads if name != run.table.name})
    current = publications.numbers(run.connection, others)
    missing = sorted(set(others) - current.keys())
    if missing:
        raise BusyError(f"its views read {', '.join(missing)}, never published yet", where=run.table.name)
    wanted = found.changes.columns
    selects = [columns.select(tables.child(id_), present, wanted) for id_, present in found.parts.items()]
    query = sql.SQL(" UNION ALL ").join(selects) if selects else columns.select_nothing(wanted)
    log.info("columns change, views are built for them", columns=found.breaking, views=[view.name for view in views])
    return build_all(run, views, current, StandIn(run.table.name, query))
