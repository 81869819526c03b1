"""The catalog: every table and view that is kept in sync, read from one TOML file.

The file is validated whole: one error lists every mistake, each with its line and its path in the file.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from shared.errors import ConfigurationError
from shared.names import MAX_IDENTIFIER_BYTES, is_identifier
from shared.settings import DATASET_VARIABLES

ROOT = Path(__file__).parent.parent
CATALOG_FILE = Path(__file__).with_name("catalog.toml")
VIEWS_FOLDER = ROOT / "sql" / "views"


#: A view is built under its name and a timestamp of 21 characters, and makes room under that with `_old`.
MAX_VIEW_NAME = MAX_IDENTIFIER_BYTES - len("20260101T000000000000_") - len("_old")


class PgType(Enum):
    """A PostgreSQL column type, by the name `format_type` gives it.

    `sources` are the BigQuery types that can become it; a value that does not fit is found when it is loaded.
    """

    VARCHAR = ("character varying", ("STRING",))
    TEXT = ("text", ("STRING",))
    SMALLINT = ("smallint", ("INT64", "FLOAT64", "NUMERIC"))
    INTEGER = ("integer", ("INT64", "FLOAT64", "NUMERIC"))
    BIGINT = ("bigint", ("INT64", "FLOAT64", "NUMERIC"))
    REAL = ("real", ("FLOAT64", "INT64", "NUMERIC"))
    DOUBLE = ("double precision", ("FLOAT64", "INT64", "NUMERIC"))
    NUMERIC = ("numeric", ("NUMERIC", "INT64", "FLOAT64"))
    BOOLEAN = ("boolean", ("BOOL",))
    DATE = ("date", ("DATE",))
    TIMESTAMP = ("timestamp without time zone", ("TIMESTAMP", "DATETIME", "DATE"))
    JSON = ("json", ("JSON", "STRING"))
    JSONB = ("jsonb", ("JSON", "STRING"))
    GEOMETRY = ("geometry", ("GEOGRAPHY", "STRING", "BYTES"))

    def __init__(self, sql: str, sources: tuple[str, ...]) -> None:
        self.sql, self.sources = sql, sources


#: How the catalog may spell a type.
TYPE_NAMES: Mapping[str, PgType] = {
    **{t.sql: t for t in PgType},
    "varchar": PgType.VARCHAR,
    "decimal": PgType.NUMERIC,
    "timestamp": PgType.TIMESTAMP,
}


@dataclass(frozen=True)
class Column:
    """One column: the same name in BigQuery, Parquet and PostgreSQL."""

    name: str
    type: PgType


@dataclass(frozen=True)
class Table:
    """A BigQuery source and its PostgreSQL target. `dataset` is the variable that names the source's data set."""

    name: str
    source: str
    dataset: str
    columns: tuple[Column, ...]
    allow_empty: bool = False


@dataclass(frozen=True)
class View:
    """A materialized view: its Jinja2 template and the tables it reads."""

    name: str
    template: Path
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Catalog:
    """Everything that is kept in sync. `schema` is the PostgreSQL schema where readers find it."""

    schema: str
    tables: Mapping[str, Table]
    views: Mapping[str, View]

    def views_of(self, table: str) -> tuple[View, ...]:
        return tuple(view for view in self.views.values() if table in view.reads)


def load(file: Path = CATALOG_FILE, views_folder: Path = VIEWS_FOLDER) -> Catalog:
    """Read and validate the catalog. Raises ConfigurationError that lists every mistake."""
    text = file.read_text()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigurationError(f"is not TOML: {e}", where=str(file.name)) from None
    parser = _Parser(views_folder)
    catalog = parser.catalog(document)
    if parser.mistakes:
        lines = [f"{file.name}:{_line(text, path)}: {'.'.join(path)}: {what}" for path, what in parser.mistakes]
        raise ConfigurationError("\n".join(lines), where=f"{len(lines)} mistakes in the catalog")
    return catalog


type KeyPath = tuple[str, ...]


class _Parser:
    """Turns the document into dataclasses and collects (path, mistake) on the way."""

    def __init__(self, views_folder: Path) -> None:
        self._views_folder = views_folder
        self.mistakes: list[tuple[KeyPath, str]] = []

    def catalog(self, document: Mapping[str, object]) -> Catalog:
        self._known(document, (), {"schema", "tables", "views"})
        schema = self._text(document, (), "schema", default="public")
        if not is_identifier(schema):
            self._mistake(("schema",), "is no identifier")
        tables = {name: self._table(name, entry) for name, entry in self._entries(document, "tables")}
        views = {name: self._view(name, entry, tables) for name, entry in self._entries(document, "views")}
        for name in tables.keys() & views.keys():
            self._mistake(("views", name), "is also the name of a table")
        return Catalog(schema, tables, views)

    def _entries(self, document: Mapping[str, object], kind: str) -> Iterator[tuple[str, Mapping[str, object]]]:
        for name, entry in self._mapping(document, (), kind).items():
            if not is_identifier(name):
                self._mistake((kind, name), "is no identifier (letters, digits and _, 63 at most)")
            elif not isinstance(entry, dict):
                self._mistake((kind, name), f"should be a [{kind}.{name}] block")
            else:
                yield name, entry

    def _table(self, name: str, entry: Mapping[str, object]) -> Table:
        path = ("tables", name)
        self._known(entry, path, {"source", "dataset", "columns", "allow_empty"})
        source = self._text(entry, path, "source")
        if source and not is_identifier(source):
            self._mistake((*path, "source"), "is no BigQuery table id")
        dataset = self._text(entry, path, "dataset")
        if dataset and dataset not in DATASET_VARIABLES:
            self._mistake((*path, "dataset"), f"should be one of {', '.join(DATASET_VARIABLES)}")
        allow_empty = entry.get("allow_empty", False)
        if not isinstance(allow_empty, bool):
            self._mistake((*path, "allow_empty"), "should be true or false")
        columns = tuple(self._columns(self._mapping(entry, path, "columns"), (*path, "columns")))
        return Table(name, source, dataset, columns, bool(allow_empty))

    def _columns(self, entry: Mapping[str, object], path: KeyPath) -> Iterator[Column]:
        for name, spelling in entry.items():
            if not is_identifier(name):
                self._mistake((*path, name), "is no identifier (letters, digits and _, 63 at most)")
            elif not isinstance(spelling, str) or spelling not in TYPE_NAMES:
                self._mistake((*path, name), f"should have a type among {', '.join(sorted(TYPE_NAMES))}")
            else:
                yield Column(name, TYPE_NAMES[spelling])

    def _view(self, name: str, entry: Mapping[str, object], tables: Mapping[str, Table]) -> View:
        path = ("views", name)
        if len(name) > MAX_VIEW_NAME:
            self._mistake(path, f"is longer than {MAX_VIEW_NAME} characters")
        self._known(entry, path, {"template", "reads"})
        template = self._text(entry, path, "template")
        file = self._views_folder / template
        if template and (not template.endswith(".sql.jinja") or "/" in template):
            self._mistake((*path, "template"), "should be the name of a .sql.jinja file in sql/views")
        elif template and not file.is_file():
            self._mistake((*path, "template"), f"does not exist as {file}")
        reads = entry.get("reads")
        if not isinstance(reads, list) or not reads:
            self._mistake((*path, "reads"), "should list the tables that the view reads")
            reads = []
        for table in reads:
            if not isinstance(table, str) or table not in tables:
                self._mistake((*path, "reads"), f"names {table!r}, which is no table of this catalog")
        return View(name, file, tuple(str(table) for table in reads))

    def _known(self, entry: Mapping[str, object], path: KeyPath, known: set[str]) -> None:
        for key in entry.keys() - known:
            self._mistake((*path, key), f"is unknown here; known are {', '.join(sorted(known))}")

    def _text(self, entry: Mapping[str, object], path: KeyPath, key: str, default: str | None = None) -> str:
        value = entry.get(key, default)
        if isinstance(value, str) and value:
            return value
        self._mistake((*path, key), "is missing" if value is None else "should be text")
        return ""

    def _mapping(self, entry: Mapping[str, object], path: KeyPath, key: str) -> Mapping[str, object]:
        value = entry.get(key)
        if isinstance(value, dict) and value:
            return value
        self._mistake((*path, key), "is missing" if value is None else "should be a table with entries")
        return {}

    def _mistake(self, path: KeyPath, what: str) -> None:
        self.mistakes.append((path, what))


def _line(text: str, path: KeyPath) -> int:
    """The line where `path` stands, else that of its nearest ancestor: tomllib keeps no positions."""
    best, depth = 1, 0
    header: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        here: KeyPath
        if match := re.match(r"\s*\[([^\[\]]+)\]", line):
            here = header = _keys(match[1])
        elif match := re.match(r"""\s*([\w."'-]+)\s*=""", line):
            here = (*header, *_keys(match[1]))
        else:
            continue
        if len(here) > depth and here == path[: len(here)]:
            best, depth = number, len(here)
    return best


def _keys(dotted: str) -> KeyPath:
    return tuple(key.strip(" \"'") for key in dotted.split("."))
