"""The catalog's file. It is validated whole: one error lists every mistake, each with its line and its path."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

from shared.catalog.model import (
    DEFAULT_SCHEMA,
    ENVIRONMENT,
    IMPORT_DATE,
    IMPORT_HOUR,
    MAX_COLUMNS,
    MAX_ROW_BYTES,
    MAX_VIEW_NAME,
    MINUTE,
    RAW_DATASET,
    Catalog,
    Column,
    HourlyColumn,
    HourlyTable,
    Index,
    Limits,
    LogTarget,
    Place,
    Table,
    View,
    least_row_bytes,
)
from shared.catalog.source import DatasetVariable, Source
from shared.catalog.types import BigQueryType, PgType
from shared.errors import ConfigurationError, shown
from shared.names import EPOCH, DatasetRef, Hour, is_identifier, is_table_id
from shared.words import quantity

#: The size of a catalog that is read, and how many mistakes in it are told at once.
MAX_BYTES, MAX_TOLD = 1 << 20, 25

#: Bytes of a path that are shown.
MAX_PATH = 200

#: Letters of an index's definition.
MAX_INDEX = 1_000

#: Limits that no table needs to be above, and that no sum or date overflows with: growth by a million, the rows of any
#: table, and hours of a century.
MAX_GROWTH, MAX_ROWS, MAX_HOURS = 1_000_000, 10**15, 876_000

#: Of a table whose source is a mistake, which nobody gets to see.
_NOWHERE = Source(DatasetRef(None, "nowhere"), "nowhere")

#: https://cloud.google.com/bigquery/docs/clustered-tables#limitations
MAX_CLUSTERING = 4

#: No column of BigQuery begins like this, in whatever case (https://cloud.google.com/bigquery/docs/schemas#column_names).
RESERVED_PREFIXES = (
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
)

#: https://www.postgresql.org/docs/current/ddl-system-columns.html
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})

LEDGER_SCHEMA = "recosync"

#: Of which PostgreSQL and BigQuery can't both tell which are the same, or do it otherwise.
INCOMPARABLE = (
    *(PgType.JSON, PgType.GEOMETRY, PgType.GEOGRAPHY),
    *(PgType.INTERVAL, PgType.VECTOR, PgType.HALFVEC),
)

type KeyPath = tuple[str, ...]

#: The relations of that schema: tables, what belongs to them, parts, and the view of all that.
_LEDGER_NAME = re.compile(
    r"(?:attempt|building|catalog_entry|export_run|failing|failure|freshness|hold|migration|part|pin|publication|receipt|refreshed|snapshot"
    r"|snapshot_part|view_build)"
    r"(?:_pkey|_id_seq|_by_\w+|_staged_once|_confirmed|_\d+(?:_kept_[0-9a-f]{12})?)?"
)

#: The name of a template; a file's has 255 bytes at most.
_TEMPLATE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,189}\.sql\.jinja")

#: Keys, and the lines that begin with them (https://toml.io/en/v1.0.0#keys).
_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
#: Columns of an index, each with its order.
_COLUMNS_OF_INDEX = re.compile(r"(?!USING\s)\w+( (ASC|DESC))?(, ?\w+( (ASC|DESC))?)*", re.ASCII | re.IGNORECASE)
_HEADER = re.compile(rf"[ \t]*\[[ \t]*({_DOTTED})[ \t]*\]")
_ENTRY = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")


def load(place: Place | None = None) -> Catalog:
    """Read and validate a catalog, by default this deployment's. Raises ConfigurationError that lists every mistake."""
    place = place or Place.here()
    return parse(text_of(place.file), place)


def parse(text: str, place: Place) -> Catalog:
    """The catalog that a text is, in that place. Raises ConfigurationError that lists every mistake."""
    file = place.file
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigurationError(f"is not TOML: {e}", where=file.name) from None
    except (ValueError, RecursionError):
        # What tomllib leaves to Python: numbers of 4,300 digits, and as much nesting as Python does not take.
        raise ConfigurationError(
            "is not TOML: it has too long a number, or is nested too deeply", where=file.name
        ) from None
    parser = _Parser(place.views)
    catalog = parser.catalog(document)
    if parser.mistakes:
        told = "\n".join(located(file, text, parser.mistakes, MAX_TOLD))
        raise ConfigurationError(told, where=f"{quantity(len(parser.mistakes), 'mistake')} in the catalog")
    return catalog


def located(file: Path, text: str, mistakes: Sequence[tuple[KeyPath, str]], most: int | None = None) -> Iterator[str]:
    """A line for each mistake, in the order of the file; of more than `most`, for the first."""
    lines = _lines(text)
    found = sorted((_line(lines, path), ".".join(path), what) for path, what in mistakes)
    for line, path, what in found[:most]:
        yield f"{file.name}:{line}: {shown(path, MAX_PATH)}: {what}"
    if most is not None and len(mistakes) > most:
        yield f"and {len(mistakes) - most} more"


def text_of(file: Path) -> str:
    """What the file holds; a byte order mark, which some editors write first, is none of it."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigurationError(f"can't be read ({e.strerror})", where=str(file)) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"has more than {MAX_BYTES} bytes", where=file.name)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ConfigurationError(f"is not in UTF-8: byte {e.start + 1}", where=file.name) from None


def is_ledger_name(name: str) -> bool:
    """Whether something in the ledger's schema has the name, or may get it. While the views of a table are built for
    other columns, what they are built from has the table's name there.
    """
    return bool(_LEDGER_NAME.fullmatch(name))


def unfit_name(name: str, taken: Mapping[str, str]) -> str | None:
    """Why BigQuery and PostgreSQL don't both let a column have the name, if they don't. `taken` are the names that
    others have, by these in small letters.
    """
    if not is_identifier(name):
        return "is no identifier (letters, digits and _, 63 at most)"
    if name.lower() in taken:
        return f"is taken by {taken[name.lower()]}: BigQuery does not tell names apart by their case"
    if name.upper().startswith(RESERVED_PREFIXES):
        return f"is a name that BigQuery reserves: none begins with {', '.join(RESERVED_PREFIXES)}"
    if name in SYSTEM_COLUMNS:
        return "is a system column of every PostgreSQL table"
    return None


class _Parser:
    """Turns the document into dataclasses and collects (path, mistake) on the way."""

    def __init__(self, views_folder: Path) -> None:
        self._views_folder = views_folder
        self._schema = DEFAULT_SCHEMA
        self.mistakes: list[tuple[KeyPath, str]] = []

    def catalog(self, document: Mapping[str, object]) -> Catalog:
        self._known(document, (), {"schema", "tables", "views", "hourly"})
        self._schema = self._schema_of(document, ())
        if not {"tables", "hourly"} & document.keys():
            self._mistake(("tables",), "is missing, and so is hourly: there is nothing to sync")
        tables = {name: self._table(name, entry) for name, entry in self._entries(document, "tables")}
        views = {name: self._view(name, entry, tables) for name, entry in self._entries(document, "views")}
        hourly = {name: self._hourly(name, entry) for name, entry in self._entries(document, "hourly")}
        self._refuse_shared(hourly.values())
        for kind, names, others, of in (
            ("views", views, tables, "a table"),
            ("hourly", hourly, tables, "a table"),
            ("hourly", hourly, views, "a view"),
        ):
            for name in names.keys() & others.keys():
                self._mistake((kind, name), f"is also the name of {of}")
        return Catalog(self._schema, tables, views, hourly)

    def _entries(self, document: Mapping[str, object], kind: str) -> Iterator[tuple[str, Mapping[str, object]]]:
        for name, entry in self._mapping(document, (), kind).items() if kind in document else ():
            if not is_identifier(name):
                self._mistake((kind, name), "is no identifier (letters, digits and _, 63 at most)")
            elif name.lower().startswith("pg_"):
                # Without a schema, the server's own relation of that name is found first.
                self._mistake((kind, name), "begins with pg_, as the server's own relations do")
            elif is_ledger_name(name):
                self._mistake((kind, name), f"is a name that the schema {LEDGER_SCHEMA} needs for itself")
            elif not isinstance(entry, dict):
                self._mistake((kind, name), f"should be a [{kind}.{name}] block")
            else:
                yield name, entry

    def _table(self, name: str, entry: Mapping[str, object]) -> Table:
        path = ("tables", name)
        self._known(entry, path, {"source", "dataset", "schema", "columns", "allow_empty", "key", "limits", "indexes"})
        source = self._source(entry, path)
        allow_empty = entry.get("allow_empty", False)
        if not isinstance(allow_empty, bool):
            self._mistake((*path, "allow_empty"), "should be true or false")
        columns = tuple(self._columns(self._mapping(entry, path, "columns"), (*path, "columns")))
        self._refuse_large(columns, (*path, "columns"))
        comparable = {c.name for c in columns if c.type.plain not in INCOMPARABLE and not c.type.array}
        key = entry.get("key", [])
        if not _is_choice(key, comparable, len(columns)):
            self._mistake(
                (*path, "key"),
                "should list some of the columns, none of json, geometry, geography, interval, an array or a vector",
            )
            key = []
        names = tuple(map(str, key if isinstance(key, list) else ()))
        limits = self._limits(entry, path, {c.name for c in columns}, names)
        indexes = tuple(self._indexes(entry.get("indexes", []), (*path, "indexes"), comparable))
        schema = self._schema_of(entry, path)
        return Table(name, source, columns, bool(allow_empty), names, limits, indexes, schema)

    def _schema_of(self, entry: Mapping[str, object], path: KeyPath) -> str:
        """The PostgreSQL schema that an entry names, or else the catalog's."""
        schema = self._text(entry, path, "schema", default=self._schema)
        here = (*path, "schema")
        if schema and not is_identifier(schema):
            self._mistake(here, "is no identifier")
        elif schema == LEDGER_SCHEMA:
            self._mistake(here, "is the ledger's")
        elif schema == "information_schema" or schema.startswith("pg_"):
            self._mistake(here, "is one of the server's own")
        return schema

    def _source(self, entry: Mapping[str, object], path: KeyPath) -> Source:
        """A table in the data set that a variable names, or a table with its data set in one text."""
        named = self._text(entry, path, "source")
        if "dataset" not in entry:
            return self._parsed(Source.parse, named, (*path, "source")) or _NOWHERE
        dataset = self._parsed(DatasetVariable, self._text(entry, path, "dataset"), (*path, "dataset"))
        if named and not is_table_id(named):
            self._mistake((*path, "source"), "is no BigQuery table id, as it should be beside dataset")
        elif named and dataset:
            return Source(dataset, named)
        return _NOWHERE

    def _parsed[T](self, parse: Callable[[str], T], text: str, path: KeyPath) -> T | None:
        try:
            return parse(text) if text else None
        except ValueError as e:
            self._mistake(path, str(e))
            return None

    def _indexes(self, given: object, path: KeyPath, columns: Set[str]) -> Iterator[Index]:
        """The indexes of a table: some of its columns, or what CREATE INDEX says after the table's name."""
        definitions = given if isinstance(given, list) else [None]
        if len(set(map(str, definitions))) < len(definitions):
            self._mistake(path, "name one index twice")
        for definition in definitions:
            text = definition.strip() if isinstance(definition, str) else ""
            named = [column.split(maxsplit=1) for column in text.split(",") if column.strip()]
            simple = _COLUMNS_OF_INDEX.fullmatch(text)
            whole = re.match(r"\(|USING\s", text, re.IGNORECASE)
            if not simple and re.match(r"UNIQUE\b", text, re.IGNORECASE):
                what = "can't be UNIQUE: the rows come in parts, and PostgreSQL sees a repeat within one part alone"
                self._mistake(path, f"{what}. The repeats of the table's `key` are counted over all: declare that")
            elif (
                not (simple or whole) or len(text) > MAX_INDEX or not text.isprintable() or ";" in text or "--" in text
            ):
                self._mistake(path, f"should list column names, “(…)” or “USING …”, of {MAX_INDEX} letters at most")
            elif simple and (strange := next((name for name, *_ in named if name not in columns), None)):
                self._mistake(path, f"name {strange}, which is no column of the table, or of json or geometry")
            else:
                quoted = ", ".join(" ".join((f'"{name}"', *order)) for name, *order in named)
                yield Index(f"({quoted})" if simple else text)

    def _refuse_large(self, columns: Sequence[Column], path: KeyPath) -> None:
        if len(columns) > MAX_COLUMNS:
            self._mistake(path, f"are {len(columns)}: a table of PostgreSQL has at most {MAX_COLUMNS}")
        elif (size := least_row_bytes(columns)) > MAX_ROW_BYTES:
            self._mistake(path, f"take {size} bytes in a row without NULL: PostgreSQL's has at most {MAX_ROW_BYTES}")

    def _limits(self, table: Mapping[str, object], path: KeyPath, columns: Set[str], key: Sequence[str]) -> Limits:
        """The limits of a table. NULLs in its key may not become more unless they say otherwise."""
        path = (*path, "limits")
        entry, default = table.get("limits", {}), Limits()
        if not isinstance(entry, dict):
            self._mistake(path, "should be a table with entries")
            entry = {}
        self._known(entry, path, {"shrink", "growth", "null_share", "duplicate_keys", "source_age"})
        given = entry.get("null_share", {})
        if not isinstance(given, dict) or not given.keys() <= columns:
            self._mistake((*path, "null_share"), "should be like { column = 0.1 }, of columns of the table")
            given = {}
        shares = {name: self._number(share, (*path, "null_share", name), 1) for name, share in given.items()}

        def limit(name: str, default: float, most: float) -> float:
            return self._number(entry.get(name, default), (*path, name), most)

        def whole(name: str, most: int) -> int | None:
            return int(self._number(entry[name], (*path, name), most, whole=True)) if name in entry else None

        return Limits(
            shrink=limit("shrink", default.shrink, 1),
            growth=limit("growth", default.growth, MAX_GROWTH),
            null_share=dict.fromkeys(key, 0.0) | shares,
            duplicate_keys=whole("duplicate_keys", MAX_ROWS) or 0,
            source_age=whole("source_age", MAX_HOURS),
        )

    def _number(self, value: object, path: KeyPath, most: float, *, whole: bool = False) -> float:
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if fits and isinstance(value, int | float) and 0 <= value <= most:
            return value
        self._mistake(path, f"should be a {'whole ' if whole else ''}number, from 0 to {most:,}")
        return 0

    def _columns(self, entry: Mapping[str, object], path: KeyPath) -> Iterator[Column]:
        taken: dict[str, str] = {}
        for name, spelling in entry.items():
            if not self._may_name_column(name, path, taken):
                continue
            try:
                yield Column(name, PgType.parse(spelling if isinstance(spelling, str) else ""))
            except ValueError as e:
                self._mistake((*path, name), str(e))

    def _view(self, name: str, entry: Mapping[str, object], tables: Mapping[str, Table]) -> View:
        path = ("views", name)
        if len(name) > MAX_VIEW_NAME:
            self._mistake(path, f"is longer than {MAX_VIEW_NAME} characters")
        self._known(entry, path, {"template", "reads", "schema"})
        template = self._text(entry, path, "template")
        file = self._views_folder / template
        if template and not _TEMPLATE.fullmatch(template):
            self._mistake(
                (*path, "template"), "should be the name of a .sql.jinja file among the templates, 200 letters at most"
            )
        elif template and not file.is_file():
            self._mistake((*path, "template"), f"does not exist as {file}")
        reads = entry.get("reads")
        if not isinstance(reads, list) or not reads:
            self._mistake((*path, "reads"), "should list the tables that the view reads")
            reads = []
        for table in reads:
            if not isinstance(table, str) or table not in tables:
                named = repr(table) if isinstance(table, str) and is_identifier(table) else "something"
                self._mistake((*path, "reads"), f"names {named}, which is no table of this catalog")
        return View(name, file, tuple(str(table) for table in reads), self._schema_of(entry, path))

    def _hourly(self, name: str, entry: Mapping[str, object]) -> HourlyTable:
        path = ("hourly", name)
        known = {"time", "key", "columns", "start", "minute", "delete_from_source"}
        self._known(entry, path, known | {"dataset", "table", "partition_by", "cluster_by"})
        time, key = self._text(entry, path, "time"), self._text(entry, path, "key")
        given = self._mapping(entry, path, "columns")
        partition_by = self._partition_by(entry, path, time, given)
        day = IMPORT_DATE if partition_by == time else partition_by
        columns = tuple(self._hourly_columns(given, (*path, "columns"), day))
        of = {column.name: column for column in columns}
        if time and (time not in of or of[time].bigquery != BigQueryType.TIMESTAMP.name):
            self._mistake((*path, "time"), "should name a timestamp column that becomes TIMESTAMP")
        if key and (key not in of or of[key].bigquery != BigQueryType.INT64.name):
            self._mistake((*path, "key"), "should name an integer column, the primary key")
        minute = self._number(entry.get("minute", MINUTE), (*path, "minute"), 59, whole=True)
        deletes = entry.get("delete_from_source", False)
        if not isinstance(deletes, bool):
            self._mistake((*path, "delete_from_source"), "should be true or false")
        target = self._target(name, entry, path, partition_by, {c.name for c in columns if c.clusterable} | {day})
        start = self._parsed(_hour, self._text(entry, path, "start"), (*path, "start")) if "start" in entry else None
        return HourlyTable(name, time, key, columns, target, start, int(minute), bool(deletes))

    def _target(
        self, name: str, entry: Mapping[str, object], path: KeyPath, partition_by: str, clusterable: Set[str]
    ) -> LogTarget:
        """The BigQuery table of a log."""
        dataset, table = self._text(entry, path, "dataset", RAW_DATASET), self._text(entry, path, "table", name)
        self._parsed(DatasetRef.parse, dataset.replace(ENVIRONMENT, "env"), (*path, "dataset"))
        if table and not is_table_id(table):
            self._mistake((*path, "table"), "is no BigQuery table id")
        cluster_by = entry.get("cluster_by", [])
        if not _is_choice(cluster_by, clusterable | {IMPORT_HOUR}, MAX_CLUSTERING):
            what = f"should list up to {MAX_CLUSTERING} of the columns or {IMPORT_HOUR}"
            self._mistake((*path, "cluster_by"), f"{what}, none of FLOAT64, TIME, BYTES, JSON or an ARRAY")
        columns = tuple(map(str, cluster_by if isinstance(cluster_by, list) else ()))
        declared = bool({"dataset", "table", "partition_by"} & entry.keys())
        return LogTarget(table, dataset, partition_by, columns, declared)

    def _partition_by(
        self, entry: Mapping[str, object], path: KeyPath, time: str, columns: Mapping[str, object]
    ) -> str:
        """The column by whose days the BigQuery table is partitioned. All rows of an hour have to be of one day of it:
        so the day is that of the time.
        """
        given, path = self._text(entry, path, "partition_by", IMPORT_DATE), (*path, "partition_by")
        if given in columns and given not in (time, IMPORT_DATE):
            self._mistake(
                path,
                f"should be {time}, or a column that the log does not have, which gets the day of {time}: rows of one"
                f" hour may have several days in {shown(given, MAX_PATH)}",
            )
        elif given and given != time and (wrong := unfit_name(given, {IMPORT_HOUR: IMPORT_HOUR})):
            self._mistake(path, wrong)
        else:
            return given
        return IMPORT_DATE

    def _refuse_shared(self, logs: Iterable[HourlyTable]) -> None:
        """Rows of another log in a log's table would be strangers there."""
        of: dict[tuple[str, str], str] = {}
        for log in logs:
            first = of.setdefault((log.target.dataset, log.target.table), log.name)
            if first != log.name:
                self._mistake(("hourly", log.name), f"has the BigQuery table of {first}: each log needs one of its own")

    def _hourly_columns(self, entry: Mapping[str, object], path: KeyPath, day: str) -> Iterator[HourlyColumn]:
        taken = {name.lower(): name for name in (day, IMPORT_HOUR)}
        for name, column in entry.items():
            here = (*path, name)
            if not self._may_name_column(name, path, taken):
                continue
            if not isinstance(column, dict):
                self._mistake(here, 'should be like { type = "bigint", bigquery = "INT64" }')
            else:
                yield from self._hourly_column(name, column, here)

    def _may_name_column(self, name: str, path: KeyPath, taken: dict[str, str]) -> bool:
        """Whether BigQuery and PostgreSQL both let a column have the name, which is then `taken`."""
        mistake = unfit_name(name, taken)
        if mistake is not None:
            self._mistake((*path, name), mistake)
            return False
        taken[name.lower()] = name
        return True

    def _hourly_column(self, name: str, entry: Mapping[str, object], path: KeyPath) -> Iterator[HourlyColumn]:
        self._known(entry, path, {"type", "bigquery", "excess_scale", "null_array"})
        spelling, target = self._text(entry, path, "type"), self._text(entry, path, "bigquery")
        excess_scale, null_array = entry.get("excess_scale", "round"), entry.get("null_array", "refuse")
        if excess_scale not in ("round", "refuse"):
            self._mistake((*path, "excess_scale"), 'should be "round" or "refuse"')
        if null_array not in ("empty", "refuse"):
            self._mistake((*path, "null_array"), 'should be "empty" or "refuse"')
        if not spelling:
            return
        try:
            type_ = PgType.parse(spelling, leaving=True)
        except ValueError as e:
            self._mistake((*path, "type"), str(e))
            return
        if "null_array" in entry and not type_.array:
            self._mistake((*path, "null_array"), "is for arrays")
        if target and target not in type_.targets:
            self._mistake((*path, "bigquery"), f"should be {' or '.join(type_.targets)} for {spelling}")
        elif target:
            of = BigQueryType[target.removeprefix("ARRAY<").removesuffix(">")]
            # Of other types no digits are in excess, and it says nothing.
            refuses = excess_scale == "refuse" and of in (BigQueryType.NUMERIC, BigQueryType.BIGNUMERIC)
            yield HourlyColumn(name, type_, of, refuses, null_array == "empty")

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


def _hour(text: str) -> Hour:
    """An hour in UTC since 1970. Raises ValueError."""
    hour = Hour.parse(text)
    if hour.day < EPOCH:
        raise ValueError("is before 1970")
    return hour


def _is_choice(value: object, among: Set[str], limit: int) -> bool:
    """Whether a value is a list of some of the names, each once."""
    return (
        isinstance(value, list)
        and len(value) <= limit
        and all(isinstance(name, str) and name in among for name in value)
        and len(set(value)) == len(value)
    )


def _lines(text: str) -> Mapping[KeyPath, int]:
    """The lines where keys and headers stand, because tomllib keeps no positions."""
    found: dict[KeyPath, int] = {}
    header: KeyPath = ()
    for number, line in enumerate(text.split("\n"), 1):
        if match := _HEADER.match(line):
            header = _keys(match[1])
            found.setdefault(header, number)
        elif match := _ENTRY.match(line):
            found.setdefault((*header, *_keys(match[1])), number)
    return found


def _line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line where `path` stands, else that of its nearest ancestor."""
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 1)


def _keys(dotted: str) -> KeyPath:
    """The keys of a dotted key, by TOML itself: quotes may hold dots and escapes."""
    try:
        document: object = tomllib.loads(f"{dotted} = 0")
    except (ValueError, RecursionError):
        return ()
    keys: list[str] = []
    while isinstance(document, dict):
        ((key, document),) = document.items()
        keys.append(key)
    return tuple(keys)
