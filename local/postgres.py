"""PostgreSQL with PostGIS: a template database, and as many clones as tests want, on a throwaway cluster of our own or
on a server of the user's.

Roles and rights are those of a deployment, by its own SQL: `administrator` owns the databases and is no superuser,
`recosync` loads, `api` may only read what it makes, `status` only the ledger.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, LiteralString
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from local import ROOT
from local.prerequisites import MissingError, postgres_bin, postgres_url
from local.process import Process, ProcessError, free_port

_TEMPLATE = "recosync_template"
#: How a role or database on a server of the user's says that it may be changed and dropped.
_OURS = "recosync: made by make local, make demo or the tests"
#: The roles that are made, in the order in which they can be dropped.
_ROLES = ("recosync", "status", "api", "administrator")
#: Cloud SQL's time zone, whatever the machine's is.
_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "timezone": "UTC"}
#: A power cut may take this data. A crash of the server may not: synchronous_commit stays on.
RELAXED = {"shared_buffers": "128MB", "max_wal_size": "2GB", "fsync": "off", "full_page_writes": "off"}
#: As sql/deploy/database.sql has it of public.
_SCHEMA: tuple[LiteralString, ...] = (
    "CREATE SCHEMA IF NOT EXISTS {}",
    "GRANT USAGE, CREATE ON SCHEMA {} TO recosync",
    "ALTER DEFAULT PRIVILEGES FOR ROLE recosync IN SCHEMA {} GRANT SELECT ON TABLES TO api",
    "GRANT USAGE ON SCHEMA {} TO api",
)
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
StopMode = Literal["smart", "fast", "immediate"]


def deployment(
    database: str, loader: str = "recosync", status: str = "status", file: str = "database", schema: str = ""
) -> list[str]:
    """The statements that an administrator executes for a deployment, as psql would read them."""
    text = (ROOT / "sql" / "deploy" / f"{file}.sql").read_text()
    names = {"DBNAME": database, "loader": loader, "status": status, "api": "api", "schema": schema}
    for name, value in names.items():
        text = text.replace(f':"{name}"', f'"{value}"')
    return [statement.strip() for statement in re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).split(";")[:-1]]


def server(folder: Path, settings: Mapping[str, str]) -> "Server":
    """The user's server, if POSTGRES names one, or else a new cluster with these settings."""
    url = postgres_url()
    return Guest(url) if url else Cluster(folder, settings)


class Server:
    """What tests and the emulated cloud want of a PostgreSQL server."""

    def dsn(self, database: str, role: str = "recosync") -> str:
        """Where a role finds a database; `postgres` is whoever administers the server."""
        raise NotImplementedError

    def superuser(self, database: str) -> psycopg.Connection:
        """A connection of whoever administers the server."""
        return psycopg.connect(self.dsn(database, "postgres"), autocommit=True)

    def ready(self) -> None:
        """Wait until it accepts connections."""

    def close(self) -> None:
        raise NotImplementedError

    def create_template(self) -> None:
        """Make the roles, and the database that clones are made of."""
        with self.superuser("postgres") as admin:
            # Who looks after a database of Cloud SQL may hand that role on, and make this extension.
            self._create_role(admin, "administrator", "CREATEROLE")
            self._create_role(admin, "api")
            admin.execute("GRANT pg_read_all_stats TO administrator WITH ADMIN OPTION")
            self._create_database(admin, _TEMPLATE, "template1")
        with self.superuser(_TEMPLATE) as admin:
            admin.execute("CREATE EXTENSION postgis")
            # pgvector, where the machine has it.
            if admin.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone() is not None:
                admin.execute("CREATE EXTENSION vector")
        self._deploy()

    def _deploy(self) -> None:
        with psycopg.connect(self.dsn(_TEMPLATE, "administrator"), autocommit=True) as administrator:
            for statement in deployment(_TEMPLATE):
                administrator.execute(statement.encode())
            # The ledger's schema has the role's name: what anybody makes by hand would land there.
            administrator.execute("ALTER ROLE recosync SET search_path = public")
            # The page shows the ledger from its first moment: a deployment grants that by `recosync migrate --reader`.
            administrator.execute("ALTER DEFAULT PRIVILEGES FOR ROLE recosync GRANT USAGE ON SCHEMAS TO status")

    def clone(self, name: str) -> str:
        """A new database like the template; its DSN for recosync."""
        with self.superuser("postgres") as admin:
            self._create_database(admin, name, _TEMPLATE)
            # The rights on a database are not copied with it.
            admin.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO recosync").format(sql.Identifier(name)))
        return self.dsn(name)

    def make_schema(self, database: str, name: str) -> None:
        """A schema of a catalog, with the rights that public has."""
        with psycopg.connect(self.dsn(database, "administrator"), autocommit=True) as administrator:
            for statement in _SCHEMA:
                administrator.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self.superuser("postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _create_role(self, admin: psycopg.Connection, name: str, rights: LiteralString = "") -> None:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)) + sql.SQL(f" {rights}"))

    def _create_database(self, admin: psycopg.Connection, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER administrator STRATEGY file_copy")
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


class Cluster(Server):
    """A running server of our own; its data is gone when it closes."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = RELAXED) -> None:
        self._settings = {**_SETTINGS, **settings}
        self.port = free_port()
        self._log = folder / "postgres.log"
        # PostgreSQL refuses to run as root, and the user it runs as then may not be able to enter our folder.
        self._user = "postgres" if os.getuid() == 0 else None
        where = None if self._user else folder
        self._place = tempfile.TemporaryDirectory(prefix="recosync-postgres-", dir=where, ignore_cleanup_errors=True)
        self._data = Path(self._place.name) / "data"
        if self._user:
            shutil.chown(self._place.name, self._user, self._user)
        self._initialise()
        self.start()

    def _initialise(self) -> None:
        run_as = [f"--reuid={self._user}", f"--regid={self._user}", "--init-groups"] if self._user else []
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        initdb = subprocess.run(
            ["setpriv", *run_as, "--", postgres_bin() / "initdb", "--pgdata", self._data, *options],
            capture_output=True,
            text=True,
            cwd="/",
        )
        if initdb.returncode:
            raise ProcessError(f"initdb failed\n{initdb.stderr}")

    def start(self) -> None:
        """Start the server, on the same port and data as before; `ready` waits for it."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        command: list[str | Path] = [postgres_bin() / "postgres", "-D", self._data]
        command += ["-p", str(self.port), *settings]
        self._server = Process("PostgreSQL", command, self._log, stop_signal=signal.SIGINT, user=self._user)

    def ready(self) -> None:
        self._server.wait_ready(self._accepts)

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server as `pg_ctl stop -m` would: `immediate` is a crash that the next start recovers from."""
        self._server.stop(60, _STOP_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()
        self.ready()

    def close(self) -> None:
        self.stop("immediate")
        self._place.cleanup()

    def dsn(self, database: str, role: str = "recosync") -> str:
        return f"postgresql://{role}:{role}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The process that starts the others."""
        return self._server.pid

    @property
    def place(self) -> Path:
        """A folder that the server can write to."""
        return self._data.parent

    def _accepts(self) -> bool:
        try:
            self.superuser("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


class Guest(Server):
    """A server of the user's, by the URL of an administrator who may make databases, roles and the extension.

    One run at a time has it. What a run made is dropped when it closes, or else when the next one begins; the rest is
    left alone.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with _told(), ExitStack() as stack:
            self._hold = stack.enter_context(self.superuser("postgres"))
            if self._find("SELECT 1 WHERE NOT pg_try_advisory_lock(hashtextextended(%s, 0))", _OURS):
                raise MissingError("another run has the server that POSTGRES names: wait for its end")
            self._forget()
            if taken := self._find("SELECT rolname FROM pg_roles WHERE rolname = any(%s)", list(_ROLES)):
                raise MissingError(f"the server that POSTGRES names has a role {taken[0]} already: use another server")
            stack.pop_all()

    def close(self) -> None:
        with self._hold, _told():
            self._forget()

    def dsn(self, database: str, role: str = "recosync") -> str:
        who = urlsplit(self._url).netloc.rpartition("@")[0] if role == "postgres" else f"{role}:{self._password(role)}"
        return self._to(database, who)

    def create_template(self) -> None:
        with _told():
            super().create_template()

    def _create_role(self, admin: psycopg.Connection, name: str, rights: LiteralString = "") -> None:
        super()._create_role(admin, name, rights)
        self._mark(admin, name)
        if name == "administrator":
            # Whoever makes a role need not be its member, as whoever makes a database of its has to be.
            admin.execute("GRANT administrator TO CURRENT_USER")

    def _deploy(self) -> None:
        super()._deploy()
        with self.superuser("postgres") as admin:
            for name in ("recosync", "status"):
                self._mark(admin, name)

    def _create_database(self, admin: psycopg.Connection, name: str, template: str) -> None:
        super()._create_database(admin, name, template)
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), _OURS))

    def _mark(self, admin: psycopg.Connection, role: str) -> None:
        """Say of a role that it is ours, and give it its password."""
        named = sql.Identifier(role)
        admin.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(named, _OURS))
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(named, self._password(role)))

    def _forget(self) -> None:
        """Drop what a run made, here or before."""
        for name in self._find(
            "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = %s", _OURS
        ):
            self.drop(name)
        ours = self._find("SELECT rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = %s", _OURS)
        for name in sorted(ours, key=_ROLES.index):
            self._hold.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    def _find(self, query: LiteralString, value: object) -> list[str]:
        return [found for (found,) in self._hold.execute(query, [value])]

    def _password(self, role: str) -> str:
        """One that nobody has who does not have the administrator's."""
        return hashlib.sha256(f"{role} {self._url}".encode()).hexdigest()

    def _to(self, database: str, who: str) -> str:
        parts = urlsplit(self._url)
        return parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}", path=f"/{quote(database)}").geturl()


@contextmanager
def _told() -> Iterator[None]:
    """What the user's server refuses is told in one line."""
    try:
        yield
    except psycopg.Error as e:
        raise MissingError(f"the server that POSTGRES names: {' '.join(str(e).split())}") from e
