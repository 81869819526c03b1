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
        key, time, hour = f"`{self.log.key}`", f"`{self.log.time}`", f"`{IMPORT_HOUR}`"
        by_time = self.log.target.partition_by == self.log.time
        partition = f"DATE({time})" if by_time else f"`{self.log.day}`"
        of, rows = hour, f"{partition} = @day AND {hour} BETWEEN @first AND @last"
        if self.log.target.declared:
            of = f"COALESCE({hour}, EXTRACT(HOUR FROM {time}))"
            earliest = f"{partition} >= DATE_SUB(@day, INTERVAL 1 DAY) OR {partition} IS NULL"
            within = f"{partition} = @day" if by_time else earliest
            rows = f"({within}) AND ({rows} OR {hour} IS NULL AND DATE({time}) = @day)"
        found = self.bigquery.rows(
            self.location,
            f"SELECT {of}, COUNT(*), CAST(SUM(CAST({key} AS NUMERIC)) AS STRING), BIT_XOR({key})"
            f" FROM {self.ref.quoted} WHERE {rows} GROUP BY 1",
            day=day,
            first=first,
            last=last,
        )
        return {
            Hour.of_day(day, int(str(number))): Content.of(count, _whole(key_sum), xor)
            for number, count, key_sum, xor in found
            if number is not None and first <= int(str(number)) <= last
        }


def _whole(number: object) -> object:
    """A NUMERIC's text up to its point: BigQuery's has none for a whole number, its emulator's nine zeros."""
    return str(number).partition(".")[0] if number is not None else None
