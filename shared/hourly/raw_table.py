"""The raw table: what BigQuery holds of a log's hours, whichever job brought the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from shared.catalog import IMPORT_HOUR, HourlyTable
from shared.gcp.bigquery import BigQuery, FieldDocument
from shared.hourly import schema
from shared.hourly.manifest import NOTHING, Content
from shared.names import Hour, TableRef
from shared.settings import HourlySettings


def reference(settings: HourlySettings, log: HourlyTable) -> TableRef:
    """The table of a log in this deployment."""
    return log.target.ref(settings.project, settings.environment)


@dataclass(frozen=True)
class RawTable:
    """One log's table in BigQuery. `location` is that of its data set, in which its queries and loads run."""

    bigquery: BigQuery
    ref: TableRef
    location: str
    log: HourlyTable

    @property
    def schema(self) -> Sequence[FieldDocument]:
        return schema.schema(self.log)

    def of_hour(self, hour: Hour) -> Content:
        """What the table holds of an hour."""
        return self.of_day(hour.day, hour.number, hour.number).get(hour, NOTHING)

    def of_day(self, day: date, first: int = 0, last: int = 23) -> dict[Hour, Content]:
        """What the table holds of the hours of a day; an hour of which it holds nothing is left out.

        The filter on the partition and on the first clustering column bounds what is read
        (https://cloud.google.com/bigquery/docs/clustered-tables#block-pruning). In a table that was adopted, rows of
        another job have no import_hour: their time alone says of which hour they are. Their day may be a local one, or
        that on which they came. Both begin a day before the UTC day at the earliest, and `ensure` refuses a table with
        earlier ones. The sum of keys can exceed an INT64.
        """
        key, of = f"`{self.log.key}`", self._hour
        found = self.bigquery.rows(
            self.location,
            f"SELECT {of}, COUNT(*), CAST(SUM(CAST({key} AS NUMERIC)) AS STRING), BIT_XOR({key})"
            f" FROM {self.ref.aliased} WHERE {self._within(day, first, last)} GROUP BY 1",
        )
        return {
            Hour.of_day(day, int(str(number))): Content.of(count, _whole(key_sum), xor)
            for number, count, key_sum, xor in found
            if number is not None and first <= int(str(number)) <= last
        }

    def keys(self, hour: Hour) -> list[int]:
        """The keys of the rows that the table holds of an hour, one of each row."""
        query = f"SELECT `{self.log.key}` FROM {self.ref.aliased} WHERE {self._within(hour.day, hour.number)}"
        return [int(str(key)) for (key,) in self.bigquery.rows(self.location, query) if key is not None]

    def deletion(self, hour: Hour) -> str:
        """The statement that deletes what the table holds of an hour, all of it or nothing."""
        return f"DELETE FROM {self.ref.aliased} WHERE {self._within(hour.day, hour.number)}"

    @property
    def _hour(self) -> str:
        """The number of a row's hour. A row of before an adoption has none but that of its time."""
        hour = f"`{IMPORT_HOUR}`"
        return f"COALESCE({hour}, EXTRACT(HOUR FROM `{self.log.time}`))" if self.log.target.declared else hour

    def _within(self, day: date, first: int, last: int | None = None) -> str:
        """Which rows are of the hours of a day, the last among them, as `of_day` has it. The numbers and the day come
        from types that hold nothing else.
        """
        time, hour, of = f"`{self.log.time}`", f"`{IMPORT_HOUR}`", f"DATE '{day.isoformat()}'"
        by_time = self.log.target.partition_by == self.log.time
        partition = f"DATE({time})" if by_time else f"`{self.log.day}`"
        numbers = (first, first if last is None else last)
        rows = f"{partition} = {of} AND {hour} BETWEEN {numbers[0]:d} AND {numbers[1]:d}"
        if not self.log.target.declared:
            return rows
        earliest = f"{partition} >= DATE_SUB({of}, INTERVAL 1 DAY) OR {partition} IS NULL"
        within = f"{partition} = {of}" if by_time else earliest
        of_before = f"{hour} IS NULL AND DATE({time}) = {of}"
        clock = f"EXTRACT(HOUR FROM {time}) BETWEEN {numbers[0]:d} AND {numbers[1]:d}"
        return f"({within}) AND ({rows} OR {of_before} AND {clock})"


def _whole(number: object) -> object:
    """A NUMERIC's text up to its point: BigQuery's has none for a whole number, its emulator's nine zeros."""
    return str(number).partition(".")[0] if number is not None else None
