"""What the steps of the daily flow work on: the services, one connection, and for most of them one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from shared.ledger import entries
from shared.target import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from shared.catalog import Catalog, Table, View
    from shared.services import Services
    from shared.settings import Settings


@dataclass(frozen=True)
class DailyRun:
    """A function's call, or an operator's, over a connection of its own."""

    services: Services
    connection: psycopg.Connection

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @property
    def catalog(self) -> Catalog:
        return self.services.catalog

    def relation(self, of: Table | View, name: str | None = None) -> sql.Identifier:
        """A table or view that readers know, or by its `name` what is about to take its place, or had it."""
        return tables.relation(of.schema, name or of.name)

    def note_catalog(self) -> None:
        """Have the ledger know the catalog of whoever is deployed, for those who ask how fresh a table is."""
        if self.services.migrates:
            entries.note(self.connection, self.catalog)

    def of(self, table: Table) -> TableRun:
        return TableRun(self.services, self.connection, table)


@dataclass(frozen=True)
class TableRun(DailyRun):
    """The same for one table of the catalog."""

    table: Table

    @property
    def schema(self) -> str:
        """The schema where readers find the table."""
        return self.table.schema

    @property
    def parent(self) -> sql.Identifier:
        """The table that readers know; its rows are in its children."""
        return self.relation(self.table)

    @property
    def where(self) -> str:
        """The table's name in messages."""
        return f"{self.schema}.{self.table.name}"

    @property
    def views(self) -> Sequence[View]:
        """The views that read the table."""
        return self.services.catalog.views_of(self.table.name)
