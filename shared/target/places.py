"""The schemas of tables and views: whether they can be used, and whether what the catalog has there is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from shared.catalog import Table, View
from shared.db import queries
from shared.errors import ConfigurationError


def refuse_unusable(connection: psycopg.Connection, schema: str, where: str, *, creates: bool = False) -> None:
    """Raise ConfigurationError when there is no such schema, or the connection's role may not use it, or create in it
    if it `creates`. A search_path passes over such a schema in silence.
    """
    row = connection.execute(_query("schema_rights"), {"schema": schema}).fetchone()
    named = sql.Identifier(schema).as_string(connection)
    if row is None:
        raise ConfigurationError(
            f"there is no schema {schema} in PostgreSQL",
            where=where,
            remedy=f"Make it by sql/deploy/schema.sql with -v schema={schema}, or correct the catalog",
        )
    may_use, may_create = row
    if not may_use or (creates and not may_create):
        raise ConfigurationError(
            f"permission denied for schema {schema}",
            where=where,
            remedy=f"GRANT USAGE, CREATE ON SCHEMA {named} TO the loader's role",
        )


def refuse_elsewhere(connection: psycopg.Connection, of: Table | View) -> None:
    """Raise ConfigurationError when what was published under the name is in another place than the catalog says."""
    statement = move(connection, of)
    if statement is not None:
        raise ConfigurationError(
            "is in another place in PostgreSQL",
            where=f"{of.schema}.{of.name}",
            remedy=f"Move it, and with it its grants and what depends on it: {statement}. Or correct the catalog",
        )


def move(connection: psycopg.Connection, of: Table | View) -> str | None:
    """The statements that bring a table, or a view that is not in its place, to where the catalog has it; None when
    there is nothing to move. A table is known by its parts, a view by what it reads.
    """
    values: Mapping[str, object] = {"name": of.name, "schema": of.schema}
    kind = "TABLE"
    if isinstance(of, View):
        kind, values = "MATERIALIZED VIEW", {**values, "reads": list(of.reads)}
    found = connection.execute(_query(f"{type(of).__name__.lower()}_elsewhere"), values).fetchone()
    if found is None:
        return None
    schema, name = found
    steps = []
    if schema != of.schema:
        steps.append(f"ALTER {kind} {_named(connection, schema, name)} SET SCHEMA {_named(connection, of.schema)}")
    if name != of.name:
        steps.append(f"ALTER {kind} {_named(connection, of.schema, name)} RENAME TO {_named(connection, of.name)}")
    return "; ".join(steps)


def _named(connection: psycopg.Connection, *parts: str) -> str:
    return sql.Identifier(*parts).as_string(connection)


def _query(name: str) -> LiteralString:
    return queries.load("places")[name]
