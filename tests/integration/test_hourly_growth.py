"""Another log is added by one block of TOML, without touching code: export, load, late rows and deletion."""

from dataclasses import replace
from datetime import UTC, date, datetime
from time import monotonic

import pytest

from shared.gcp.bigquery import BigQuery
from shared.hourly import run
from shared.hourly.restore import Restore
from shared.names import Hour
from tests.kit.logs import at, create, named, with_tables

BLOCK = """
[hourly.Api_Visits]
time = "SeenAt"
key = "VisitId"

[hourly.Api_Visits.columns]
Page = { type = "text", bigquery = "STRING" }
"SeenAt" = { type = "timestamp", bigquery = "TIMESTAMP" }
born = { type = "date", bigquery = "DATE" }
VisitId = { type = "integer", bigquery = "INT64" }
short = { type = "smallint", bigquery = "INT64" }
ratio = { type = "double precision", bigquery = "FLOAT64" }
order = { type = "boolean", bigquery = "BOOL" }
details = { type = "jsonb", bigquery = "JSON" }
"""
ROW = {
    "Page": 'a "page"',
    "born": "2001-02-03",
    "short": -5,
    "ratio": 0.1,
    "order": True,
    "details": '{"b": [1, 2], "a": null}',
}
ARRIVED = ROW | {"born": date(2001, 2, 3), "details": {"b": [1, 2], "a": None}}


@pytest.fixture
def visits(log, tmp_path):
    """The new log, beside the API's; its table is in a schema of another name."""
    log.services = replace(log.services, catalog=replace(with_tables(tmp_path, BLOCK), schema="App"))
    log.name = "Api_Visits"
    log.database.execute('CREATE SCHEMA "App"; SET search_path TO "App"')
    create(log)
    yield log
    log.database.execute('DROP SCHEMA "App" CASCADE')


def test_its_rows_travel_and_leave(visits):
    assert visits.add(10, **ROW) == [1]
    assert visits.done(11, delete_from_source=True) == {10: "exported"}
    (row,) = visits.rows()
    hour = {"import_date": date(2026, 3, 10), "import_hour": 10}
    assert row == ARRIVED | hour | {"SeenAt": datetime(2026, 3, 10, 10, 30, tzinfo=UTC), "VisitId": 1}
    assert (visits.source(), visits.state(10)) == ([], "deleted")
    table = visits.here.bigquery_client.get_table("raw_local.Api_Visits")
    assert (table.time_partitioning.field, table.clustering_fields) == ("import_date", None)
    assert [field.name for field in table.schema] == [*visits.parquet(10).column_names]
    assert list(visits.here.bigquery_client.list_tables("tmp_local")) == []


def test_its_late_rows_are_found_and_its_changed_ones_kept(visits):
    visits.add(10, 2, **ROW)
    visits.done(11)
    visits.add(10, Page="late")
    assert visits.done(12)[10] == "late rows exported"
    visits.database.execute('UPDATE "Api_Visits" SET "Page" = \'changed\' WHERE "VisitId" = 2')
    visits.done(12, **named(10), delete_from_source=True)
    assert (visits.source(), visits.bigquery()) == ([2], {10: [1, 2, 3]})
    assert [row["Page"] for row in visits.rows()] == ['a "page"', 'a "page"', "late"]


def test_its_manifest_is_rebuilt(visits):
    visits.add(10, **ROW)
    visits.done(11)
    visits.manifest().delete()
    assert visits.done(12)[10] == "done already"
    assert (visits.state(10), visits.bigquery()) == ("done", {10: [1]})


def test_its_hours_are_loaded_again_and_their_keys_found_in_their_parts(visits):
    visits.add(10, 3, **ROW)
    visits.done(11, delete_from_source=True)
    before = visits.rows()
    for name in visits.parts(10, "keys"):
        visits.blob(name).delete()
    visits.here.bigquery_client.query("DELETE FROM raw_local.Api_Visits WHERE VisitId = 2").result()
    with run.opened(visits.services, visits.table) as log:
        assert Restore(log, Hour(at(10)), "somebody", replace=True).go().status == "restored"
    assert (visits.rows(), visits.state(10)) == (before, "deleted")
    assert list(visits.here.bigquery_client.list_tables("tmp_local")) == []


def test_two_logs_do_not_meet(visits):
    (key,) = visits.add(10, **ROW)
    visits.services = replace(visits.services, catalog=replace(visits.services.catalog, schema="public"))
    visits.name = "past_offer_context"
    visits.database.execute("SET search_path TO public")
    keys = visits.add(10, 3)
    visits.done(11)
    assert visits.bigquery() == {10: keys}
    visits.services = replace(visits.services, catalog=replace(visits.services.catalog, schema="App"))
    visits.name = "Api_Visits"
    assert (visits.objects(), visits.bigquery()) == (set(), {})
    visits.done(11)
    assert visits.bigquery() == {10: [key]}


def test_a_stage_that_fails_for_good_fails_the_hour_with_its_reason_until_it_is_asked_for_again(visits, monkeypatch):
    keys = visits.add(10, **ROW)
    load = BigQuery.load

    def wrong(self, name, location, given, labels):
        """Let BigQuery refuse the file."""
        schema = [{**field, "type": "INT64"} for field in given.schema]
        load(self, name, location, replace(given, schema=schema), labels)

    with monkeypatch.context() as patch:
        patch.setattr(BigQuery, "load", wrong)
        told = visits.failures(11)[10]
    assert "recosync-stage-" in told
    assert "invalid" in told
    assert (visits.state(10), visits.bigquery(), visits.source()) == ("failed", {}, keys)
    assert visits.done(12, **named(10)) == {10: "exported"}
    assert (visits.state(10), visits.bigquery()) == ("done", {10: keys})
    # The load attempt that its stage used up is no end of the search.
    visits.manifest().delete()
    assert visits.done(13)[10] == "done already"
    assert (visits.state(10), visits.bigquery()) == ("done", {10: keys})


@pytest.mark.parametrize("lost", ["date=", "manifests/"])
def test_a_worker_that_froze_before_its_insert_brings_nothing_of_a_batch_that_was_given_up(visits, monkeypatch, lost):
    """Its objects are gone, or the manifest that names it: the rows are exported anew."""
    keys = visits.add(10, **ROW)
    late = []

    def freeze(*given):
        late.append(given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BigQuery, "query", freeze)
        with pytest.raises(KeyboardInterrupt):
            visits.ask(11)
    for name in visits.objects(lost):
        visits.blob(name).delete()
    assert visits.done(12) == {10: "exported", 11: "empty"}
    ((bigquery, name, location, *insert),) = late
    bigquery.query(name, location, *insert)
    assert bigquery.wait(name, location, monotonic() + 60).error is not None
    assert visits.bigquery() == {10: keys}


def test_a_column_of_arrays_comes_to_a_log_that_has_hours(visits, tmp_path):
    visits.add(10, **ROW)
    visits.done(11)
    more = f'{BLOCK}tags = {{ type = "text[]", bigquery = "ARRAY<STRING>" }}\n'
    visits.services = replace(visits.services, catalog=replace(with_tables(tmp_path, more), schema="App"))
    visits.database.execute("""ALTER TABLE "Api_Visits" ADD tags text[] NOT NULL DEFAULT '{}'""")
    visits.add(11, **ROW, tags=["a", "b"])
    assert visits.done(12)[11] == "exported"
    assert [row["tags"] for row in visits.rows()] == [[], ["a", "b"]]
