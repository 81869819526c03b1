"""What every session is asked to be, whatever the role, the database, the server or the environment sets.

A setting that changes what we send, what we read, or how long we wait is part of the code that relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from os import environ

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext
from psycopg.rows import TupleRow

from shared.catalog import Column, PgType
from shared.db import queries
from shared.db.url import refused_value
from shared.errors import ConfigurationError, RetryableError, SyncError
from shared.settings import CommonSettings

#: How often the server looks, while it works, whether its client still lives: a killed worker's statement ends soon.
CLIENT_CHECK_MS = 2_000

#: Readers wait behind a lock that we wait for, so no statement waits longer than this unless it says so itself. They
#: may stall for 25 ms, and a server whose processors were busy took 5.4 ms to end a wait that was over.
LOCK_TIMEOUT_MS = 18

#: The only schemas whose functions, operators and types mean what the code means: anybody may be allowed to create in
#: public, and pg_temp is searched first unless it is named
#: (https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATTERNS).
SEARCH_PATH = "pg_catalog, pg_temp"

#: PostGIS and pgvector may be installed anywhere: their types are named with that schema.
_POSTGIS = {PgType.GEOMETRY.name, PgType.GEOGRAPHY.name}
_PGVECTOR = {PgType.VECTOR.name, PgType.HALFVEC.name}

#: What has them to be installed.
_INSTALLED = {"postgis": "PostGIS", "vector": "pgvector"}

#: https://www.postgresql.org/docs/current/runtime-config-client.html
PINNED: Mapping[str, str] = {
    # How values are written and read.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "xmloption": "content",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # What is seen, and what is told. With row_security off, a policy that would hide rows is an error.
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    "client_min_messages": "notice",
    "check_function_bodies": "on",
    # What a transaction is, and when the session ends. That a database is read-only for a while is its owner's wish.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "idle_session_timeout": "0",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "client_connection_check_interval": str(CLIENT_CHECK_MS),
}


def parameters(
    settings: CommonSettings, given: Mapping[str, str], purpose: str, options: Mapping[str, str]
) -> dict[str, str | int]:
    """What libpq is told beside the URL. The URL's own parameters win where they are a matter of taste; the session's
    `options` win over the URL's.

    TLS is required unless the URL says otherwise or PostgreSQL is on this machine. The session is named after its
    purpose and its `life`, in seconds, after which it counts as frozen: whoever waits for it can't know that.
    """
    taste: dict[str, str | int] = {
        "sslmode": "prefer" if is_here(given) else "require",
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    return {
        **{name: given.get(name, value) for name, value in taste.items()},
        "client_encoding": "UTF8",
        "application_name": application_name(settings.life, purpose),
        "options": " ".join([given.get("options") or environ.get("PGOPTIONS", ""), *_options(settings, options)]),
    }


def application_name(life: int, purpose: str) -> str:
    """By which whoever waits for a lock of the session knows how many seconds it may hold it."""
    return f"recosync {life}s {purpose}"


def is_here(given: Mapping[str, str]) -> bool:
    """Whether the URL, or the environment where it says nothing, names a server on this machine, or a proxy."""
    addresses = (given.get("hostaddr"), given.get("host"), environ.get("PGHOSTADDR"), environ.get("PGHOST"))
    hosts = next(filter(None, addresses), "").split(",")
    # Where a service is named, its file says which host.
    return not given.get("service") and all(
        host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/") for host in hosts
    )


class Session(psycopg.Connection[TupleRow]):
    """A connection whose settings are ours. `postgis` and `pgvector` are the schemas of these extensions, quoted where
    they have to be, if the database has them.
    """

    postgis: str | None = None
    pgvector: str | None = None


class TypeName(sql.Composable):
    """A type's name in a statement, by the catalog's name or the server's own rendering."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._name = name

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        return f"{_prefix(context.connection, self._name) if context else ''}{self._name}".encode()


def catalogs_name(connection: psycopg.Connection, printed: str) -> str:
    """The catalog's name of a type that `format_type` printed. In the catalog, an extension's types have no schema."""
    names = (printed.removeprefix(f"{schema}.") for schema in _schemas(connection))
    return next((name for name in names if printed == f"{_prefix(connection, name)}{name}"), printed)


def pin(connection: Session) -> None:
    """Finish what the start of the session can't do, and check that the session has what it asked for.

    The search_path that the role, the database or the URL sets is kept for the catalog's SQL. Raises
    ConfigurationError where something between us and PostgreSQL drops settings or may share sessions, or where
    constraints do not hold. A pooler gives a client a process id that it made up, in whatever mode it is; which mode
    that is can't be asked.
    """
    if connection.info.server_version >= 170_000:
        # It came with this version. By itself it is done at once, where what is set for the role may leave little time.
        connection.execute("SET transaction_timeout = 0")
    row = connection.execute(queries.load("session")["pin"], {"path": SEARCH_PATH}, prepare=False).fetchone()
    lock_timeout, pid, replication, connection.postgis, connection.pgvector, *_ = row or (None,) * 5
    if (lock_timeout, pid) != (f"{LOCK_TIMEOUT_MS}ms", connection.info.backend_pid):
        raise ConfigurationError(
            "a connection pooler stands between us and PostgreSQL: no session there is sure of its settings and locks",
            where="the database URL",
            remedy=_PAST_POOLERS,
        )
    if replication != "origin":
        raise ConfigurationError(
            f"session_replication_role is {replication}: foreign keys and triggers do not hold",
            where="the loader's role",
            remedy="ALTER ROLE … RESET session_replication_role",
        )


def refuse_absent(connection: psycopg.Connection, columns: Sequence[Column], where: str) -> None:
    """Raise ConfigurationError that names the extension which a column's type is of, and which the database lacks.

    Who may make it: https://www.postgresql.org/docs/current/sql-createextension.html, and on Cloud SQL
    https://cloud.google.com/sql/docs/postgres/extensions.
    """
    if not isinstance(connection, Session):
        return
    for types, schema, extension in (
        (_POSTGIS, connection.postgis, "postgis"),
        (_PGVECTOR, connection.pgvector, "vector"),
    ):
        lacking = [f"{column.name} ({column.type.sql})" for column in columns if column.type.name in types]
        if lacking and schema is None:
            raise ConfigurationError(
                f"the database does not have the extension {extension}, for {', '.join(lacking)}",
                where=where,
                remedy=f"CREATE EXTENSION {extension} there, as a superuser, or an administrator such as Cloud SQL's"
                f" postgres. Elsewhere, install {_INSTALLED[extension]} first",
            )


def find_names(connection: psycopg.Connection, schemas: Sequence[str], *, local: bool) -> None:
    """Have SQL of the catalog find names that have no schema: in these schemas first. With `local`, until the
    transaction ends.
    """
    postgis = connection.postgis if isinstance(connection, Session) else None
    values = {"schemas": list(schemas), "postgis": postgis, "local": local}
    connection.execute(queries.load("session")["path_of_catalog"], values)


def check_sees_all(connection: psycopg.Connection, relation: str, where: str) -> None:
    """Raise ConfigurationError when policies hide rows of the relation, a quoted name, from the connection's role.

    The same policies would hide the rows from every count that we make
    (https://www.postgresql.org/docs/current/ddl-rowsecurity.html).
    """
    row = connection.execute(queries.load("session")["policies"], {"relation": relation}).fetchone()
    if row is not None:
        named = f" ({', '.join(row[0])})" if row[0] else ""
        raise ConfigurationError(
            f"row-level security hides rows from this role{named}",
            where=where,
            remedy="ALTER ROLE … BYPASSRLS for it, or of its own table ALTER TABLE … NO FORCE ROW LEVEL SECURITY",
        )


def unreachable(e: psycopg.OperationalError | UnicodeError) -> SyncError:
    """Why there is no connection, by the driver's text alone: there is no SQLSTATE yet. Only PostgreSQL's own words of
    the text are shown: the rest may quote a piece of a password.
    """
    text = str(e)
    where = "connecting to PostgreSQL"
    if isinstance(e, UnicodeError):  # raised for a host that can be no name
        text = "could not translate host name"
    if fatal := re.search(r"FATAL: +([^\n]+)", text):
        what = fatal[1]
        if wrong := next((remedy for pattern, remedy in _REFUSED if re.search(pattern, what)), None):
            return ConfigurationError(f"PostgreSQL refused the connection: {_named(what)}", where=where, remedy=wrong)
        return RetryableError(f"PostgreSQL refused the connection: {_named(what)}", where=where)
    if name := refused_value(text):
        return ConfigurationError(
            f"the database URL has a value for {name} that libpq does not take",
            where=where,
            remedy="Correct it",
        )
    for pattern, what, remedy in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            kind = ConfigurationError if remedy else RetryableError
            return kind(f"PostgreSQL did not answer: {what}", where=where, remedy=remedy)
    return RetryableError(f"PostgreSQL did not answer ({type(e).__name__})", where=where)


def _options(settings: CommonSettings, more: Mapping[str, str]) -> Iterator[str]:
    timeout = str(settings.function_timeout * 1000)
    timeouts = {"statement_timeout": timeout, "idle_in_transaction_session_timeout": timeout}
    for name, value in {**PINNED, **timeouts, **more}.items():
        yield f"-c {name}={value.replace(' ', r'\ ')}"


def _named(what: str) -> str:
    """The server's words without what may be a value: it names roles, databases and settings in quotes."""
    kept = re.sub(r'(role|user|database|parameter) "([^"]*)"', r"\1 “\2”", what)
    kept = re.sub(r'"[^"]*"', "…", re.sub(r"(: ).*", "", kept))
    return re.sub("[“”]", '"', kept)


def _prefix(connection: object, type_: str) -> str:
    """What stands before the name of a type: the schema of its extension, if it is one's and the database has it."""
    name = type_.partition("(")[0]
    if not isinstance(connection, Session):
        return ""
    schema = connection.postgis if name in _POSTGIS else connection.pgvector if name in _PGVECTOR else None
    return f"{schema}." if schema else ""


def _schemas(connection: object) -> list[str]:
    """Those of the extensions that the database has."""
    found = (connection.postgis, connection.pgvector) if isinstance(connection, Session) else ()
    return [schema for schema in found if schema]


_SECRET = "Check the database URL's secret"  # noqa: S105 - where to look for one

_PAST_POOLERS = (
    "Name PostgreSQL's own address and port, past the pooler: of a Cloud SQL instance with managed connection pooling"
    " that is port 5432"
)

#: How the server speaks of a setting that the URL's options, or the role's, ask for in vain.
_SETTINGS = (
    r"configuration parameter|for parameter|parameter \S+ (?:cannot|requires)|permission denied to set|cannot set"
    r"|outside the valid range|requires a value|invalid command-line argument|could not access file"
    r"|walsender|WAL sender"
)

#: How the server refuses what no retry makes good, and what to do.
_REFUSED = (
    (
        r"IAM .*authentication failed",
        "Grant the account roles/cloudsql.instanceUser, and make it a user of the instance, as docs/deploy.md says",
    ),
    (r"client certificate", "Add sslcert and sslkey to the database URL, with the paths where their files are mounted"),
    (r"pg_hba\.conf.*no encryption", "The server wants TLS: take sslmode out of the database URL"),
    (r"pg_hba\.conf|authentication failed", _SECRET),
    (r"(?:role|database) \S+ (?:does not exist|is not permitted)", _SECRET),
    (r"permission denied for database", "GRANT CONNECT ON DATABASE … TO the loader's role"),
    (r"unsupported startup parameter", f"A connection pooler answers there. {_PAST_POOLERS}"),
    (
        _SETTINGS,
        "Correct the options of the database URL, or what ALTER ROLE … SET set for the role",
    ),
)

#: What libpq says of a host that does not answer; with a remedy where the deployment is wrong, not the server down.
_CAUSES = (
    (r"temporary failure in name resolution", "its host's name could not be looked up just now", ""),
    (
        r"could not translate host name|name or service not known|no address associated|failed to resolve",
        "its host is unknown",
        "Correct the host in the database URL; a special character in the password, written as it is, can also be why",
    ),
    (
        r'on socket "[^"]*" failed: No such file or directory|on socket "[^"]*" failed: Not a directory',
        "there is no socket at that path",
        "Correct the host in the database URL, or attach the instance to the function",
    ),
    (r"connection refused", "nothing listens on that host and port (connection refused)", ""),
    (r"timeout expired|timed out", "no answer in time: does the network lead there?", ""),
    (r"no route to host|network is unreachable", "no network leads to its host", ""),
    (
        r"group or world access",
        "others may read the key file that its sslkey names, and libpq refuses such a file",
        "Mount it with mode 0600 or less",
    ),
    (r"no password supplied", "it asks for a password, and the database URL has none", _SECRET),
    (
        r"certificate file \S+ does not exist|could not (?:read|load|open)[^\n]*certificate|private key file",
        "a certificate or key that the URL's settings ask for is not there or not readable",
        "Mount it, or correct sslrootcert, sslcert, sslkey or sslmode in the database URL",
    ),
    (
        r"certificate verify failed|server certificate for",
        "its certificate is not one that the URL's settings trust",
        "Correct sslrootcert, the host or sslmode in the database URL",
    ),
    (
        r"definition of service|session is |in hot standby|channel binding|protocol version|weak sslmode|socket path",
        "it is not as the URL's settings ask for",
        "Correct service, target_session_attrs, channel_binding and the like in the database URL",
    ),
    (r"server does not support SSL", "it has no TLS", "Switch TLS on, or say sslmode=prefer in the database URL"),
    (r"permission denied", "its socket may not be opened", "Let the function's user open it"),
)
