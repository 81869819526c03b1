"""The database URL: libpq judges it, and no message shows more of it than the name of a parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg
import psycopg.conninfo

from shared.errors import ConfigurationError

_SOCKET = "Write a socket as postgresql://<user>:<password>@/<database>?host=/cloudsql/<project>:<region>:<instance>"
_ESCAPE = "Escape special characters in user and password as %XX: @ is %40, / is %2F"

#: What is read as numbers: by psycopg itself, which quotes what is none, and by libpq once it has a TCP connection.
_NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}

#: A server that nobody asks: before it looks for one, libpq refuses values that it does not have.
_NOWHERE = {"host": "/nowhere", "hostaddr": "", "port": "5432"}

#: How libpq tells of a parameter that it does not have. Longer texts may be a piece of a password.
_UNKNOWN = re.compile(r'invalid (?:URI query parameter|connection option)[: ]+"([A-Za-z_]{1,40})"')


def parse(url: str, where: str) -> Mapping[str, str]:
    """The URL's parameters by libpq's names (https://www.postgresql.org/docs/current/libpq-connect.html).

    Raises ConfigurationError, with `where` it stands, for what libpq does not take or can't mean.
    """
    try:
        found = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as e:
        # The driver's text quotes the URL, password and all.
        unknown = _UNKNOWN.search(str(e))
        if unknown:
            what, remedy = f"has a parameter that libpq does not know: {unknown[1]}", "Take it out"
        else:
            what, remedy = "is malformed", _ESCAPE
        raise ConfigurationError(f"the database URL {what}", where=where, remedy=remedy) from None
    given = {name: str(value) for name, value in found.items() if value is not None}
    for name in _NUMBERS & given.keys():
        if not re.fullmatch(r"-?[0-9]{1,9}", given[name]):
            raise _not_taken(name, where)
    misread = _misread(given)
    if misread:
        remedy = _SOCKET if given.get("host", "").startswith("/") else _ESCAPE
        raise ConfigurationError(f"the database URL {misread}", where=where, remedy=remedy)
    if not given.get("dbname") and not given.get("service"):
        raise ConfigurationError("the database URL names no database", where=where, remedy="Add /<database> to it")
    if refused := _refused(url):
        raise _not_taken(refused, where)
    return given


def refused_value(text: str) -> str | None:
    """The parameter whose value libpq refuses, by what it says of it; None where it says something else."""
    found = re.search(r'for connection option "(\w+)"', text) or re.search(r"invalid (\w+) value", text)
    return found[1] if found else None


def _refused(url: str) -> str | None:
    """The parameter whose value libpq refuses. It is asked before psycopg looks the host up, which may fail too."""
    asked = psycopg.conninfo.make_conninfo(url, **_NOWHERE)
    connection = psycopg.pq.PGconn.connect_start(asked.encode())
    try:
        return refused_value(connection.error_message.decode(errors="replace"))
    finally:
        connection.finish()


def _not_taken(name: str, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"the database URL has a value for {name} that libpq does not take", where=where, remedy="Correct it"
    )


def _misread(given: Mapping[str, str]) -> str | None:
    """What tells that libpq took a piece of a password for something else: it reads up to the first @ or /."""
    ports = given.get("port", "").split(",")
    if not all(re.fullmatch(r"[0-9]{0,5}", port) and 0 < int(port or 5432) < 65_536 for port in ports):
        return "has a port that is no number from 1 to 65535"
    hosts = given.get("host", "").split(",")
    if len(ports) not in (1, len(hosts)):
        return "has another number of ports than of hosts"
    if any("@" in host or ("/" in host and not host.startswith("/")) for host in hosts):
        return "has a host with a special character"
    return "has a database name with an @" if "@" in given.get("dbname", "") else None
