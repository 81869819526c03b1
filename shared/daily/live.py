"""Live: the view under its name, that a build takes the place of, with its owner and grants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from shared import log
from shared.catalog import View
from shared.daily.build import Build, drop, drop_stand_in
from shared.db import columns, ledger, target
from shared.db import view as live_views
from shared.db.view import Grant
from shared.errors import BusyError, TargetError
from shared.services import Services

#: What is to be done after columns changed. The server refuses a statement that was prepared before on a column that is
#: another now, or with `*`, as often as it is executed.
RECYCLE = "recycle the API's connections: what they prepared on these columns, or with *, fails until then"


@dataclass(frozen=True)
class Replaced:
    """What became of a live view: grants of columns that are gone, and whether its columns are others now."""

    view: View
    lost: tuple[Grant, ...] = ()
    columns_changed: bool = False


def clear(services: Services, connection: psycopg.Connection, view: View, patience: float) -> None:
    """Refuse what a replacement could not do, and drop what a killed build left behind."""
    live = _live(services, view)
    if live_views.name_is_taken(connection, live):
        raise TargetError("is no materialized view", where=view.name, remedy="Rename it, or the catalog's entry")
    refuse_dependants(services, connection, view)
    if live_views.has_old_readers(connection, live, patience):
        # The swap would find no gap, and the build would be for nothing.
        raise BusyError(f"a transaction older than {patience} s reads it", where=view.name)
    drop_leftovers(services, connection, view)


def drop_leftovers(services: Services, connection: psycopg.Connection, view: View) -> None:
    """Drop the builds of the view that never took its place. The caller holds the view's lock: nobody is at them."""
    leftovers = ledger.leftover_builds(connection, view.name)
    if leftovers:
        log.warning("dropping what a killed build left", builds=leftovers)
        drop(services, connection, leftovers)


def replace(services: Services, connection: psycopg.Connection, build: Build) -> Replaced:
    """Put the build into the live view's place. The live view is locked first, so that no grant to it is missed."""
    schema, name = services.catalog.schema, build.view.name
    live, new = target.relation(schema, name), target.relation(schema, build.name)
    replaced = Replaced(build.view)
    if live_views.exists(connection, live):
        old = target.relation(schema, f"{build.name}_old")
        live_views.rename(connection, live, f"{build.name}_old")
        lost = live_views.pass_on(connection, old, new)
        for stand_in in live_views.sources(connection, new, ledger.SCHEMA):
            live_views.let_owner_read(connection, new, target.relation(ledger.SCHEMA, stand_in))
        before, after = (columns.of_relation(connection, schema, view) for view in (f"{build.name}_old", build.name))
        replaced = Replaced(build.view, tuple(lost), columns_changed=before != after)
        stand_ins = live_views.sources(connection, old, ledger.SCHEMA)
        live_views.drop(connection, old)
        for stand_in in stand_ins:
            if stand_in.endswith(f"_{name}") and len(stand_in) == len(build.name):
                drop_stand_in(connection, stand_in)
    live_views.rename(connection, new, name)
    ledger.forget_building(connection, build.name)
    return replaced


def tell(replaced: Iterable[Replaced]) -> None:
    """Log what an operator has to know of views that were replaced, once that is committed."""
    for each in replaced:
        for grant in each.lost:
            log.warning(
                "a grant went with its column",
                view=each.view.name,
                column=grant.column,
                grantee=grant.grantee or "PUBLIC",
                privilege=grant.privilege,
            )
        if each.columns_changed:
            log.warning(f"a view's columns changed: {RECYCLE}", view=each.view.name)


def refuse_dependants(services: Services, connection: psycopg.Connection, view: View) -> None:
    """Raise TargetError when something depends on the view, and would be lost with it."""
    names = live_views.dependants(connection, _live(services, view))
    if names:
        raise TargetError(
            f"other objects depend on it: {', '.join(names)}",
            where=view.name,
            remedy="Drop them, or make them read the tables instead",
        )


def _live(services: Services, view: View) -> sql.Identifier:
    return target.relation(services.catalog.schema, view.name)
