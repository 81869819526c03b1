"""Propose: the block that the catalog may have for a table that is there. Decisions only, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from shared.catalog import (
    IMPORT_DATE,
    IMPORT_HOUR,
    MAX_COLUMNS,
    MAX_ROW_BYTES,
    BigQueryType,
    Column,
    DatasetVariable,
    HourlyColumn,
    PgType,
    Source,
    least_row_bytes,
    roomy,
    unfit_name,
)
from shared.errors import shown
from shared.gcp.bigquery import Field
from shared.names import MAX_IDENTIFIER_BYTES, DatasetRef, TableRef
from shared.rows.log_table import Found
from shared.words import quantity

#: Columns that are counted as keys, and of how many of these each pair is. Each counted one is read whole.
MOST_SINGLE, MOST_PAIRED = 8, 5

#: Bytes of a comment, of which others may have written some.
_MAX_COMMENT = 500

#: Names that say that the rows are told apart by them, the clearest first.
_TELLING = (r"(?i)id|uuid|key|pk", r"(?i).*_(id|uuid|key|code|pk)|.*[a-z]Id", r".*")

#: Types by which rows are told apart, and whose values BigQuery can compare.
_OF_KEYS = (
    PgType.TEXT,
    PgType.VARCHAR,
    PgType.BIGINT,
    PgType.NUMERIC,
    PgType.DATE,
    PgType.TIMESTAMP,
    PgType.TIMESTAMPTZ,
)

#: What else a column may become, by what it is proposed to be.
_CHOICES = {
    "double precision[]": '"vector(n)" or "halfvec(n)" of pgvector takes arrays of n numbers',
    "geography": '"geometry" takes it too, on a plane',
}

#: What the time and the key of a log become.
_TIME, _KEY = BigQueryType.TIMESTAMP.name, BigQueryType.INT64.name

type Key = tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """A column that can't travel, and why."""

    column: str
    why: str


@dataclass(frozen=True)
class Counted:
    """What one query of the source counted: its rows, and of each candidate, the different values without NULL. By
    BigQuery's estimate, it read so many `bytes`.
    """

    rows: int
    values: dict[Key, int]
    bytes: int

    @property
    def key(self) -> Key:
        """The first candidate that every row has, and no two rows the same of; none where there is none."""
        unique = (key for key, found in self.values.items() if found == self.rows)
        return next(unique, ()) if self.rows else ()

    def __str__(self) -> str:
        rows = quantity(self.rows, "row")
        if self.key:
            return f"of {rows}, no two have the same, and none has NULL"
        single = ", ".join(name for name, *more in self.values if not more)
        return f"of {rows}, some have the same, or NULL, in each of {single}, and in pairs of these"


@dataclass(frozen=True)
class TableProposal:
    """A table's block. `counted` says why nothing was, where nothing was."""

    name: str
    source: Source
    columns: Sequence[Column]
    left_out: Sequence[LeftOut]
    counted: Counted | str

    @property
    def counts(self) -> Counted | None:
        return self.counted if isinstance(self.counted, Counted) else None

    @property
    def key(self) -> Key:
        return self.counts.key if self.counts else ()

    def block(self) -> str:
        """The block as it stands in the catalog."""
        return "\n".join([*self._head(), "", *self._columns(), *_told(self.left_out)]) + "\n"

    def _head(self) -> Iterator[str]:
        yield f"[tables.{self.name}]"
        if isinstance(self.source.dataset, DatasetVariable):
            yield f"source = {_text(self.source.table)}"
            yield f"dataset = {_text(self.source.dataset.name)}"
        else:
            yield f"source = {_text(str(self.source))}"
        if self.key:
            yield f"key = [{', '.join(map(_text, self.key))}]  {_comment(str(self.counted))}"
        else:
            yield _comment(f"no key: {self.counted}")

    def _columns(self) -> Iterator[str]:
        yield f"[tables.{self.name}.columns]"
        for column in self.columns:
            choice = _CHOICES.get(column.type.spelling)
            yield f'{column.name} = "{column.type.spelling}"' + (f"  # {choice}" if choice else "")


@dataclass(frozen=True)
class LogProposal:
    """A log's block. `time` is None, and `key` empty, where no column can be it; `indexed` says whether an index begins
    with `time`.
    """

    name: str
    time: str | None
    key: Key
    indexed: bool
    columns: Sequence[HourlyColumn]
    left_out: Sequence[LeftOut]
    counts: None = None

    def block(self) -> str:
        """The block as it stands in the catalog."""
        return "\n".join([*self._head(), "", *self._columns(), *_told(self.left_out)]) + "\n"

    def _head(self) -> Iterator[str]:
        yield f"[hourly.{self.name}]"
        if self.time is None:
            yield _comment("no time: no column is a timestamp")
        else:
            lacks = f'it needs an index: CREATE INDEX CONCURRENTLY ON "{self.name}" ("{self.time}")'
            yield f"time = {_text(self.time)}{'' if self.indexed else f'  {_comment(lacks)}'}"
        if not self.key:
            yield _comment("no key: no integer column is the primary key, or else unique and NOT NULL")
        else:
            yield f"key = {_text(*self.key)}"
        yield f"cluster_by = [{_text(IMPORT_HOUR)}]"

    def _columns(self) -> Iterator[str]:
        yield f"[hourly.{self.name}.columns]"
        for column in self.columns:
            others = [target for target in column.type.targets if target != column.bigquery]
            choice = f"  # or {' or '.join(map(_text, others))}" if others and column.name != self.time else ""
            if column.type.plain.element == PgType.NUMERIC and column.target is BigQueryType.FLOAT64:
                choice = "  # the nearest number: no decimal of BigQuery has all of its digits"
            said = f"type = {_text(column.type.spelling)}, bigquery = {_text(column.bigquery)}"
            if column.refuse_excess_scale:
                said += ', excess_scale = "refuse"'
            yield f"{column.name} = {{ {said} }}{choice}"


def log(name: str, found: Found) -> LogProposal:
    """What the catalog may have for a log that PostgreSQL has."""
    types: dict[str, PgType] = {}
    left_out: list[LeftOut] = []
    taken = {reserved: reserved for reserved in (IMPORT_DATE, IMPORT_HOUR)}
    for column, printed in found.columns.items():
        type_ = next(filter(None, map(_leaving, printed)), None)
        why = unfit_name(column, taken)
        if why is None and type_ is not None:
            taken[column.lower()] = column
            types[column] = type_
        else:
            left_out.append(LeftOut(column, why or f"is {printed[0]}, which becomes no type of BigQuery"))
    times = [column for column, type_ in types.items() if _TIME in type_.targets]
    time = next((column for column in times if column in found.indexed), next(iter(times), None))
    keys = [column for column in found.keys if column in types and _KEY in types[column].targets]
    columns = [_leaves(column, type_, as_time=column == time) for column, type_ in types.items()]
    return LogProposal(name, time, tuple(keys[:1]), time in found.indexed, columns, left_out)


def columns(fields: Sequence[Field]) -> tuple[list[Column], list[LeftOut]]:
    """The columns of a BigQuery table that can travel, each of the type that takes its values, and the others."""
    travel: list[Column] = []
    left_out: list[LeftOut] = []
    taken: dict[str, str] = {}
    for field in fields:
        type_ = roomy(field.sql, field.parameters)
        why = unfit_name(field.name, taken)
        if type_ is None:
            why = why or f"is {field.sql}, of which no type of PostgreSQL is made"
        elif why is None and len(travel) == MAX_COLUMNS:
            why = f"is one too many: a table of PostgreSQL has at most {MAX_COLUMNS}"
        elif why is None and least_row_bytes([*travel, Column(field.name, type_)]) > MAX_ROW_BYTES:
            why = f"finds no room: a row of PostgreSQL has at most {MAX_ROW_BYTES} bytes, long values aside"
        if why is not None or type_ is None:
            left_out.append(LeftOut(field.name, why or ""))
        else:
            taken[field.name.lower()] = field.name
            travel.append(Column(field.name, type_))
    return travel, left_out


def candidates(among: Sequence[Column]) -> list[Key]:
    """What may tell the rows apart: columns, those first that are called so, and then pairs of these."""
    named = [column.name for column in among if column.type.plain in _OF_KEYS]
    likely = sorted(named, key=lambda name: next(n for n, like in enumerate(_TELLING) if re.fullmatch(like, name)))
    single = likely[:MOST_SINGLE]
    return [*((name,) for name in single), *combinations(single[:MOST_PAIRED], 2)]


def count(source: TableRef, keys: Sequence[Key]) -> str:
    """The query that counts the rows, and the different values of each candidate, of rows without NULL in it. Such a
    count is exact (https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions#count).
    """
    return f"SELECT COUNT(*), {', '.join(map(_different, keys))} FROM {source.aliased}"


def source_of(ref: TableRef, project: str, datasets: Mapping[str, DatasetRef]) -> Source:
    """The table as the catalog names it: by the variable that names its data set, or with its project unless that is
    the deployment's own, whichever that is. `datasets` are those of the deployment in `project`, by their variables.
    """
    for variable, dataset in datasets.items():
        if (dataset.project or project, dataset.dataset) == (ref.project, ref.dataset):
            return Source(DatasetVariable(variable), ref.table)
    return Source(DatasetRef(None if ref.project == project else ref.project, ref.dataset), ref.table)


def name_of(table: str) -> str:
    """A table's id made a name that PostgreSQL and BigQuery both carry."""
    name = re.sub(r"\W", "_", table, flags=re.ASCII)
    return (f"_{name}" if name[0].isdigit() else name)[:MAX_IDENTIFIER_BYTES]


def _leaving(printed: str) -> PgType | None:
    """The type by the server's name of it, if it becomes a type of BigQuery."""
    try:
        type_ = PgType.parse(printed, leaving=True)
    except ValueError:
        return None
    return type_ if type_.targets else None


def _leaves(name: str, type_: PgType, *, as_time: bool) -> HourlyColumn:
    """The column as the first type of BigQuery that it becomes. A timestamp without a zone is an instant only where the
    log says so, as it does of its time. A decimal without limits may have more digits than any type of BigQuery: it
    becomes the widest, and what that does not hold is refused, not rounded.
    """
    element = type_.plain.element
    if element == PgType.TIMESTAMP and not as_time:
        return HourlyColumn(name, type_, BigQueryType.DATETIME)
    if element == PgType.NUMERIC and not type_.parameters:
        return HourlyColumn(name, type_, BigQueryType.BIGNUMERIC, refuse_excess_scale=True)
    return HourlyColumn(name, type_, BigQueryType[type_.element.targets[0]])


def _different(key: Key) -> str:
    quoted = [f"`{name}`" for name in key]
    if len(key) == 1:
        return f"COUNT(DISTINCT {quoted[0]})"
    # No STRUCT can be counted so.
    lacking = " OR ".join(f"{name} IS NULL" for name in quoted)
    return f"COUNT(DISTINCT IF({lacking}, NULL, TO_JSON_STRING(STRUCT({', '.join(quoted)}))))"


def _told(left_out: Sequence[LeftOut]) -> Iterator[str]:
    yield from (_comment(f"{each.column}: {each.why}") for each in left_out)


def _comment(text: str) -> str:
    """A comment of TOML, of one line whatever the text."""
    return f"# {shown(text.replace('\n', '\\n'), _MAX_COMMENT)}"


def _text(value: str) -> str:
    """A text of TOML: a name of others may have any letter but a quote or a backslash."""
    return f'"{value}"'
