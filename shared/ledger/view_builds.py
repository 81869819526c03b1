"""Builds of views: what each live view holds, and what stands beside the live ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from shared.ledger import statements


@dataclass(frozen=True)
class ViewBuild:
    """What a view holds of one table: the publication, and the digest of the `template` that the view was built from.
    The digest is None of a build from before there were digests.
    """

    publication: int
    template: str | None


def of_view(connection: psycopg.Connection, view: str) -> dict[str, ViewBuild]:
    """For each table, what the live view holds of it."""
    rows = connection.execute(statements.query("view_builds"), {"view": view}).fetchall()
    return {table: ViewBuild(publication, template) for table, publication, template in rows}


def record(connection: psycopg.Connection, view: str, builds: Mapping[str, ViewBuild], seconds: float) -> None:
    for table, build in builds.items():
        values = {"view": view, "table": table, "publication": build.publication, "template": build.template}
        statements.run(connection, "record_view_build", values | {"seconds": seconds})


def start(connection: psycopg.Connection, build: str, view: str) -> None:
    statements.run(connection, "start_building", {"build": build, "view": view})


def leftovers(connection: psycopg.Connection, view: str) -> list[str]:
    return [name for (name,) in connection.execute(statements.query("leftover_builds"), {"view": view}).fetchall()]


def forget(connection: psycopg.Connection, build: str) -> None:
    statements.run(connection, "forget_building", {"build": build})
