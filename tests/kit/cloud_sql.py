"""A PostgreSQL server as Cloud SQL has it: TLS by an authority of its own, passwords, a Unix socket, and IPv6. And
PgBouncer, before any server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from local.postgres import RELAXED, Cluster
from local.prerequisites import pgbouncer
from local.process import Process, free_port

#: Everything that a URL has to escape, and what libpq, DuckDB and a shell quote.
PASSWORD = "p@ss/w:r'd#?%&= \\\"é"

INSTANCE = "project:europe-west1:instance"

#: The service account of a function, as a user of the database: IAM knows its password.
ACCOUNT = "gcs-import@project.iam"

# An account's token is sent as it is: no server but Google knows how to check it, as this one can by a password.
# Who comes over IPv4 shows a certificate, as Cloud SQL has it when only trusted ones are let in; the tests' own
# administrator does not.
_WHO = f"""
hostssl all "{ACCOUNT}" ::1/128      password
host    all postgres 127.0.0.1/32 trust
hostssl all all      127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all all      ::1/128      scram-sha-256
local   all all                   scram-sha-256
"""


@dataclass
class CloudSql:
    """`files` holds server-ca.pem, client-cert.pem and client-key.pem, as the console gives them out."""

    cluster: Cluster
    files: Path
    socket: Path

    def admit(self, token: str) -> None:
        """Have this token be the one that Google gave the account."""
        with self.cluster.superuser("postgres") as admin:
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ACCOUNT), token))

    def url(self, database: str, way: str) -> str:
        """The URL of the loader; of `way`, SOCKET, FILES and PORT are filled in."""
        filled = way.replace("SOCKET", str(self.socket)).replace("FILES", str(self.files))
        return (
            filled.replace("PORT", str(self.cluster.port))
            .replace("USER", f"loader:{quote(PASSWORD, safe='')}")
            .replace("NAME", database)
        )

    @contextmanager
    def database(self, name: str) -> Iterator[psycopg.Connection]:
        """A database that the loader may fill; the administrator's connection to it."""
        made = sql.Identifier(name)
        with self.cluster.superuser("postgres") as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER loader").format(made))
        try:
            with self.cluster.superuser(name) as admin:
                admin.execute("GRANT CREATE ON SCHEMA public TO loader")
                yield admin
        finally:
            self.cluster.drop(name)


@contextmanager
def cloud_sql(folder: Path) -> Iterator[CloudSql]:
    # The server's user may enter no folder of the tests.
    with tempfile.TemporaryDirectory(prefix="recosync-cloudsql-") as place:
        files, socket = Path(place), Path(place) / INSTANCE
        socket.mkdir()
        _certify(files)
        (files / "hba.conf").write_text(_WHO)
        files.chmod(0o755)
        if os.getuid() == 0:
            for mine in (socket, files / "server-key.pem"):
                shutil.chown(mine, "postgres")
        settings = {
            "listen_addresses": "127.0.0.1,::1",
            "unix_socket_directories": str(socket),
            "hba_file": str(files / "hba.conf"),
            "ssl": "on",
            "ssl_ca_file": str(files / "server-ca.pem"),
            "ssl_cert_file": str(files / "server-cert.pem"),
            "ssl_key_file": str(files / "server-key.pem"),
        }
        cluster = Cluster(folder, RELAXED | settings)
        try:
            cluster.ready()
            with cluster.superuser("postgres") as admin:
                admin.execute(sql.SQL("CREATE ROLE api; CREATE ROLE loader LOGIN PASSWORD {}").format(PASSWORD))
                account = sql.Identifier(ACCOUNT)
                admin.execute(sql.SQL("CREATE ROLE {0} LOGIN; GRANT loader TO {0}").format(account))
            yield CloudSql(cluster, files, socket)
        finally:
            cluster.close()


def _certify(files: Path) -> None:
    """An authority, the server's certificate, which names no host, a client's; and an authority of somebody else."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=files, check=True, capture_output=True)

    for name in ("server-ca", "other-ca"):
        new = ("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "9", "-subj", f"/CN={name}")
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name, subject in {"server": "/CN=project:instance", "client": "/CN=somebody"}.items():
        new = ("req", "-newkey", "rsa:2048", "-noenc", "-subj", subject)
        openssl(*new, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        signed = ("x509", "-req", "-days", "9", "-in", f"{name}.csr", "-CA", "server-ca.pem", "-CAkey", "server-ca.key")
        openssl(*signed, "-CAcreateserial", "-out", f"{name}-cert.pem")
    shutil.copy(files / "client-key.pem", files / "open-key.pem")
    (files / "open-key.pem").chmod(0o644)


@contextmanager
def pooler(cluster: Cluster, database: str, settings: Mapping[str, str], query: str = "SELECT 1") -> Iterator[int]:
    """PgBouncer before the server; its port. `query` is executed in each session of its own."""
    port = free_port()
    here = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any", **settings}
    lines = [f"{name} = {value}" for name, value in here.items()]
    file = cluster.place / f"pgbouncer-{port}.ini"
    place = f"{database} = host=127.0.0.1 port={cluster.port} user=recosync connect_query='{query}'"
    file.write_text("\n".join(["[databases]", place, "[pgbouncer]", *lines]) + "\n")
    user = "postgres" if os.getuid() == 0 else None
    process = Process("PgBouncer", [pgbouncer(), file], cluster.place / f"pgbouncer-{port}.log", user=user)

    def answers() -> bool:
        try:
            psycopg.connect(host="127.0.0.1", port=port, dbname=database, user="recosync").close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        process.wait_ready(answers)
        yield port
    finally:
        process.stop()
