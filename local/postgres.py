"""A throwaway PostgreSQL with PostGIS: one cluster, a template database, and as many clones as tests want.

Roles and rights are those of a deployment, by its own SQL: `administrator` owns the databases and is no superuser,
`recosync` loads, `api` may only read what it makes, `status` only the ledger.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, LiteralString

import psycopg
from psycopg import sql

from local import ROOT
from local.prerequisites import postgres_bin
from local.process import Process, ProcessError, free_port

_TEMPLATE = "recosync_template"
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


class Cluster:
    """A running server; its data is gone when it closes."""

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
        self._server.stop(stop_signal=_STOP_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()
        self.ready()

    def close(self) -> None:
        self.stop("immediate")
        self._place.cleanup()

    def dsn(self, database: str, role: str = "recosync") -> str:
        return f"postgresql://{role}:{role}@127.0.0.1:{self.port}/{database}"

    def create_template(self) -> None:
        """Make the database that clones are made of: PostGIS and the roles."""
        with self.superuser("postgres") as admin:
            # Who looks after a database of Cloud SQL may hand that role on, and make this extension.
            admin.execute("CREATE ROLE administrator LOGIN CREATEROLE; CREATE ROLE api LOGIN")
            admin.execute("GRANT pg_read_all_stats TO administrator WITH ADMIN OPTION")
            self._create_database(admin, _TEMPLATE, "template1")
        with self.superuser(_TEMPLATE) as admin:
            admin.execute("CREATE EXTENSION postgis")
            # pgvector, where the machine has it.
            if admin.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone() is not None:
                admin.execute("CREATE EXTENSION vector")
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

    def _create_database(self, admin: psycopg.Connection, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER administrator STRATEGY file_copy")
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    @property
    def pid(self) -> int:
        """The process that starts the others."""
        return self._server.pid

    @property
    def place(self) -> Path:
        """A folder that the server can write to."""
        return self._data.parent

    def superuser(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.dsn(database, "postgres"), autocommit=True)

    def _accepts(self) -> bool:
        try:
            self.superuser("postgres").close()
        except psycopg.OperationalError:
            return False
        return True
