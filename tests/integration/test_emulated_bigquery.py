"""What the emulated BigQuery is relied on for beyond its own tests: the past of a table, and when it changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import LoadJobConfig

TABLE = "seed_local.numbers"


def run(here, statement):
    return [row.values()[0] for row in here.bigquery_client.query(statement).result()]


def now():
    return datetime.now(UTC)


def as_of(here, at):
    return run(here, f"SELECT n FROM {TABLE} FOR SYSTEM_TIME AS OF TIMESTAMP '{at.isoformat()}' ORDER BY n")


def filled(here, *numbers):
    run(here, f"CREATE OR REPLACE TABLE {TABLE} AS SELECT n FROM UNNEST({list(numbers)}) AS n")
    return now()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (f"CREATE OR REPLACE TABLE {TABLE} AS SELECT 7 AS n", [7]),
        (f"INSERT INTO {TABLE} (n) VALUES (7)", [3, 4, 7]),
        (f"DELETE FROM {TABLE} WHERE n = 3", [4]),
        (f"UPDATE {TABLE} SET n = 7 WHERE n = 3", [4, 7]),
        (f"TRUNCATE TABLE {TABLE}", []),
    ],
    ids=["CREATE", "INSERT", "DELETE", "UPDATE", "TRUNCATE"],
)
def test_a_table_is_read_as_it_stood(here, change, left):
    first = filled(here, 1, 2)
    second = filled(here, 3, 4)
    run(here, change)
    assert as_of(here, first) == [1, 2]
    assert as_of(here, second) == [3, 4]
    assert as_of(here, now()) == left


def test_who_asks_for_what_is_not_kept_is_refused(here):
    before = now()
    first = filled(here, 1)
    with pytest.raises(BadRequest, match="Invalid snapshot time"):
        as_of(here, before)
    rows = [{"n": 2}]
    here.bigquery_client.load_table_from_json(
        rows, f"{here.project}.{TABLE}", job_config=LoadJobConfig(write_disposition="WRITE_APPEND")
    ).result()
    with pytest.raises(BadRequest, match="Invalid snapshot time"):
        as_of(here, first)
    assert as_of(here, now()) == [1, 2]


@pytest.mark.parametrize("off", [timedelta(minutes=1), -timedelta(days=7, minutes=1)])
def test_no_table_is_read_as_of_the_future_or_of_more_than_a_week_ago(here, off):
    filled(here, 1)
    with pytest.raises(BadRequest, match="Invalid snapshot time"):
        as_of(here, now() + off)


def test_a_table_tells_when_its_rows_last_changed(here):
    def modified():
        return here.bigquery_client.get_table(TABLE).modified

    filled(here, 1)
    made = modified()
    filled(here, 1)
    replaced = modified()
    run(here, f"SELECT n FROM {TABLE}")
    read = modified()
    run(here, f"INSERT INTO {TABLE} (n) VALUES (7)")
    assert made < replaced == read < modified() <= now()
