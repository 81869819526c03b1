"""A BigQuery table that was there before: elsewhere, and with other partitions and clusters than a log's has."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from google.cloud.bigquery import SchemaField, Table, TimePartitioning

from shared.errors import DataError, TargetError
from shared.hourly import run
from shared.hourly.restore import Restore
from shared.names import Hour
from shared.operate import verify
from tests.kit.logs import at, create, named, number, with_tables

BLOCK = """
[hourly.visits]
time = "at"
key = "n"
dataset = "warehouse_{env}"
table = "site-visits"
partition_by = "PARTITION"
cluster_by = ["page"]

[hourly.visits.columns]
n = { type = "bigint", bigquery = "INT64" }
at = { type = "timestamp", bigquery = "TIMESTAMP" }
page = { type = "varchar", bigquery = "STRING" }
"""
PLACE = "warehouse_local.site-visits"
#: Rows that another job has brought, in an hour before the first that is ours, and in one of ours.
BEFORE, STRANGE = 8, 12
#: What the table is partitioned by, and how many days the day of those rows is after that of their time.
DAYS = {
    "at": ("at", 0),
    "day": ("day", 0),
    "day before": ("day", -1),
    "day after": ("day", 1),
    "weeks after": ("day", 30),
    "no day": ("day", None),
}


@pytest.fixture(params=["at", "day", "day before", "day after", "weeks after", "no day"])
def visits(log, tmp_path, request):
    """A log whose table in BigQuery somebody else made and filled: by the days of its time, or of a column for that,
    which may be a day of another time zone, or the one when the rows came.
    """
    return adopted(log, tmp_path, *DAYS[request.param])


def adopted(log, tmp_path, partition_by, days=0):
    """The log, with rows in BigQuery whose day is so many days after that of their time; None for no day."""
    log.services = replace(log.services, catalog=with_tables(tmp_path, BLOCK.replace("PARTITION", partition_by)))
    log.name = "visits"
    log.database.execute("DROP TABLE IF EXISTS visits")
    create(log)
    client, types = log.here.bigquery_client, {"n": "INTEGER", "at": "TIMESTAMP", "page": "STRING", "day": "DATE"}
    if partition_by == "at":
        del types["day"]
    client.delete_dataset("warehouse_local", delete_contents=True, not_found_ok=True)
    client.create_dataset("warehouse_local")
    table = Table(f"{log.here.project}.{PLACE}", [SchemaField(*field) for field in types.items()])
    table.time_partitioning = TimePartitioning(field=partition_by)
    table.clustering_fields = ["page"]
    client.create_table(table)
    for key, hour in ((901, BEFORE), (902, STRANGE)):
        day = "NULL" if days is None else f"DATE '{at(hour + 24 * days):%Y-%m-%d}'"
        row = f"{key}, TIMESTAMP '{at(hour):%Y-%m-%d %H}:30:00+00', 'x', {day}".split(", ")
        values = ", ".join(row[: len(types)])
        names = ", ".join(f"`{name}`" for name in types)
        client.query(f"INSERT INTO warehouse_local.`site-visits` ({names}) VALUES ({values})").result()
    return log


def held(log):
    """The keys in the table by the hour of their time, and what else it has of them."""
    found = defaultdict(list)
    for row in log.here.bigquery_client.list_rows(PLACE):
        found[number(Hour(row["at"]))].append(row["n"])
    return dict(found)


def test_its_rows_stay_and_hours_come_beside_them(visits):
    keys = visits.add(10, 3)
    assert visits.done(11) == {10: "exported"}
    assert held(visits) == {BEFORE: [901], 10: keys, STRANGE: [902]}
    table = visits.here.bigquery_client.get_table(PLACE)
    day = visits.table.day
    assert {field.name for field in table.schema} == {"n", "at", "page", day, "import_hour"}
    (row,) = {
        (row[day], row["import_hour"]) for row in visits.here.bigquery_client.list_rows(PLACE) if row["n"] in keys
    }
    assert row == (at(10).date(), 10)


def test_late_rows_and_deletion_count_only_their_own_hour(visits):
    keys = visits.add(10)
    visits.done(11)
    keys += visits.add(10)
    assert visits.done(12)[10] == "late rows exported"
    assert visits.done(12, **named(10), delete_from_source=True)[10] in ("done already", "exported")
    assert (held(visits)[10], visits.source()) == (keys, [])


def test_its_hours_are_replaced_and_what_only_another_job_brought_is_not(visits):
    keys = visits.add(10, 3)
    visits.done(11)
    where = f"n = {keys[0]} AND DATE(`at`) = '{at(10):%Y-%m-%d}'"
    visits.here.bigquery_client.query(f"DELETE FROM warehouse_local.`site-visits` WHERE {where}").result()
    with run.opened(visits.services, visits.table) as log:
        restored = Restore(log, Hour(at(10)), "somebody", replace=True).go()
    assert (restored.status, restored.before, held(visits)[10]) == ("restored", 2, keys)
    visits.here.bigquery_client.query(
        f"UPDATE warehouse_local.`site-visits` SET `at` = TIMESTAMP '{at(10):%Y-%m-%d %H}:31:00+00' WHERE n = 902"
    ).result()
    with run.opened(visits.services, visits.table) as log, pytest.raises(DataError, match="1 row of BigQuery's"):
        Restore(log, Hour(at(10)), "somebody", replace=True).go()


def test_an_hour_that_another_job_brought_is_refused_and_not_doubled(visits):
    visits.add(STRANGE)
    failed = visits.failures(13, **named(STRANGE))
    assert "BigQuery holds 1 row of it, 0 of which this system brought there" in failed[STRANGE]
    assert held(visits)[STRANGE] == [902]


def test_it_is_counted_again(visits):
    visits.add(10, 2)
    visits.call(24)
    (day,) = verify.days(visits.services, visits.table, at(10).date(), at(10).date(), lambda: None)
    (told,) = day.differences
    assert (day.manifest_rows, day.bigquery_rows, str(Hour(at(STRANGE))) in told) == (2, 3, True)


def test_a_second_log_has_its_own_table_lock_and_hours(visits):
    """Nothing of one log is seen by a run of the other."""
    other = replace(visits, name="past_offer_context")
    mine, theirs = visits.add(10), other.add(10, 2)
    with run.opened(visits.services, visits.table):
        assert other.done(11) == {10: "exported"}
    visits.done(11)
    assert (held(visits)[10], other.bigquery()[10]) == (mine, theirs)


def test_a_table_whose_day_is_not_that_of_the_time_is_refused(log, tmp_path):
    """The counts of an hour would not look so far back."""
    visits = adopted(log, tmp_path, "day", -2)
    visits.add(STRANGE)
    with pytest.raises(TargetError, match="has rows whose day is more than a day before their at"):
        visits.call(13, **named(STRANGE))
    assert held(visits)[STRANGE] == [902]
    fields = {field.name for field in visits.here.bigquery_client.get_table(PLACE).schema}
    assert fields == {"n", "at", "page", "day"}
