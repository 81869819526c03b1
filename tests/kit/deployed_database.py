"""A database made by the deployment's own SQL, with roles of its own, by an administrator who is no superuser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from local.cloud import Deployment
from local.postgres import deployment
from shared.services import Services
from shared.settings import DatabaseUrl


@dataclass
class Database:
    """A database of which only PostGIS was there, and its roles: they are the cluster's, and named after it."""

    here: Deployment
    name: str
    services: Services

    def dsn(self, role: str) -> str:
        return self.here.cloud.postgres.dsn(self.name, role)

    def execute(self, role: str, statements: Sequence[str]) -> None:
        with psycopg.connect(self.dsn(role), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def loader(self) -> str:
        return f"{self.name}_loader"


@contextmanager
def made(here: Deployment, services: Services) -> Iterator[Database]:
    """A database before the deployment's SQL."""
    name = f"{here.name}_made"
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER administrator")
    with here.cloud.postgres.superuser(name) as admin:
        admin.execute("CREATE EXTENSION postgis")
        # As in a cluster that was upgraded from PostgreSQL 14.
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        admin.execute("GRANT CREATE ON SCHEMA public TO administrator")
    database = Database(here, name, services)
    settings = replace(services.settings, database=DatabaseUrl(database.dsn(database.loader)))
    database.services = replace(services, settings=settings)
    try:
        yield database
    finally:
        here.cloud.postgres.drop(name)
        with here.cloud.postgres.superuser("postgres") as admin:
            for role in (database.loader, f"{name}_status"):
                admin.execute(f"DROP ROLE IF EXISTS {role}")


def statements(made: Database) -> list[str]:
    """The deployment's SQL."""
    found = deployment(made.name, made.loader, f"{made.name}_status")
    assert Counter(statement.split()[0] for statement in found) == {"CREATE": 3, "GRANT": 5, "REVOKE": 1, "ALTER": 1}
    return found
