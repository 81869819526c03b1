"""DuckDB: instances with bounded memory, its extensions as packages, and what its errors mean, for both directions.

An error is judged by the type that begins its text: a stream of batches hands an error on as an `OSError`, with nothing
else. Two kinds are judged by whoever asked. An UNCLEAR error is the content's fault if the Storage client can fetch all
bytes and DuckDB can't read them again. Of a SERVER error only text is left, without PostgreSQL's code and in its
language: the query runs once more over the driver, which has the code. A connection to PostgreSQL that breaks has no
words of the server's, and is retried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    import duckdb

#: The working memory of an instance. What exceeds it fails instead of swapping.
MEMORY_LIMIT = "256MB"

#: How the names of the packages begin that bring DuckDB's extensions.
PACKAGES = "duckdb_extension_"


class Fault(Enum):
    """What an error of DuckDB means for whoever asked."""

    LATER = auto()  #: the same read can succeed later: the network, the service or the instance was not well
    DEPLOYMENT = auto()  #: a right, or a part of the deployment, is missing
    GONE = auto()  #: the object is not there
    CUT_OFF = auto()  #: the object ends before what it says it holds
    MEMORY = auto()  #: more than MEMORY_LIMIT would be needed
    SERVER = auto()  #: PostgreSQL itself answered with an error, of which only its text is left, in its language
    CONTENT = auto()  #: what was read is broken, or holds a value that does not fit
    UNCLEAR = auto()  #: the way or what was read: it shows when the bytes are fetched, and read again


#: How DuckDB calls a failure of the way to what it reads, and of an instance that an earlier failure spoiled.
_LATER = {"HTTP", "Connection", "INTERRUPT", "FATAL", "TransactionContext"}
#: How it calls what may be either: it reads files and the network as IO, and what its libraries throw has no name, or
#: this one in a stream.
_UNCLEAR = {"IO", "", "Invalid"}
#: What libcurl says of a way that failed, bare or with the request (https://curl.se/libcurl/c/libcurl-errors.html).
_BY_THE_WAY = re.compile(
    r".* error for HTTP [A-Z]+ to |(?:(?:IO|Invalid) Error: )?(?:(?:Could not|Couldn't) (?:resolve|connect)"
    r"|Weird server reply|Transferred a partial file|Timeout was reached|SSL (?:connect|peer)|Server returned nothing"
    r"|Failed sending data|Failure when receiving data|Stream error in the HTTP|Error in the HTTP|HTTP/3 error"
    r"|QUIC connection error)"
)
_STATUS = re.compile(r"\bHTTP (\d+)\b")
_CUT_OFF = "incorrectly set page offsets"
#: What DuckDB's reader of Parquet says of what it does not read
#: (https://github.com/duckdb/duckdb/blob/main/extension/parquet/parquet_reader.cpp).
_OF_PARQUET = {
    "is encrypted": "is encrypted",
    "at least one non-root column": "has no columns",
}
#: How the extension for PostgreSQL tells of a query that failed there, by what libpq says after it; and how libpq hands
#: on what the server said: its severity in its language, a colon and two spaces. What broke the connection has none
#: (https://github.com/duckdb/duckdb-postgres/blob/main/src/postgres_connection.cpp).
_IN_POSTGRESQL = re.compile(
    r"(?:(?:Binder|IO) Error: )?(?:Failed to (?:execute query|prepare|describe prepared|fetch header)"
    r"|Unable to (?:connect to Postgres|read binary COPY))"
)
_SERVER_SAID = re.compile(r": \w+:  ")


def connect(extension: str, settings: Mapping[str, str | int]) -> duckdb.DuckDBPyConnection:
    """A new instance with one of DuckDB's extensions, from the package of its name.

    Raises ConfigurationError when the package is not there, or is made for another version of DuckDB.
    """
    import duckdb

    # Where DuckDB takes the process for a shell, the first connection shows a bar on standard output, which is the log,
    # of whatever takes it two seconds. A cursor shows none, not even while a first statement would forbid it.
    instance = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",  # /tmp is memory in a function: spilling there would only hide the need
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            **settings,
        }
    ).cursor()
    try:
        package = import_module(PACKAGES + extension)
        (file,) = Path(str(package.__file__)).parent.glob(f"extensions/*/{extension}.duckdb_extension")
        instance.execute(f"LOAD {literal(str(file))}")
    except (ImportError, ValueError, duckdb.Error) as e:
        instance.close()
        raise ConfigurationError(
            f"DuckDB can't load its extension {extension} ({type(e).__name__})",
            remedy="Deploy the versions of DuckDB and its extensions that the lock file names",
        ) from e
    return instance


def kind(e: Exception) -> str:
    """The name that DuckDB gives an error's type, such as `IO` or `Out of Memory`; empty where it gives none.

    It begins the message, which is all that is left when a stream of Arrow batches hands an error on as an OSError.
    What follows may quote a value, so nothing else of it is looked at.
    """
    found = re.match(r"([A-Za-z]+(?: [A-Za-z]+)*) Error: ", str(e))
    return found[1] if found else ""


def status(e: Exception) -> int | None:
    """The HTTP status that DuckDB was answered with; 0 where it can't tell. None when no HTTP was involved."""
    found = _STATUS.search(str(e)) if kind(e) in ("HTTP", "IO") else None
    return int(found[1]) if found else None


def fault(e: Exception) -> Fault:
    """What an error means that DuckDB raised, or that pyarrow raised for it."""
    code, kind_ = status(e), kind(e)
    if kind_ == "Out of Memory":
        return Fault.MEMORY
    if _IN_POSTGRESQL.match(str(e)):
        return Fault.SERVER if _SERVER_SAID.search(str(e)) else Fault.LATER
    if _CUT_OFF in str(e):
        return Fault.CUT_OFF
    if code is not None:
        return of_status(code)
    if kind_ in _LATER or (kind_ in _UNCLEAR and _BY_THE_WAY.match(str(e))):
        return Fault.LATER
    return Fault.UNCLEAR if kind_ in _UNCLEAR else Fault.CONTENT


def said_of_parquet(e: Exception) -> str | None:
    """What DuckDB's error says of a Parquet file as a whole, in our words; None of any other error."""
    return next((told for said, told in _OF_PARQUET.items() if said in str(e)), None)


def of_status(code: int) -> Fault:
    """What an HTTP status other than success means
    (https://cloud.google.com/storage/docs/json_api/v1/status-codes). 401 means a token that ended.
    """
    known = {401: Fault.LATER, 404: Fault.GONE, 408: Fault.LATER, 416: Fault.CUT_OFF, 429: Fault.LATER}
    return known.get(code, Fault.DEPLOYMENT if 400 <= code < 500 else Fault.LATER)


def literal(text: str) -> str:
    """A string of DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name in DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'
