"""Catalogs of a test's own: written into a folder, deployed, and their tables published day by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from shared import catalog
from shared.daily.refresh import refresh
from shared.db.postgres import connect
from shared.ledger import publications
from shared.names import DatasetRef
from shared.services import Services
from tests.kit.snapshots import publish_rows

ITEMS = """
[tables.items]
source = "seed_local.items"
[tables.items.columns]
n = "integer"
item = "text"
"""
SHOWN = """
[views.shown]
template = "shown.sql.jinja"
reads = ["users", "items"]
"""
_USERS = """
[tables.users]
source = "seed_local.users"
{more}
[tables.users.columns]
n = "integer"
name = "{type}"
"""


def users(type_: str = "text", more: str = "") -> str:
    """The block of a table, with `more` entries."""
    return _USERS.format(type=type_, more=more)


@dataclass(frozen=True)
class Own:
    """A deployment whose catalog is this text, in a folder of its own."""

    services: Services
    database: psycopg.Connection
    folder: Path

    def of(self, text: str, views: Mapping[str, str] | None = None) -> Own:
        """The same database, once this catalog is deployed. Views are templates by name, as far as they changed."""
        for name, template in (views or {}).items():
            (self.folder / f"{name}.sql.jinja").write_text(template)
        file = self.folder / "catalog.toml"
        file.write_text(text)
        read = catalog.load(catalog.Place(file, self.folder))
        datasets = {name: DatasetRef(None, "seed_local") for name in read.dataset_variables}
        settings = replace(self.services.settings, datasets=datasets)
        return replace(self, services=replace(self.services, catalog=read, settings=settings))

    def publish(self, number: int, table: str, **values: Sequence[object]) -> None:
        publish_rows(self.services, number, table, values)

    def refresh(self, table: str) -> str:
        """Refresh the views as the last publish's message would."""
        with connect(self.services.settings, "test") as connection:
            published = publications.published(connection, table)
        assert published is not None
        return refresh(self.services, table, published.number)

    def rows(self, relation: str) -> list[tuple[object, ...]]:
        return self.database.execute(f"SELECT * FROM {relation} ORDER BY 1, 2".encode()).fetchall()
