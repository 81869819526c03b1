"""Names that both flows share, which parse and print: snapshot ids, hours, object versions, BigQuery's tables and jobs.

A value of one of these types is valid by construction. A text that does not parse is answered with None or ValueError,
and a caller never takes a name apart by hand.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

#: PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes
#: (https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS).
MAX_IDENTIFIER_BYTES = 63

#: How far a snapshot's id may lie ahead of the clock: further, it would keep every real one from being published.
AHEAD = timedelta(days=1)

#: How far two clocks may be apart: Cloud Scheduler's may be ahead of a function's.
SKEW = timedelta(minutes=1)

#: Earlier days are mistakes: nothing here is older.
EPOCH = date(1970, 1, 1)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SNAPSHOT_ID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_HOUR = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)", re.ASCII)
_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)

#: A project's id, which may have a domain before it, as `example.com:project`
#: (https://cloud.google.com/resource-manager/docs/creating-managing-projects), and a data set's
#: (https://cloud.google.com/bigquery/docs/datasets#dataset-naming).
_DATASET = re.compile(
    r"(?:(?P<project>(?:[a-z0-9][a-z0-9.-]{0,251}:)?[a-z][a-z0-9-]{0,61}[a-z0-9])\.)?(?P<dataset>[A-Za-z0-9_]{1,1024})"
)

#: What a table's id may have: bytes, categories of Unicode
#: (https://cloud.google.com/bigquery/docs/tables#table_naming). A dot, a quote and a backslash are in none of them.
_MAX_TABLE_ID_BYTES = 1024
_TABLE_ID_CATEGORIES = ("L", "M", "N", "Pc", "Pd", "Zs")


def is_identifier(text: str) -> bool:
    """Whether PostgreSQL and BigQuery can both carry this name, quoted, without cutting or escaping it."""
    return bool(_IDENTIFIER.fullmatch(text)) and len(text.encode()) <= MAX_IDENTIFIER_BYTES


def is_table_id(text: str) -> bool:
    """Whether BigQuery lets a table have this id."""
    fits = 0 < len(text.encode(errors="replace")) <= _MAX_TABLE_ID_BYTES
    return fits and all(unicodedata.category(letter).startswith(_TABLE_ID_CATEGORIES) for letter in text)


def planned(scheduled: datetime | None, now: datetime) -> datetime:
    """The instant that a call is for: that of its schedule, the same on each retry, unless that is yet to come. A job
    that somebody runs by hand may carry the time of its next turn.
    """
    return now if scheduled is None or scheduled > now + SKEW else scheduled


def format_day(day: date) -> str:
    """`YYYYMMDD`, which strftime does not write of years before 1000."""
    return day.isoformat().replace("-", "")


def parse_day(text: str) -> date:
    """`YYYYMMDD` as a date. Raises ValueError."""
    match = _DAY.fullmatch(text)
    if match is None:
        raise ValueError("a date is written YYYYMMDD")
    return date(*map(int, match.groups()))


@dataclass(frozen=True, order=True)
class SnapshotId:
    """The identity of one complete export of one table, `YYYYMMDDTHHMMSSZ`: ids order as their instants do."""

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a snapshot id needs a time zone")
        object.__setattr__(self, "at", self.at.astimezone(UTC).replace(microsecond=0))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError."""
        match = _SNAPSHOT_ID.fullmatch(text)
        if match is None:
            raise ValueError("a snapshot id is written YYYYMMDDTHHMMSSZ")
        year, month, day, hour, minute, second = map(int, match.groups())
        return cls(datetime(year, month, day, hour, minute, second, tzinfo=UTC))

    @classmethod
    def midnight(cls, day: date) -> Self:
        return cls(datetime(day.year, day.month, day.day, tzinfo=UTC))

    def __str__(self) -> str:
        # strftime('%Y') does not pad years below 1000, which ADOPTED needs.
        return self.at.replace(tzinfo=None).isoformat().replace("-", "").replace(":", "") + "Z"


#: The snapshot under which the rows stand that a table held before its first publish. Older than any export.
ADOPTED = SnapshotId(datetime(1, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, order=True)
class Hour:
    """`[start, end)` of a time column in UTC, written `YYYYMMDDTHH`. Hours order as their instants do."""

    start: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise ValueError("an hour needs a time zone")
        start = self.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        object.__setattr__(self, "start", start)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError."""
        match = _HOUR.fullmatch(text)
        if match is None:
            raise ValueError("an hour is written YYYYMMDDTHH")
        return cls(datetime(*map(int, match.groups()), tzinfo=UTC))  # type: ignore[misc,arg-type]

    @classmethod
    def of_day(cls, day: date, number: int) -> Self:
        """Hour `number` (0-23) of a day. Raises ValueError."""
        return cls(datetime(day.year, day.month, day.day, number, tzinfo=UTC))

    @property
    def end(self) -> datetime:
        return self.start + timedelta(hours=1)

    @property
    def day(self) -> date:
        return self.start.date()

    @property
    def number(self) -> int:
        """0-23."""
        return self.start.hour

    def plus(self, hours: int) -> Self:
        return type(self)(self.start + timedelta(hours=hours))

    def until(self, end: Self) -> list[Self]:
        """The hours from this one to `end`, which is not among them."""
        return [self.plus(n) for n in range(int((end.start - self.start) / timedelta(hours=1)))]

    def __str__(self) -> str:
        return f"{format_day(self.day)}T{self.number:02d}"


@dataclass(frozen=True)
class ObjectVersion:
    """One immutable version of a Cloud Storage object: the identity of a part."""

    bucket: str
    name: str
    generation: int

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}#{self.generation}"


def underscored(environment: str) -> str:
    """The short name of an environment as a part of a data set's, which may have no dash
    (https://cloud.google.com/bigquery/docs/datasets#dataset-naming).
    """
    return environment.replace("-", "_")


@dataclass(frozen=True)
class DatasetRef:
    """A BigQuery data set, `dataset` or `project.dataset`. Without a project it is in the deployment's own."""

    project: str | None
    dataset: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError."""
        match = _DATASET.fullmatch(text)
        if match is None:
            raise ValueError("a data set is written dataset or project.dataset")
        return cls(match["project"], match["dataset"])

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}" if self.project else self.dataset


@dataclass(frozen=True)
class TableRef:
    """A BigQuery table, `project.dataset.table`."""

    project: str
    dataset: str
    table: str

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}"

    @property
    def quoted(self) -> str:
        """The reference as GoogleSQL quotes it."""
        return f"`{self.project}`.`{self.dataset}`.`{self.table}`"

    @property
    def aliased(self) -> str:
        """The reference in a statement that names columns: else a column that is called like the table is all of a row
        (https://cloud.google.com/bigquery/docs/schemas#column_names). No identifier is like the alias.
        """
        return f"{self.quoted} AS `its rows`"


@dataclass(frozen=True)
class PartitionRef:
    """One day of a table partitioned by day, `project.dataset.table$YYYYMMDD`.

    There is no way to print it without its decorator: a load that truncates would empty the whole table
    (https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#write-to-partition).
    """

    table: TableRef
    day: date

    def __str__(self) -> str:
        return f"{self.table}${format_day(self.day)}"


@dataclass(frozen=True)
class BatchId:
    """Rows of one hour that travel together: the first export is number 1, each lot of late rows is the next.

    `attempt` is a token that no other try at this export has.
    """

    hour: Hour
    number: int
    attempt: str

    def __str__(self) -> str:
        return f"{self.hour}-{self.number}-{self.attempt}"


@dataclass(frozen=True)
class JobName:
    """The id of a BigQuery job, derived from what the job is for, so that asking twice means the same job.

    Ids may hold letters, digits, `_` and `-`, 1,024 at most
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/JobReference).
    """

    step: str
    table: str
    of: SnapshotId | BatchId
    attempt: int

    def __str__(self) -> str:
        return f"recosync-{self.step}-{self.table}-{self.of}-{self.attempt}"
