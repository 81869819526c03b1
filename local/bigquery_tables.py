"""The tables of local-bigquery in DuckDB files, or in memory. In DuckLake, each statement is three times as expensive.

What DuckLake gave is made here: `FOR SYSTEM_TIME AS OF` reads a table as it stood, and a table tells when its rows last
changed. A statement that changes a table that is there keeps what it held in a schema of its own; a load does not, and
who asks for what stood before one is refused.
"""

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import duckdb
from local_bigquery.catalog import names, tabledata, tables
from local_bigquery.engine import database, types
from local_bigquery.engine.database import quote
from local_bigquery.errors import BigQueryError, not_found
from local_bigquery.jobs import query
from local_bigquery.jobs.storage import literal
from local_bigquery.models import JobStatistics2, Table, TableFieldSchema
from local_bigquery.settings import settings
from local_bigquery.sql import translate
from local_bigquery.sql.dialect import DuckDBDialect
from local_bigquery.sql.rules import partitions
from local_bigquery.sql.rules import tables as table_rules
from sqlglot import exp

from local import bigquery_rules

type Reference = tuple[str, ...]
"""Project, data set and table."""

_IN_MEMORY = bool(os.environ.get("IN_MEMORY"))
_KEPT = "_past"
# https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#for_system_time_as_of
_KEPT_SECONDS = 7 * 24 * 3600
_numbers = itertools.count()
_lock = threading.Lock()
_locks: defaultdict[Reference, threading.RLock] = defaultdict(threading.RLock)


@dataclass(frozen=True)
class _Change:
    """The rows of a table changed: when, in µs, and where the rows that it had before are kept, if they are."""

    at: int
    before: str | None


_changes: defaultdict[Reference, list[_Change]] = defaultdict(list)
# Where the statement that is run keeps what its table holds.
_before: ContextVar[str | None] = ContextVar("before", default=None)
_connect, _writing, _objects = database._connect, database.writing, database.objects
_load, _run = tables.load, query._run


def install() -> None:
    """Have local-bigquery keep its tables so. Before it serves."""
    database._connect = connect
    database._attach = _attach
    tables.physical = _physical
    database.projects = _projects
    database.objects = objects
    tables.columns = tabledata.columns = columns
    partitions._hidden = _hidden
    database.writing = writing
    tables.load = load
    query._run = run
    rules = translate.NODE_RULES
    rules[rules.index(table_rules.time_travel)] = time_travel


@cache
def connect() -> duckdb.DuckDBPyConnection:
    """local-bigquery's, without threads of its own: jobs have theirs, and most are too small to be shared out."""
    connection: duckdb.DuckDBPyConnection = _connect()
    connection.execute("SET threads = 1")
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, project: str) -> None:
    place = ":memory:" if _IN_MEMORY else f"{settings.data_dir / project}.duckdb"
    connection.execute(f"ATTACH IF NOT EXISTS '{place}' AS {quote(project)}")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(project, tables.RESULTS)}")
    database._attached.add(project)


def _physical(project: str, dataset: str, table: str) -> Reference:
    """Where a table is. What a query answers is in its project too: in one place for all, every look at a table would
    pass by the answers of every query that there ever was.
    """
    return project, dataset, table


def objects(project: str, dataset: str, table: str | None = None) -> list[tuple[str, str, int]]:
    """Name, kind and rows of a table or view, or of all in a data set.

    DuckDB's own list goes through every column of every database, so one table is asked for by its name.
    """
    if table is None:
        found: list[tuple[str, str, int]] = _objects(project, dataset, None)
        return found
    name = quote(project, dataset, table)
    try:
        database.fetch(f"SELECT rowid FROM {name} LIMIT 0")
    except duckdb.CatalogException:
        return []
    except duckdb.BinderException:
        return [(table, "VIEW", 0)]  # it has no row ids, or does not fit its tables any more
    return [(table, "TABLE", database.fetch(f"SELECT count(*) FROM {name}")[0][0])]


def columns(project: str, dataset: str, table: str) -> list[TableFieldSchema]:
    """The columns that a query of the table sees."""
    name = tables.name(project, dataset, table)
    try:
        required = {column for _, column, _, not_null, *_ in _described(name) if not_null}
        with database.cursor() as cur:
            relation = cur.sql(f"SELECT * FROM {name} LIMIT 0")
            return [
                types.field(column, kind, column in required)
                for column, kind in zip(relation.columns, relation.types, strict=True)
                if column != tables.INGESTION_TIME or dataset == tables.RESULTS
            ]
    except duckdb.CatalogException:
        raise not_found("Table", names.label(project, dataset, table)) from None


def _hidden(table: exp.Table) -> bool:
    """Whether a table is partitioned by the time of ingestion."""
    if not (table.catalog and table.db) or not isinstance(table.this, exp.Identifier):
        return False
    try:
        return any(column == tables.INGESTION_TIME for _, column, *_ in _described(quote(*_parts(table))))
    except duckdb.CatalogException:
        return False


def _described(name: str) -> list[tuple[int, str, str, bool, object, bool]]:
    """Number, name, type, NOT NULL, default and PRIMARY KEY of a table's columns. Raises CatalogException."""
    found: list[tuple[int, str, str, bool, object, bool]] = database.fetch(f"PRAGMA table_info({literal(name)})")
    return found


def forget(project: str) -> None:
    """Drop a project's tables with all their past."""
    with database.cursor() as cur:
        cur.execute(f"DETACH DATABASE IF EXISTS {quote(project)}")
    database._attached.discard(project)
    with _lock:
        for known in (_changes, _locks):
            for reference in [reference for reference in known if reference[0] == project]:
                del known[reference]
    for file in settings.data_dir.glob(f"{project}.duckdb*"):
        file.unlink()


def _projects() -> list[str]:
    return sorted(database._attached)


@contextmanager
def writing(*table: str) -> Iterator[None]:
    """local-bigquery's, which also notes the change."""
    with _writing(*table):
        yield
        _note(_key(table))


def load(project: str, dataset: str, table: str) -> Table:
    """A table's metadata, with its place and the time of the last change of its rows, in ms."""
    found = bigquery_rules.located(_load(project, dataset, table))
    changes = _changes.get(_key((project, dataset, table)))
    return found.replace(lastModifiedTime=str(changes[-1].at // 1000)) if changes else found


def run(
    cur: duckdb.DuckDBPyConnection, tree: exp.Expression, context: translate.Context, *others: object
) -> JobStatistics2:
    """Run a statement. No other changes what it reads of the past, or what it changes."""
    changed = _changed(tree, context)
    with ExitStack() as stack:
        for reference in sorted({*_travelled(tree, context), *([changed] if changed else [])}):
            stack.enter_context(_locks[reference])
        token = _before.set(_keep(changed) if changed else None)
        stack.callback(_before.reset, token)
        statistics = _run(cur, tree, context, *others)
        if changed and isinstance(tree, query.DDL):
            _note(changed)
    return statistics


def time_travel(node: exp.Expression, context: translate.Context) -> exp.Expression:
    """The table as it stood then, in place of `FOR SYSTEM_TIME AS OF`."""
    if not isinstance(node, exp.Table) or not (version := node.args.get("version")):
        return node
    node.set("version", None)
    moment = version.expression.sql(dialect=DuckDBDialect)
    ((at,),) = database.fetch(f"SELECT epoch_us(CAST({moment} AS TIMESTAMPTZ))")
    if not 0 <= time.time_ns() // 1000 - at <= _KEPT_SECONDS * 1_000_000:
        message = f"Invalid snapshot time for table {names.label(*_parts(node))}: in the future, or 7 days ago"
        raise BigQueryError("invalidQuery", message)
    later = next((change for change in _changes[_key(_parts(node))] if change.at > at), None)
    if later and later.before is None:
        message = f"Invalid snapshot time for table {names.label(*_parts(node))}: nothing is kept of what stood before"
        raise BigQueryError("invalidQuery", message)
    if later:
        node.set("db", exp.to_identifier(_KEPT, quoted=True))
        node.set("this", exp.to_identifier(later.before, quoted=True))
    return node


def _travelled(tree: exp.Expression, context: translate.Context) -> Iterator[Reference]:
    """The tables of which a statement reads the past."""
    for table in tree.find_all(exp.Table):
        if table.args.get("version"):
            yield _key(names.reference(table, context.project_id, context.dataset_id))


def _changed(tree: exp.Expression, context: translate.Context) -> Reference | None:
    """The table whose rows a statement changes."""
    of_table = isinstance(tree, query.DDL) and (tree.args.get("kind") or "").upper() == "TABLE"
    if of_table or isinstance(tree, names.DML):
        target = query._target(tree, context)
        return _key(target) if len(target) == 3 else None
    return None


def _keep(reference: Reference) -> str | None:
    """Copy a table, if it is there; the name of the copy."""
    if not tables.exists(*reference):
        return None
    name = f"{reference[1]}.{reference[2]} {next(_numbers)}"
    kept = quote(reference[0], _KEPT)
    database.execute(f"CREATE SCHEMA IF NOT EXISTS {kept}")
    database.execute(f"CREATE TABLE {kept}.{quote(name)} AS FROM {tables.name(*reference)}")
    return name


def _note(reference: Reference) -> None:
    with _lock:
        _changes[reference].append(_Change(time.time_ns() // 1000, _before.get()))


def _key(table: Reference) -> Reference:
    return tuple(part.casefold() for part in table)


def _parts(node: exp.Table) -> Reference:
    return node.catalog, node.db, node.name
