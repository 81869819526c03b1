"""What the steps of a run work on: one log, where its hours stand, and where they go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from shared.catalog import IMPORT_DATE, IMPORT_HOUR, HourlyTable
from shared.errors import DataError
from shared.gcp.bigquery import BigQuery, FieldDocument
from shared.hourly import schema
from shared.hourly.manifest import NOTHING, Content, Part
from shared.hourly.names import LogFolder
from shared.hourly.store import Store
from shared.names import Hour, ObjectVersion, TableRef
from shared.rows.log_table import LogTable
from shared.services import HourlyServices


@dataclass(frozen=True)
class LogRun:
    """One run of the flow over one log. `start` is the first hour that the flow owns; `deadline` is of time.monotonic;
    `counts` says whether the ledger has a place for attempts.
    """

    services: HourlyServices
    log_table: LogTable
    store: Store
    start: Hour
    target: TableRef
    location: str
    deadline: float
    counts: bool

    @property
    def table(self) -> HourlyTable:
        return self.log_table.table

    @property
    def bucket(self) -> str:
        return self.services.settings.bucket

    @property
    def folder(self) -> LogFolder:
        return self.store.folder

    @property
    def schema(self) -> list[FieldDocument]:
        return list(schema.schema(self.table))

    def keys_of(self, parts: Iterable[Part]) -> list[ObjectVersion]:
        """The live objects with the parts' keys. Raises DataError for one that is gone, or is another.

        One that was deleted and restored has another generation, and the same content.
        """
        found = []
        for file in (part.keys for part in parts):
            stored = self.services.storage.find(self.bucket, file.name)
            if stored is None or (stored.bytes, stored.crc32c) != (file.bytes, file.crc32c):
                raise DataError(
                    "is not what was written" if stored else "is gone",
                    where=f"gs://{self.bucket}/{file.name}",
                    remedy="Restore it, then ask for its hour by date and hour",
                )
            found.append(stored.version)
        return found

    def in_bigquery(self, hour: Hour) -> Content:
        """What BigQuery holds of an hour, whoever brought it."""
        return self.day_in_bigquery(hour.day, hour.number, hour.number).get(hour, NOTHING)

    def day_in_bigquery(self, day: date, first: int = 0, last: int = 23) -> dict[Hour, Content]:
        """What BigQuery holds of the hours of a day that it holds anything of."""
        return day_in_bigquery(self.services.bigquery, self.target, self.location, self.table, day, first, last)


def day_in_bigquery(
    bigquery: BigQuery, target: TableRef, location: str, table: HourlyTable, day: date, first: int = 0, last: int = 23
) -> dict[Hour, Content]:
    """What BigQuery holds of the hours of a day that it holds anything of.

    The filter on the partition and on the first clustering column bounds what is read; the sum of keys can exceed an
    INT64.
    """
    key = f"`{table.key}`"
    rows = bigquery.rows(
        location,
        f"SELECT `{IMPORT_HOUR}`, COUNT(*), CAST(SUM(CAST({key} AS NUMERIC)) AS STRING), BIT_XOR({key})"
        f" FROM {target.quoted}"
        f" WHERE `{IMPORT_DATE}` = @day AND `{IMPORT_HOUR}` BETWEEN @first AND @last GROUP BY `{IMPORT_HOUR}`",
        day=day,
        first=first,
        last=last,
    )
    return {
        Hour.of_day(day, int(str(number))): Content.of(count, _whole(key_sum), xor)
        for number, count, key_sum, xor in rows
    }


def _whole(number: object) -> object:
    """A NUMERIC's text up to its point: BigQuery's has none for a whole number, its emulator's nine zeros."""
    return str(number).partition(".")[0] if number is not None else None
