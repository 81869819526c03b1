"""The catalog as the ledger knows it, for those who read the ledger and have no catalog: `recosync.freshness` has a row
for each table and view of it.
"""

from __future__ import annotations

from typing import cast

import psycopg

from shared import log
from shared.catalog import Catalog
from shared.db.postgres import translated
from shared.errors import SyncError
from shared.ledger import statements

type _Entry = tuple[str, str, str, list[str]]


def keep(connection: psycopg.Connection, catalog: Catalog) -> None:
    """Have the ledger know the tables and views of this catalog, and no others. During a deployment, functions work by
    different catalogs: the one that works last is known.
    """
    wanted = _entries(catalog)
    with translated("keeping the catalog"):
        if _kept(connection) == wanted:
            return
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '5s'")
            statements.run(connection, "lock_catalog_entries", {})
            statements.run(connection, "forget_catalog_entries", {"names": [name for name, *_ in wanted]})
            for name, kind, schema, reads in wanted:
                values = {"name": name, "kind": kind, "schema": schema, "reads": reads}
                statements.run(connection, "keep_catalog_entry", values)


def note(connection: psycopg.Connection, catalog: Catalog) -> None:
    """The same on the way: what only tells of the work stops none of it."""
    try:
        keep(connection, catalog)
    except SyncError as e:
        log.warning("the ledger does not know this catalog: recosync.freshness tells of another", e)


def _entries(catalog: Catalog) -> list[_Entry]:
    return sorted(
        [
            *((table.name, "table", table.schema, [table.name]) for table in catalog.tables.values()),
            *((view.name, "view", view.schema, list(view.reads)) for view in catalog.views.values()),
        ]
    )


def _kept(connection: psycopg.Connection) -> list[_Entry]:
    return sorted(cast(list[_Entry], connection.execute(statements.query("catalog_entries")).fetchall()))
