"""PostgreSQL, as the role of the database URL sees it: the server, the rights, and what stands there already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from shared.catalog import Catalog, Column, Table, View
from shared.db import queries, url
from shared.db.postgres import connect, translated
from shared.db.session import is_here, refuse_absent
from shared.errors import SyncError
from shared.ledger import migrations
from shared.ledger.names import SCHEMA
from shared.operate.doctor.check import Check, Verdict, tried, wrong
from shared.settings import CommonSettings
from shared.target import places

#: The oldest version that the suite supports, as `server_version_num` has it.
OLDEST = 150_000

#: How far clocks may be apart.
CLOCKS = timedelta(seconds=30)

#: The extensions whose types the catalog may have, and what installs each.
_EXTENSIONS = ("postgis", "vector")

#: The versions of pgvector that types came with (https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md).
_SINCE = {"halfvec": (0, 7)}

#: The kinds of relations, as pg_class has them (https://www.postgresql.org/docs/current/catalog-pg-class.html).
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}


@dataclass(frozen=True)
class Readers:
    """The roles that only read, where the caller names them, and the connections that Terraform deploys at most."""

    api: str | None = None
    status: str | None = None
    connections: int | None = None


def checks(settings: CommonSettings, catalog: Catalog, readers: Readers) -> Iterator[Check]:
    """All that can be asked of the database; without a connection no more than why there is none."""
    parsed = tried("database URL", lambda: _url(settings))
    yield parsed
    if parsed.verdict is not Verdict.OK:
        return
    try:
        with connect(settings, "doctor") as connection:
            yield from _connected(_Database(connection, catalog, readers))
    except SyncError as e:
        # Nothing works without it, whether it is down or the deployment is wrong.
        yield Check("PostgreSQL", Verdict.WRONG, f"{e.where}: {e.what}" if e.where else e.what, e.remedy)


@dataclass(frozen=True)
class _Database:
    """The connection, and what the catalog wants of the database."""

    connection: psycopg.Connection
    catalog: Catalog
    readers: Readers

    def row(self, query: str, **values: object) -> Any:
        with translated("looking at the database"):
            return self.connection.execute(queries.load("doctor")[query], values).fetchone()

    def named(self, *parts: str) -> str:
        return sql.Identifier(*parts).as_string(self.connection)

    @property
    def role(self) -> str:
        """The role that the session acts as, which need not be that of the login."""
        return self.named(str(self.row("current")[0]))


def _connected(database: _Database) -> Iterator[Check]:
    catalog = database.catalog
    yield tried("PostgreSQL", partial(_server, database))
    yield tried("clock of PostgreSQL", partial(_clock, database))
    yield tried("connections", partial(_connections, database))
    for extension in _EXTENSIONS:
        if columns := _columns(catalog, extension):
            yield tried(f"extension {extension}", partial(_extension, database, extension, columns))
    for schema in _schemas(catalog):
        yield tried(f"schema {schema}", partial(_schema, database, schema))
    yield tried(f"schema {SCHEMA}", partial(_ledger, database))
    for of in _relations(catalog):
        yield tried(f"{of.schema}.{of.name}", partial(_owned, database, of.schema, of.name))
    for log in catalog.hourly.values():
        yield tried(f"rights on {log.name}", partial(_log, database, log.name, deletes=log.delete_from_source))
    if database.readers.api is not None:
        yield tried(f"role {database.readers.api}", partial(_api, database, database.readers.api))
    if database.readers.status is not None:
        yield tried(f"role {database.readers.status}", partial(_status, database, database.readers.status))


def _url(settings: CommonSettings) -> str:
    url.parse(settings.database.read(), settings.database_secret)
    return "is there, and libpq can read it"


def _server(database: _Database) -> str:
    version, printed, encoding, _ = database.row("server")
    if version < OLDEST:
        raise wrong(f"is version {printed}", "PostgreSQL", "Upgrade it to 15 or later")
    if encoding != "UTF8":
        raise wrong(
            f"the database is encoded in {encoding}",
            "PostgreSQL",
            "Make one with ENCODING 'UTF8', and name it in the URL",
        )
    tls = "over TLS" if database.connection.pgconn.ssl_in_use else "without TLS"
    if tls == "without TLS" and not is_here({"host": database.connection.info.host}):
        raise wrong("is reached without TLS", "PostgreSQL", "Take sslmode out of the URL, or say sslmode=require")
    return f"version {printed}, reached {tls}, UTF8"


def _clock(database: _Database) -> str:
    before, after = datetime.now(UTC), None
    *_, now = database.row("server")
    after = datetime.now(UTC)
    off = before - now if now < before else now - after if now > after else timedelta()
    if off > CLOCKS:
        raise wrong(f"is {off.total_seconds():.0f} s off this one's", "the clock", "Set this machine's clock right")
    return "agrees with this one's"


def _connections(database: _Database) -> str:
    (free,) = database.row("connections")
    needed = database.readers.connections
    if needed is not None and needed > free:
        raise wrong(
            f"{free} are free for the functions, which may hold {needed}",
            "PostgreSQL",
            "Raise max_connections, or lower limits.*.max_instances or max_builds",
        )
    return f"{free} are free" + (f", the functions may hold {needed}" if needed is not None else "")


def _columns(catalog: Catalog, extension: str) -> list[Column]:
    names = {"postgis": ("geometry", "geography"), "vector": ("vector", "halfvec")}[extension]
    columns = [column for table in catalog.tables.values() for column in table.columns]
    return [column for column in columns if column.type.name in names]


def _extension(database: _Database, extension: str, columns: Sequence[Column]) -> str:
    refuse_absent(database.connection, columns, "the catalog")
    schema, usable, version = database.row("extension", name=extension)
    if not usable:
        raise wrong(
            f"is in {schema}, which the role may not use",
            extension,
            f"GRANT USAGE ON SCHEMA {schema} TO {database.role}",
        )
    for column in columns:
        oldest = _SINCE.get(column.type.name, (0,))
        if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < oldest:
            raise wrong(
                f"is version {version}, and {column.name} is a {column.type.sql}: that is in"
                f" {'.'.join(map(str, oldest))} and later",
                extension,
                f"ALTER EXTENSION {extension} UPDATE, as its owner, where a later version is installed",
            )
    return f"is in {schema}, version {version}"


def _relations(catalog: Catalog) -> list[Table | View]:
    return [*catalog.tables.values(), *catalog.views.values()]


def _schemas(catalog: Catalog) -> list[str]:
    named = (of.schema for of in _relations(catalog))
    return list(dict.fromkeys((*named, catalog.schema)))


def _schema(database: _Database, schema: str) -> str:
    places.refuse_unusable(database.connection, schema, "the role's rights", creates=True)
    (is_open,) = database.row("open_schema", schema=schema)
    if is_open:
        raise wrong(
            "everybody may create in it, and so have their functions called in place of others",
            schema,
            f"REVOKE CREATE ON SCHEMA {database.named(schema)} FROM PUBLIC",
        )
    return "the role may use it and create in it"


def _ledger(database: _Database) -> str:
    stands, owns, may_create = database.row("ledger")
    if stands and not owns:
        raise wrong("belongs to another role", SCHEMA, f"ALTER SCHEMA {SCHEMA} OWNER TO {database.role}")
    (of_others,) = database.row("ledger_of_others")
    if of_others:
        each = f"format('ALTER TABLE %s OWNER TO %I', oid::regclass, '{database.row('current')[0]}')"
        where = f"relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'S')"
        raise wrong(
            f"{of_others} relations in it belong to another role",
            SCHEMA,
            f"In psql, as an administrator: SELECT {each} FROM pg_class WHERE {where} \\gexec",
        )
    if not stands and not may_create:
        name = database.named(database.connection.info.dbname)
        raise wrong(
            "is not there, and the role may not make it",
            SCHEMA,
            f"GRANT CREATE ON DATABASE {name} TO {database.role}",
        )
    if not stands:
        return "is not there yet: the first import makes it"
    if not migrations.is_current(database.connection):
        return "is of an earlier version: the next call of a function brings it up to date, or recosync migrate"
    return "is there, and the role's own"


def _owned(database: _Database, schema: str, name: str) -> str:
    found = database.row("owner", schema=schema, name=name)
    if found is None:
        return "is not there yet"
    owner, owns, kind = found
    wanted = "table" if name in database.catalog.tables else "materialized view"
    if (found_kind := _KINDS.get(kind, "relation")) != wanted:
        raise wrong(
            f"is a {found_kind}, and should be a {wanted}",
            f"{schema}.{name}",
            f"ALTER {found_kind.removeprefix('partitioned ').upper()} {database.named(schema, name)} RENAME TO"
            f" {database.named(f'{name}_before')}: {'a publish' if wanted == 'table' else 'mv_refresh'} makes it anew",
        )
    if not owns:
        raise wrong(
            f"belongs to {owner}",
            f"{schema}.{name}",
            f"ALTER {wanted.upper()} {database.named(schema, name)} OWNER TO {database.role}",
        )
    return "belongs to the role"


def _log(database: _Database, name: str, *, deletes: bool) -> str:
    schema = database.catalog.schema
    found = database.row("log_rights", schema=schema, name=name)
    if found is None:
        raise wrong("does not exist", f"{schema}.{name}", "Make it, or correct the catalog")
    may_read, may_delete = found
    for right, given, asked in (("SELECT", may_read, True), ("DELETE", may_delete, deletes)):
        if asked and not given:
            raise wrong(
                f"the role may not {right}",
                f"{schema}.{name}",
                f"GRANT {right} ON {database.named(schema, name)} TO {database.role}",
            )
    return f"the role may read it{' and delete from it' if may_delete else ''}"


def _exists(database: _Database, role: str) -> None:
    if database.row("role", role=role) != (True,):
        raise wrong("there is no such role", role, "Make it by sql/deploy/database.sql, or correct its name")


def _unread(database: _Database, role: str, of: Sequence[tuple[str, str]]) -> list[str]:
    values = {"role": role, "schemas": [schema for schema, _ in of], "names": [name for _, name in of]}
    with translated("looking at the rights of readers"):
        return [name for (name,) in database.connection.execute(queries.load("doctor")["unread"], values)]


def _api(database: _Database, role: str) -> str:
    _exists(database, role)
    catalog = database.catalog
    found = _unread(database, role, [(of.schema, of.name) for of in _relations(catalog)])
    if found:
        schemas = dict.fromkeys(name.partition(".")[0].strip('"') for name in found)
        raise wrong(
            f"may not read {', '.join(found)}",
            role,
            f"GRANT USAGE ON SCHEMA {', '.join(map(database.named, schemas))} TO {database.named(role)};"
            f" GRANT SELECT ON {', '.join(found)} TO {database.named(role)}",
        )
    return "may read each table and view that stands"


def _status(database: _Database, role: str) -> str:
    _exists(database, role)
    with translated("looking at the ledger"):
        tables = database.connection.execute(queries.load("doctor")["ledger_tables"]).fetchall()
    if unread := _unread(database, role, [(SCHEMA, name) for (name,) in tables]):
        raise wrong(f"may not read {', '.join(unread)}", role, f"Run: recosync migrate --reader {role}")
    return "may read the ledger" if database.row("ledger")[0] else "is there; recosync migrate --reader lets it read"
