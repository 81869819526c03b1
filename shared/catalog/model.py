"""What the catalog says: tables, views and hourly tables, as values that are valid by construction of the parser."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.catalog.source import DatasetVariable, Source
from shared.catalog.types import BigQueryType, PgType
from shared.names import MAX_IDENTIFIER_BYTES, DatasetRef, Hour, TableRef, is_identifier, underscored

ROOT = Path(__file__).parent.parent.parent

#: The variable that names a deployment's own folder.
FOLDER_VARIABLE = "RECOSYNC_CATALOG"


#: Where readers find tables, views and logs unless the catalog says otherwise.
DEFAULT_SCHEMA = "public"

#: A view is built under its name and a timestamp of 21 characters, and makes room under that with `_old`.
MAX_VIEW_NAME = MAX_IDENTIFIER_BYTES - len("20260101T000000000000_") - len("_old")


@dataclass(frozen=True)
class Place:
    """Where a catalog lies: its file, and the folder with the templates of its views."""

    file: Path
    views: Path

    @property
    def terraform(self) -> Path:
        """The file with what Terraform needs to know of the catalog."""
        return self.file.parent / "terraform.json"

    @staticmethod
    def of(path: Path) -> Place:
        """A deployment's own folder, or the file in it. Where that has no templates, the shipped ones count."""
        file = path / "catalog.toml" if path.is_dir() else path
        views = file.parent / "views"
        return Place(file, views if views.is_dir() else SHIPPED.views)

    @staticmethod
    def here() -> Place:
        """The folder that the environment names, or what is shipped: a function has its own catalog in that place."""
        named = os.environ.get(FOLDER_VARIABLE)
        return Place.of(Path(named)) if named else SHIPPED


SHIPPED = Place(ROOT / "shared" / "catalog.toml", ROOT / "sql" / "views")


@dataclass(frozen=True)
class Column:
    """One column: the same name in BigQuery, Parquet and PostgreSQL."""

    name: str
    type: PgType


#: The most columns of a table, and bytes of a row, in PostgreSQL (https://www.postgresql.org/docs/current/limits.html,
#: https://www.postgresql.org/docs/current/storage-page-layout.html). Long values are stored apart.
MAX_COLUMNS, MAX_ROW_BYTES = 1600, 8160

_ROW_HEADER_BYTES = 24

#: The bytes of a value, and what the place where it starts is a multiple of. One of any other type has 1 at least.
_BYTES = {
    PgType.SMALLINT: (2, 2),
    PgType.INTEGER: (4, 4),
    PgType.BIGINT: (8, 8),
    PgType.REAL: (4, 4),
    PgType.DOUBLE: (8, 8),
    PgType.DATE: (4, 4),
    PgType.TIME: (8, 8),
    PgType.TIMESTAMP: (8, 8),
    PgType.TIMESTAMPTZ: (8, 8),
    PgType.INTERVAL: (16, 8),
    PgType.UUID: (16, 1),
}


def least_row_bytes(columns: Sequence[Column]) -> int:
    """What a row of these columns needs in PostgreSQL if none is NULL."""
    end = _ROW_HEADER_BYTES
    for column in columns:
        size, step = _BYTES.get(column.type.plain, (1, 1))
        end += -end % step + size
    return end + -end % 8


def could_be_of_another(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether columns that are not the `wanted` ones of this catalog may be those of another version of the catalog: a
    version that has more or fewer columns, or other names. The same columns in another order are a mistake, and so are
    names that no catalog takes.
    """
    named = len(found) == len(set(found)) > 0 and all(is_identifier(name) for name in found)
    return named and set(found) != set(wanted)


@dataclass(frozen=True)
class Limits:
    """By how much a snapshot may differ from the published one before a human is asked. Shares are of 1.

    `shrink` and `growth` are shares of the published rows; `null_share` is what a column's share of NULLs may rise by,
    `duplicate_keys` what the number of rows may rise by whose key an earlier row has. `source_age` is how many hours
    before the export the source may have been changed last.
    """

    shrink: float = 0.3
    growth: float = 1.0
    null_share: Mapping[str, float] = field(default_factory=dict)
    duplicate_keys: int = 0
    source_age: int | None = None


@dataclass(frozen=True)
class Index:
    """An index of a table's parts. `definition` is what follows the table's name in CREATE INDEX
    (https://www.postgresql.org/docs/current/sql-createindex.html).
    """

    definition: str

    @property
    def digest(self) -> str:
        """What tells the definition from all others in the name of an index."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Table:
    """A BigQuery source and its PostgreSQL target in `schema`. `key` are the columns that tell its rows apart, if any
    do.
    """

    name: str
    source: Source
    columns: tuple[Column, ...]
    allow_empty: bool = False
    key: tuple[str, ...] = ()
    limits: Limits = Limits()
    indexes: tuple[Index, ...] = ()
    schema: str = DEFAULT_SCHEMA


@dataclass(frozen=True)
class View:
    """A materialized view: its Jinja2 template and the tables it reads."""

    name: str
    template: Path
    reads: tuple[str, ...]
    schema: str = DEFAULT_SCHEMA


#: The columns that BigQuery has besides the log's own: the day and hour (0-23, UTC) of its time column.
IMPORT_DATE, IMPORT_HOUR = "import_date", "import_hour"

#: What stands for ENV_SHORT_NAME in the data set of a log.
ENVIRONMENT = "{env}"

#: The data set of a log that names none.
RAW_DATASET = f"raw_{ENVIRONMENT}"

#: The minute of the hour at which Cloud Scheduler calls for a log that names none.
MINUTE = 5


@dataclass(frozen=True)
class HourlyColumn:
    """One column of a log: the same name in PostgreSQL, Parquet and BigQuery. The `target` of an array is that of its
    elements.

    `refuse_excess_scale` makes decimals with more digits than the BigQuery type has an error, not a rounding.
    `empty_for_null` makes an array that is NULL an empty one, which is all that BigQuery has for it, not an error.
    """

    name: str
    type: PgType
    target: BigQueryType
    refuse_excess_scale: bool = False
    empty_for_null: bool = False

    @property
    def bigquery(self) -> str:
        """The column's type in GoogleSQL."""
        return f"ARRAY<{self.target.name}>" if self.type.array else self.target.name

    @property
    def clusterable(self) -> bool:
        return self.target.clusterable and not self.type.array


@dataclass(frozen=True)
class LogTarget:
    """The BigQuery table of a log. `dataset` is `dataset` or `project.dataset`, with `{env}` for ENV_SHORT_NAME;
    `partition_by` is the column by whose days the table is partitioned. `declared` says that the catalog names the
    table itself, so that it may hold rows of another job.
    """

    table: str
    dataset: str = RAW_DATASET
    partition_by: str = IMPORT_DATE
    cluster_by: tuple[str, ...] = ()
    declared: bool = False

    @property
    def ours(self) -> bool:
        """Whether the data set is the one that Terraform makes."""
        return self.dataset == RAW_DATASET

    def dataset_of(self, environment: str) -> DatasetRef:
        """The data set in an environment."""
        return DatasetRef.parse(self.dataset.replace(ENVIRONMENT, underscored(environment)))

    def ref(self, project: str, environment: str) -> TableRef:
        """The table itself, for a deployment in `project`."""
        of = self.dataset_of(environment)
        return TableRef(of.project or project, of.dataset, self.table)


@dataclass(frozen=True)
class HourlyTable:
    """A PostgreSQL log and its BigQuery target.

    `time` is the timestamp, in UTC or with a zone, that says to which hour a row belongs. `key` is the integer primary
    key. `start` is the first hour that is exported, HOURLY_START if the log says none. Cloud Scheduler calls at each
    hour's `minute`, and with `delete_from_source` has deleted what is verified.
    """

    name: str
    time: str
    key: str
    columns: tuple[HourlyColumn, ...]
    target: LogTarget
    start: Hour | None = None
    minute: int = MINUTE
    delete_from_source: bool = False

    @property
    def day(self) -> str:
        """The BigQuery column with the day of a row's time: the one that the table is partitioned by, unless that is
        the time itself.
        """
        return IMPORT_DATE if self.target.partition_by == self.time else self.target.partition_by


@dataclass(frozen=True)
class Catalog:
    """Everything that is kept in sync. `schema` is the PostgreSQL schema of the logs, and of each table and view that
    names no other.
    """

    schema: str
    tables: Mapping[str, Table]
    views: Mapping[str, View]
    hourly: Mapping[str, HourlyTable]

    @property
    def dataset_variables(self) -> tuple[str, ...]:
        """The variables of the environment that name data sets of sources, each once."""
        of = (table.source.dataset for table in self.tables.values())
        return tuple(dict.fromkeys(each.name for each in of if isinstance(each, DatasetVariable)))

    def views_of(self, table: str) -> tuple[View, ...]:
        return tuple(view for view in self.views.values() if table in view.reads)

    def path_of(self, view: View) -> tuple[str, ...]:
        """The schemas where a template finds what it names without one: the view's own, those of the tables that the
        view reads, and the catalog's.
        """
        reads = (self.tables[name].schema for name in view.reads)
        return tuple(dict.fromkeys((view.schema, *reads, self.schema)))
