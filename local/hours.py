"""A log hour by hour: do PostgreSQL, the Parquet objects and BigQuery hold the same rows?

What is counted is asked of each system itself; the manifest only tells how far an hour is.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pyarrow.parquet as pq
from google.api_core.exceptions import NotFound
from psycopg import sql

from local.cloud import Deployment
from shared import catalog
from shared.catalog import HourlyTable

_PART = re.compile(r"/date=(\d{8})/hour=(\d\d)/part-[^/]*\.parquet$")
_IN_POSTGRES = """
SELECT date_trunc('hour', {time}::timestamptz), array_agg({key} ORDER BY {key}) FROM {log} GROUP BY 1
"""


@dataclass(frozen=True)
class Hour:
    """One hour of the log: the ids in each system, sorted, and what its manifest says."""

    at: datetime
    postgres: list[int]
    parquet: list[int]
    bigquery: list[int]
    entry: Mapping[str, Any]

    @property
    def agree(self) -> bool:
        """Whether all have the same rows, none of them twice."""
        return self.postgres == self.parquet == self.bigquery and len(set(self.postgres)) == len(self.postgres)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.entry.get("state") == ("done" if self.postgres else "empty")

    @property
    def late_batches(self) -> int:
        """Batches of rows that came when the hour was done already."""
        return max(0, len(self.entry.get("batches", [])) - 1)


def ask(here: Deployment, log: HourlyTable, expected: Iterable[datetime]) -> list[Hour]:
    """Every expected hour, and whatever other one some system has rows of."""
    postgres, parquet, bigquery = _in_postgres(here, log), _in_parquet(here, log), _in_bigquery(here, log)
    return [
        Hour(at, postgres.get(at, []), parquet.get(at, []), bigquery.get(at, []), entry(here, log, at))
        for at in sorted({*expected, *postgres, *parquet, *bigquery})
    ]


def entry(here: Deployment, log: HourlyTable, hour: datetime) -> Mapping[str, Any]:
    """What the manifest of its day says of an hour now; nothing when it has not begun."""
    name = f"{_folder(here, log)}/manifests/{hour:%Y%m%d}.json"
    try:
        manifest = json.loads(here.storage_client.bucket(here.hourly_bucket).blob(name).download_as_bytes())
    except NotFound:
        return {}
    found: Mapping[str, Any] = manifest["hours"].get(f"{hour:%H}", {})
    return found


def _in_postgres(here: Deployment, log: HourlyTable) -> dict[datetime, list[int]]:
    names = {"time": sql.Identifier(log.time), "key": sql.Identifier(log.key)}
    relation = sql.Identifier(catalog.load(here.place).schema, log.name)
    # Times without a zone are in UTC, and so is the session.
    with psycopg.connect(here.dsn, options="-c timezone=UTC") as connection:
        found = connection.execute(sql.SQL(_IN_POSTGRES).format(log=relation, **names))
        return {at.astimezone(UTC): ids for at, ids in found}


def _in_parquet(here: Deployment, log: HourlyTable) -> dict[datetime, list[int]]:
    """The ids in all parts that are there, whether a manifest names them or not: anybody may read the folder."""
    found: defaultdict[datetime, list[int]] = defaultdict(list)
    for blob in here.storage_client.list_blobs(here.hourly_bucket, prefix=f"{_folder(here, log)}/"):
        if match := _PART.search(blob.name):
            hour = datetime.strptime(match[1] + match[2], "%Y%m%d%H").replace(tzinfo=UTC)
            with blob.open("rb") as content:
                part = pq.ParquetFile(content)
                ids = part.read([log.key]).column(log.key).to_pylist()
                if len(ids) != part.metadata.num_rows:
                    raise ValueError(f"{blob.name}: its footer counts {part.metadata.num_rows} rows of {len(ids)}")
            found[hour] += ids
    return {hour: sorted(ids) for hour, ids in found.items()}


def _in_bigquery(here: Deployment, log: HourlyTable) -> dict[datetime, list[int]]:
    key, table = f"`{log.key}`", here.target(log).quoted
    query = f"SELECT import_date, import_hour, array_agg({key} ORDER BY {key}) FROM {table} GROUP BY 1, 2"
    rows = here.bigquery_client.query(query).result()
    return {_hour(day, hour): ids for day, hour, ids in (row.values() for row in rows)}


def _hour(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(hours=hour)


def _folder(here: Deployment, log: HourlyTable) -> str:
    return f"{here.env['HOURLY_PREFIX']}/{log.name}"
