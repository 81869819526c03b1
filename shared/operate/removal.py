"""Removal: what left the catalog and stands in PostgreSQL all the same, and how an operator drops it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import Catalog, Place
from shared.daily.build import drop_stand_in
from shared.db import queries
from shared.db.locks import Lock, lock_or_busy
from shared.db.postgres import connect, translated
from shared.errors import BadRequestError, TargetError
from shared.ledger import migrations, view_builds
from shared.ledger.names import SCHEMA
from shared.services import Services
from shared.target import tables, views

#: The wait for readers of what is dropped: those that come meanwhile wait as long, and then find nothing.
LOCK_WAIT = "1s"

#: How long nothing has brought what is dropped: the functions call once a day.
QUIET = timedelta(days=1)

_USED = {"table": "exported or published", "view": "built"}


@dataclass(frozen=True)
class Orphan:
    """A table or view that the ledger knows and the catalog no longer has. `relations` are those that readers know it
    by, each with its schema before it: none if somebody dropped it. `parts` are those of a table that stand in
    PostgreSQL. `bytes` is the disk that all this takes. `in_use` says that it was exported, published or built within
    QUIET, so that this catalog may be another than the functions'.
    """

    kind: Literal["table", "view"]
    name: str
    relations: tuple[tuple[str, str], ...]
    parts: tuple[int, ...]
    bytes: int
    in_use: bool

    @property
    def where(self) -> str:
        """The relations, as messages name them."""
        return ", ".join(map(".".join, self.relations)) or self.name

    def __str__(self) -> str:
        held = f"{self.bytes / (1 << 20):,.1f} MiB" if self.relations or self.parts else "gone from PostgreSQL"
        if self.in_use:
            used = f"{_USED[self.kind]} within a day: is this the catalog that is deployed?"
            return f"{self.kind} {self.where} left the catalog ({held}), and was still {used}"
        return f"{self.kind} {self.where} left the catalog ({held}). To drop it: recosync drop {self.name}"


def orphans(connection: psycopg.Connection, catalog: Catalog) -> list[Orphan]:
    """What the catalog no longer has, views first; nothing where there is no ledger."""
    if not migrations.exists(connection):
        return []
    known = {"views": list(catalog.views), "tables": list(catalog.tables), "quiet": QUIET}
    rows = [
        *(("view", row) for row in connection.execute(_query("orphaned_views"), known)),
        *(("table", row) for row in connection.execute(_query("orphaned_tables"), known)),
    ]
    return [
        Orphan(
            kind="view" if kind == "view" else "table",
            name=name,
            relations=tuple((schema, relation) for schema, relation in relations or ()),
            parts=tuple(parts),
            bytes=size,
            in_use=in_use,
        )
        for kind, (name, relations, parts, size, in_use) in rows
    ]


def left(services: Services) -> list[Orphan]:
    """The same, over a connection of its own."""
    with connect(services.settings, "orphans") as connection, translated("looking for what left the catalog"):
        return orphans(connection, services.catalog)


def drop(services: Services, name: str, by: str, *, force: bool = False) -> list[Orphan]:
    """Drop a table or view that left the catalog, with its parts, and have the ledger forget it; what was dropped.

    It is one transaction, while nobody publishes the table or builds the view. Raises BadRequestError when the catalog
    has the name, or nobody ever published it, or, unless it is forced, when functions may still have it in theirs.
    Raises TargetError, and drops nothing, when other objects depend on it, or a table holds rows that no publish
    brought. Raises BusyError while others are at it.
    """
    catalog = services.catalog
    if name in {**catalog.tables, **catalog.views, **catalog.hourly}:
        raise BadRequestError(
            "the catalog has it", where=name, remedy="Take it out of the catalog, and deploy that, before it is dropped"
        )
    with (
        log.bound(dropped=name),
        connect(services.settings, "operator") as connection,
        translated(f"dropping {name}"),
    ):
        migrations.prepare(connection, migrates=services.migrates)
        with connection.transaction():
            lock_or_busy(connection, Lock.view(name))
            lock_or_busy(connection, Lock.publication(name))
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
            found = [orphan for orphan in orphans(connection, catalog) if orphan.name == name]
            if not found:
                raise BadRequestError("nothing of that name was published here and left the catalog", where=name)
            if used := [orphan for orphan in found if orphan.in_use and not force]:
                raise BadRequestError(
                    f"was still {_USED[used[0].kind]} within a day: functions may have it in their catalog",
                    where=used[0].where,
                    remedy=f"See that {Place.here().file} is what is deployed, and wait a day, or add --force",
                )
            for orphan in found:
                _drop(connection, orphan)
        for orphan in found:
            log.info("dropped what left the catalog", kind=orphan.kind, relations=orphan.where, by=by)
    return found


def _drop(connection: psycopg.Connection, orphan: Orphan) -> None:
    if len(orphan.relations) > 1:
        raise TargetError(
            "has several relations, and one is not ours", where=orphan.where, remedy="Rename that which is another's"
        )
    relations = [sql.Identifier(*relation) for relation in orphan.relations]
    try:
        if orphan.kind == "table":
            _drop_table(connection, orphan, relations)
        else:
            _drop_view(connection, orphan, relations)
    except pg.DependentObjectsStillExist as e:
        # The server's words name objects, and no value.
        users = "; ".join((e.diag.message_detail or "").splitlines())
        raise TargetError(
            f"other objects depend on it: {users}",
            where=orphan.where,
            remedy=f"Drop them, and then: recosync drop {orphan.name}",
        ) from e


def _drop_table(connection: psycopg.Connection, orphan: Orphan, relations: Sequence[sql.Identifier]) -> None:
    for relation in relations:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(relation))
        row = connection.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(relation)).fetchone()
        if row == (True,):
            raise TargetError(
                "holds rows of its own, which no publish brought",
                where=orphan.where,
                remedy="Find out whose they are: DELETE FROM ONLY it, or DROP it yourself",
            )
    every = [*relations, *map(tables.child, orphan.parts)]
    if every:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(every)))
    connection.execute(_query("forget_table"), {"name": orphan.name})


def _drop_view(connection: psycopg.Connection, orphan: Orphan, relations: Sequence[sql.Identifier]) -> None:
    """Drop the view, what it was built from, and what killed builds of it left."""
    for relation in relations:
        read = [of for schema, of in views.sources(connection, relation) if schema == SCHEMA]
        views.drop(connection, relation)
        for stand_in in (of for of in read if re.fullmatch(rf"\d{{8}}T\d{{12}}_{orphan.name}", of)):
            drop_stand_in(connection, stand_in)
    for build in view_builds.leftovers(connection, orphan.name):
        for relation in views.homes(connection, build):
            views.drop(connection, relation)
        drop_stand_in(connection, build)
        view_builds.forget(connection, build)
    connection.execute(_query("forget_view"), {"name": orphan.name})


def _query(name: str) -> LiteralString:
    return queries.load("removal")[name]
