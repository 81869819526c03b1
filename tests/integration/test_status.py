"""The status report of a plausible month, gathered by a role that may read the ledger and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from shared.catalog import ROOT
from shared.ledger import migrations
from shared.operate.migrate import migrate
from shared.operate.status import gather
from shared.operate.status.page import render
from shared.operate.status.report import HourState, Outcome
from shared.services import HourlyServices
from shared.settings import DatabaseUrl
from tests.browser import month
from tests.kit.answer_schemas import checked

OFFERS = "recommendable_offers_raw"

#: What the role of the status page may not do.
REFUSED = (
    "SELECT * FROM recosync.part_1",
    "SELECT * FROM public.enriched_user",
    "INSERT INTO recosync.failure (kind, subject, message) VALUES ('a', 'b', 'c')",
    "UPDATE recosync.hold SET decision = 'approved', decided_at = now()",
    "DELETE FROM recosync.publication",
    "CREATE TABLE recosync.mine ()",
    "CREATE TABLE public.mine ()",
)


@pytest.fixture
def asked(here, monkeypatch):
    """The services of the status function, with nothing in the ledger and the bucket."""
    for name, value in month.environment(here).items():
        monkeypatch.setenv(name, value)
    return HourlyServices.from_environment()


@pytest.fixture
def filled(here, asked):
    month.fill(here)
    return asked


def look(services):
    report = gather(services, month.NOW)
    checked("status", json.loads(report.to_json()))
    return report


def table(services, name=OFFERS):
    return next(table for table in look(services).tables if table.name == name)


def problems(services):
    return {problem.section: problem.message for problem in look(services).problems}


def test_the_month_is_told(filled):
    report = look(filled)
    assert report.problems == ()
    assert report.summary == (
        "3 of 4 tables fresh and well, 1 held; last hour done 1 h 7 min ago; 2 gaps; 1 hour failed"
    )
    assert report.attention
    assert [(failure.kind, failure.table, failure.over) for failure in report.failures.newest] == [
        ("Export", "non_recommendable_items_data", True),
        ("DataError", "enriched_user", True),
    ]
    (cause,) = report.logs[0].causes
    assert (cause.count, cause.subjects) == (1, ("20261118T11",))


def test_a_table_shows_what_readers_see_of_it_and_its_receipt(filled):
    published = table(filled, "enriched_user").published
    assert (published.snapshot, published.publication) == ("20261123T050002Z", 9)
    receipt = published.receipt
    assert receipt.bigquery_rows == receipt.parquet_rows == receipt.postgresql_rows == published.rows
    assert (receipt.columns, receipt.duplicate_keys) == (8, 0)


def test_a_run_has_its_four_stages_in_seconds(filled):
    newest, *_ = runs = table(filled, "enriched_user").runs
    assert len(runs) == 7
    assert [stage.name for stage in newest.stages] == ["export", "stage", "publish", "refresh"]
    assert all(stage.seconds > 0.1 for stage in newest.stages)
    assert newest.stages[1].ended_at < newest.stages[2].ended_at < newest.stages[3].ended_at


def test_a_part_that_was_staged_again_counts_when_it_came_first(filled, database):
    before = table(filled, "enriched_user").runs[0]
    database.execute("UPDATE recosync.part SET dropped_at = %s WHERE table_name = 'enriched_user'", [month.NOW])
    database.execute(
        "INSERT INTO recosync.part (table_name, snapshot_id, bucket, name, generation, rows, staged_at, seconds)"
        " SELECT table_name, snapshot_id, bucket, name, generation, rows, %s, 1 FROM recosync.part"
        " WHERE table_name = 'enriched_user'",
        [month.NOW],
    )
    assert table(filled, "enriched_user").runs[0] == before


def test_a_source_that_was_confirmed_unchanged_is_fresh_however_old_its_snapshot(filled, database):
    seen = table(filled, "iris_france")
    assert seen.fresh
    assert month.NOW - seen.published.published_at > timedelta(days=7)
    assert {run.outcome for run in seen.runs} == {Outcome.UNCHANGED}
    database.execute("DELETE FROM recosync.export_run WHERE table_name = 'iris_france'")
    assert not table(filled, "iris_france").fresh


def test_a_held_snapshot_comes_with_its_reasons_and_commands_until_it_is_decided(filled, database):
    seen = table(filled)
    (held,) = seen.held
    assert len(held.reasons) == 2
    assert held.approve == f"recosync approve {OFFERS} 20261123T050002Z"
    assert held.reject == f"recosync reject {OFFERS} 20261123T050002Z"
    assert [run.outcome for run in seen.runs[:2]] == [Outcome.HELD, Outcome.PUBLISHED]
    assert not seen.fresh
    database.execute(
        "UPDATE recosync.hold SET decision = 'rejected', decided_at = now(), decided_by = 'me' WHERE table_name = %s",
        [OFFERS],
    )
    seen = table(filled)
    assert seen.held == ()
    assert seen.runs[0].outcome is Outcome.REJECTED


def test_the_publish_of_an_approved_snapshot_began_when_it_was_approved(filled, database):
    database.execute(
        "INSERT INTO recosync.publication VALUES (%s, 9, '20261123T050002Z', 1, %s, %s, 'approval', 0.5)",
        [OFFERS, month.NOW, month.NOW],
    )
    assert table(filled).runs[0].stages[2].seconds == 0.5


def test_a_source_of_another_shape_is_told_while_the_last_call_found_it(filled, database):
    month.run(database, OFFERS, month.NOW, "held", message="venue_id is STRING, the catalog says integer")
    assert table(filled).drift.message == "venue_id is STRING, the catalog says integer"
    assert "3 of 4 tables fresh and well, 1 drifted and held;" in look(filled).summary
    month.run(database, OFFERS, month.NOW, "confirmed unchanged")
    assert table(filled).drift is None


def test_a_pinned_table_says_who_pinned_it_and_how_to_let_go(filled, database):
    database.execute(
        "INSERT INTO recosync.pin VALUES ('enriched_user', '20261122T050002Z', %s, 'ana@example.org')", [month.NOW]
    )
    pin = table(filled, "enriched_user").pin
    assert (pin.pinned_by, pin.unpin) == ("ana@example.org", "recosync rollback enriched_user --unpin")


def test_a_view_that_holds_less_than_its_table_is_behind(filled, database):
    assert all(source.current for view in look(filled).views for source in view.reads)
    database.execute(
        "DELETE FROM recosync.view_build WHERE view_name = 'enriched_user_mv' AND publication = 9; "
        "DELETE FROM recosync.view_build WHERE view_name = 'item_ids_mv'"
    )
    views = {view.name: view for view in look(filled).views}
    assert [(source.snapshot, source.current) for source in views["enriched_user_mv"].reads] == [
        ("20261122T050002Z", False)
    ]
    assert (views["item_ids_mv"].reads, views["item_ids_mv"].missing) == ((), (OFFERS,))


def test_a_view_that_lags_needs_somebody_after_an_hour(filled, database):
    database.execute("DELETE FROM recosync.view_build WHERE view_name = 'enriched_user_mv' AND publication = 9")
    lagging = "UPDATE recosync.publication SET published_at = %s WHERE table_name = 'enriched_user' AND publication = 9"
    for age, overdue in ((timedelta(minutes=59), ()), (timedelta(minutes=61), ("enriched_user",))):
        database.execute(lagging, [month.NOW - age])
        view = next(view for view in look(filled).views if view.name == "enriched_user_mv")
        assert view.overdue == overdue
        assert ("1 view overdue" in look(filled).summary) == bool(overdue)
    database.execute("DELETE FROM recosync.view_build WHERE view_name = 'item_ids_mv'")
    view = next(view for view in look(filled).views if view.name == "item_ids_mv")
    assert (view.missing, view.overdue) == ((OFFERS,), (OFFERS,))
    assert "2 views overdue" in look(filled).summary


def test_a_refresh_that_failed_is_told_until_the_views_hold_what_is_published(filled, database):
    database.execute(
        "INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)"
        " VALUES (%s, 'TargetError', 'enriched_user', '20261123T050002Z', 'publication 9', 'others depend on it')",
        [month.NOW - timedelta(hours=1)],
    )
    assert table(filled, "enriched_user").trouble == ()
    database.execute("DELETE FROM recosync.view_build WHERE view_name = 'enriched_user_mv' AND publication = 9")
    seen = table(filled, "enriched_user")
    (told,) = seen.trouble
    assert told.startswith("the refresh of publication 9 failed: others depend on it. ")
    assert told.endswith(": recosync materialize enriched_user_mv")
    assert seen.runs[0].outcome is Outcome.PUBLISHED
    assert "1 in trouble" in look(filled).summary


def test_a_snapshot_that_failed_for_good_needs_somebody(filled, database):
    database.execute(
        "INSERT INTO recosync.snapshot (table_name, snapshot_id, rows, columns, manifest_recorded_at)"
        " VALUES ('iris_france', '20261123T090000Z', 5, '[]', %s)",
        [month.NOW],
    )
    assert table(filled, "iris_france").runs[0].outcome is Outcome.UNDER_WAY
    database.execute(
        "INSERT INTO recosync.failure (kind, table_name, snapshot_id, subject, message)"
        " VALUES ('DataError', 'iris_france', '20261123T090000Z', 'part', 'first'),"
        " ('DataError', 'iris_france', '20261123T090000Z', 'part', 'a part is gone')"
    )
    seen = table(filled, "iris_france")
    assert (seen.runs[0].outcome, seen.runs[0].message) == (Outcome.FAILED, "a part is gone")
    assert seen.trouble == ("snapshot 20261123T090000Z failed: a part is gone",)
    assert "1 in trouble" in look(filled).summary


def test_a_call_that_found_the_source_unchanged_but_too_old_does_not_renew_what_is_fresh(filled, database):
    before = table(filled, "iris_france").published.fresh_at
    told = "its source was last changed at 2026-11-15 02:46 UTC; the limit is 48 h"
    month.run(database, "iris_france", month.NOW, "confirmed unchanged", month.NOW - timedelta(days=8), told)
    seen = table(filled, "iris_france")
    assert seen.published.fresh_at == before
    assert (seen.fresh, seen.trouble, seen.runs[0].message) == (False, (told,), told)
    assert told in render(look(filled))


def failing(database, snapshot, at, subject="part"):
    database.execute(
        "INSERT INTO recosync.failure (at, kind, table_name, snapshot_id, subject, message)"
        " VALUES (%s, 'DataError', 'iris_france', %s, %s, 'a part is gone')",
        [at, snapshot, subject],
    )


def current(services):
    return [cause.count for cause in look(services).failures.current]


def test_a_failed_import_is_over_once_the_table_came_through_with_that_snapshot_or_a_newer_one(filled, database):
    failing(database, "20261123T090000Z", month.NOW)
    failing(database, "20261123T090000Z", month.NOW)
    assert current(filled) == [2]
    assert look(filled).summary.endswith("; 2 permanent errors of 1 cause")
    database.execute("INSERT INTO recosync.snapshot VALUES ('iris_france', '20261123T093000Z', 1, 1, '[]')")
    assert current(filled) == [2]
    database.execute(
        "INSERT INTO recosync.receipt (table_name, snapshot_id, postgresql)"
        " VALUES ('iris_france', '20261123T093000Z', '{}')"
    )
    assert current(filled) == []
    assert "permanent" not in look(filled).summary


def test_a_failed_import_is_over_once_that_snapshot_was_held_or_published(filled, database):
    failing(database, "20261123T050002Z", month.NOW)
    database.execute("UPDATE recosync.failure SET table_name = %s WHERE table_name = 'iris_france'", [OFFERS])
    assert current(filled) == []
    database.execute("DELETE FROM recosync.hold")
    assert current(filled) == [1]


def test_what_no_manifest_names_is_over_once_the_table_came_through_or_its_source_was_found_unchanged(filled, database):
    failing(database, None, month.NOW - timedelta(minutes=9))
    assert current(filled) == [1]
    month.run(database, "iris_france", month.NOW, "confirmed unchanged", month.NOW - timedelta(days=8))
    assert current(filled) == []


def test_a_failed_export_is_over_once_a_later_call_saw_the_source(filled, database):
    month.run(database, "iris_france", month.NOW - timedelta(minutes=9), "failed", message="it has no rows")
    month.run(database, "iris_france", month.NOW - timedelta(minutes=8), "to be retried", message="busy")
    assert current(filled) == [1]
    assert table(filled, "iris_france").trouble == ("its export failed: it has no rows",)
    month.run(database, "iris_france", month.NOW, "held", message="venue_id is STRING")
    assert current(filled) == []


def test_rows_from_before_the_first_publish_have_no_age_and_no_runs(asked, database):
    migrations.migrate(database)
    database.execute(
        "INSERT INTO recosync.snapshot (table_name, snapshot_id, rows, columns)"
        f" VALUES ('{OFFERS}', '00010101T000000Z', 5, '[]');"
        "INSERT INTO recosync.receipt (table_name, snapshot_id, postgresql)"
        f" VALUES ('{OFFERS}', '00010101T000000Z', '{{}}');"
        "INSERT INTO recosync.publication (table_name, publication, snapshot_id, rows)"
        f" VALUES ('{OFFERS}', 1, '00010101T000000Z', 5)".encode()
    )
    seen = table(asked)
    assert (seen.published.rows, seen.published.fresh_at, seen.fresh, seen.runs) == (5, None, False, ())
    assert seen.published.receipt is None
    assert "before the first publish" in render(look(asked))


def test_the_hours_are_those_of_the_manifests(filled):
    (log,) = look(filled).logs
    counts = {state: sum(hour.state is state for hour in log.hours) for state in HourState}
    assert len(log.days) == 30
    assert (counts[HourState.GAP], counts[HourState.FAILED], counts[HourState.IN_PROGRESS]) == (2, 1, 1)
    assert counts[HourState.LATE] > 5
    assert counts[HourState.DELETED] > 100
    assert (log.start, log.audit.differences) == ("20261027T06", ())


def test_a_damaged_manifest_is_a_damaged_day_and_the_others_stand(filled, here):
    name = "cloudsql_hourly/past_offer_context/manifests/20261120.json"
    here.storage_client.bucket(here.hourly_bucket).blob(name).upload_from_string(b"{")
    report = look(filled)
    assert report.complete
    assert [(str(day.date), day.damaged is not None) for day in report.logs[0].days[2:4]] == [
        ("2026-11-21", False),
        ("2026-11-20", True),
    ]
    assert "1 day with an unreadable manifest" in report.summary


def test_a_manifest_of_another_version_is_a_day_that_cannot_be_read_and_the_others_stand(filled, here):
    name = "cloudsql_hourly/past_offer_context/manifests/20261120.json"
    blob = here.storage_client.bucket(here.hourly_bucket).blob(name)
    body = b' "version": 2\n}\n'
    blob.metadata = {"settled": "true"}
    blob.upload_from_string(b'{\n "checksum": "sha256:%s",\n' % hashlib.sha256(body).hexdigest().encode() + body)
    report = look(filled)
    assert report.complete
    damaged = [(str(day.date), day.damaged) for day in report.logs[0].days if day.damaged]
    assert [day for day, _ in damaged] == ["2026-11-20"]
    assert "another version" in damaged[0][1]


def test_without_a_ledger_the_page_says_how_to_make_one_and_shows_the_hours(asked):
    report = look(asked)
    assert problems(asked) == {"ledger": "schema recosync: there is no ledger yet. Run: recosync migrate"}
    assert (report.tables, report.views, report.failures, len(report.logs)) == (None, None, None, 1)


def test_a_ledger_of_an_older_version_is_not_guessed_at(asked, database):
    database.execute("CREATE SCHEMA recosync")
    database.execute("CREATE TABLE recosync.migration (version integer, applied_at timestamptz DEFAULT now())")
    database.execute("INSERT INTO recosync.migration VALUES (1)")
    database.execute((ROOT / "sql" / "ledger" / "1.sql").read_bytes())
    assert "Run: recosync migrate" in problems(asked)["ledger"]
    migrations.migrate(database)
    assert problems(asked) == {}


def test_a_role_that_may_not_look_into_the_ledger_is_told_how_it_may(services, asked, database):
    migrations.migrate(database)
    database.execute("REVOKE USAGE ON SCHEMA recosync FROM status")
    assert problems(asked)["ledger"].endswith("Run: recosync migrate --reader status")
    migrate(services, reader="status")
    assert problems(asked) == {}


def test_a_bucket_that_cannot_be_read_leaves_the_tables_standing(filled):
    other = replace(filled, settings=replace(filled.settings, bucket="nobody-has-this-one"))
    report = look(other)
    assert [(problem.section, problem.log) for problem in report.problems] == [("hours", "past_offer_context")]
    assert (len(report.tables), report.logs) == (4, ())
    assert report.summary.endswith("; the hours of past_offer_context can't be read")


def test_a_database_that_does_not_answer_leaves_the_hours_standing(filled):
    nowhere = DatabaseUrl(value="postgresql://nobody@127.0.0.1:9/nowhere")
    report = look(replace(filled, settings=replace(filled.settings, database=nowhere)))
    assert [problem.section for problem in report.problems] == ["ledger"]
    assert len(report.logs) == 1


def test_the_role_can_read_the_ledger_and_nothing_else(filled, here):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "status"), autocommit=True) as role:
        assert role.execute("SELECT count(*) FROM recosync.part").fetchone() != (0,)
        for statement in REFUSED:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(statement.encode())
