"""What an answer tells as failed stands in the status, until the same succeeds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from functions_framework import create_app

from local import context
from shared import services as made
from shared.catalog import ROOT
from shared.daily import refresh
from shared.db.locks import Lock
from shared.ledger import migrations
from shared.names import ObjectVersion
from shared.operate.status import gather, page
from shared.services import HourlyServices
from tests.kit.answer_schemas import checked
from tests.kit.commands import recosync
from tests.kit.sessions import held, one
from tests.kit.snapshots import TABLE, bookings, day, publish
from tests.kit.uploads import Upload

LOG, VIEW = "past_offer_context", "non_recommendable_items_mv"
pytestmark = pytest.mark.usefixtures("migrated")


@pytest.fixture
def migrated(here, database):
    migrations.migrate(database)
    context.create(here.dsn)
    for make in (made.daily, made.hourly):
        make.cache_clear()
    yield
    for make in (made.daily, made.hourly):
        make.cache_clear()


def call(function, headers=None, **body):
    """What a function as it is deployed answers to a call."""
    client = create_app(function, str(ROOT / "functions" / function / "main.py"), "http").test_client()
    answer = client.post("/", json=body, headers=headers)
    checked(function, answer.json)
    return answer


def event(function, data):
    """The status of what a function as it is deployed answers to an event."""
    headers = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
    client = create_app(function, str(ROOT / "functions" / function / "main.py"), "cloudevent").test_client()
    return client.post("/", json=data, headers=headers).status_code


def arrived(version):
    stored = {"bucket": version.bucket, "name": version.name, "generation": str(version.generation), "size": "1"}
    return event("gcs_import", stored)


def told(table=TABLE, publication="1"):
    return event("mv_refresh", {"message": {"attributes": {"table": table, "publication": publication}}})


def report(age=timedelta()):
    return gather(HourlyServices.from_environment(), datetime.now(UTC) + age)


def failing(age=timedelta()):
    return {(each.function, each.name): each for each in report(age).failing}


WRONG = {
    "another column": (f"ALTER TABLE {LOG} DROP COLUMN offer_stock_price", "column offer_stock_price is missing"),
    "no index": (f"DROP INDEX {LOG}_date_idx", "has no B-tree index that begins with"),
    "no table": (f"DROP TABLE {LOG}", "does not exist"),
}


@pytest.mark.parametrize(("statement", "what"), WRONG.values(), ids=WRONG)
def test_a_log_that_fails_as_a_whole_makes_the_status_bad_until_it_succeeds(here, database, statement, what):
    indexes = "SELECT indexname FROM pg_indexes WHERE tablename = %s AND indexdef NOT LIKE '%%UNIQUE%%'"
    if "INDEX" in statement:
        statement = f"DROP INDEX {one(database, indexes, LOG)}"
    database.execute(statement)
    answer = call("hourly_export")
    assert answer.status_code == 200
    assert what in answer.json["failed"][0]["error"]
    seen = report()
    (each,) = seen.failing
    assert (each.function, each.name, each.retryable, each.attention) == ("hourly_export", LOG, False, True)
    assert what in each.message
    assert seen.attention
    assert f"; hourly_export fails for {LOG}; " in seen.summary
    assert what in page.render(seen)
    assert what in json.loads(seen.to_json())["failing"][0]["message"]
    ran = recosync("status")
    assert (ran.code, f"hourly_export {LOG} failed just now, once: " in ran.out, what in ran.out) == (1, True, True)
    database.execute(f"DROP TABLE IF EXISTS {LOG}")
    context.create(here.dsn)
    assert call("hourly_export").status_code == 200
    assert failing() == {}


def test_a_deployment_that_is_wrong_is_told_though_nothing_else_of_it_works(monkeypatch):
    with monkeypatch.context() as wrong:
        wrong.delenv("EXPORT_BUCKET")
        for _ in range(2):
            assert call("bq_export").status_code == 500
    seen = failing()["bq_export", None]
    assert (seen.retryable, seen.attention, seen.times) == (True, True, 2)
    assert "EXPORT_BUCKET is not set" in seen.message
    assert recosync("status").code == 3
    made.daily.cache_clear()
    call("bq_export", tables=[TABLE])  # whose source does not exist: that is told of the table
    assert ("bq_export", None) not in failing()


def test_what_others_are_at_is_told_and_needs_nobody_for_an_hour(here, services, database):
    publish(services, 1, ["ann"])
    number = str(one(database, "SELECT publication FROM recosync.publication"))
    with held(here.dsn, Lock.view(VIEW)):
        assert [told(publication=number) for _ in range(3)] == [503] * 3
    seen = failing()["mv_refresh", TABLE]
    assert (seen.times, seen.attention, "another worker is at it" in seen.message) == (3, False, True)
    assert failing(timedelta(hours=2))["mv_refresh", TABLE].attention
    assert told(publication=number) == 204
    assert failing() == {}


def test_a_view_that_can_not_be_built_is_told_by_its_name(services, database, monkeypatch):
    publish(services, 1, ["ann"])
    number = str(one(database, "SELECT publication FROM recosync.publication"))
    with monkeypatch.context() as wrong:
        wrong.setattr("shared.daily.build.render", lambda *_: "no such thing".rendered)
        assert told(publication=number) == 500
    seen = failing()["mv_refresh", VIEW]
    assert seen.message == "crashed (AttributeError); the log says where"
    refresh.rebuild(services, services.catalog.views[VIEW])
    assert failing() == {}


def test_a_part_that_fails_is_told_until_it_succeeds_or_its_table_is_published(services, monkeypatch):
    snapshot = Upload(services, TABLE, day(1))
    first, second = (snapshot.part(bookings(services, [user])) for user in ("ann", "bob"))
    with monkeypatch.context() as wrong:
        wrong.setattr("shared.daily.arrival.stage", lambda *_: 1 // 0)
        assert arrived(first) == 500
    assert arrived(second) == 204
    assert list(failing()) == [("gcs_import", TABLE)]
    assert arrived(first) == 204
    assert failing() == {}
    with monkeypatch.context() as wrong:
        wrong.setattr("shared.daily.arrival.stage", lambda *_: 1 // 0)
        assert arrived(Upload(services, TABLE, day(0)).part(bookings(services, ["eve"]))) == 500
    assert arrived(snapshot.manifest()) == 204
    assert failing() == {}


def test_what_is_of_another_catalog_is_told(here, services):
    name = f"{services.settings.prefix}/strange/{day(1)}/manifest.json"
    blob = here.storage_client.bucket(here.bucket).blob(name)
    blob.upload_from_string(b"{}")
    assert arrived(ObjectVersion(here.bucket, name, blob.generation)) == 503
    seen = failing()["gcs_import", "strange"]
    assert seen.attention
    assert "the catalog of this deployment does not have" in seen.message
    assert failing(timedelta(hours=27)) == {}


def test_an_event_that_names_nothing_is_among_the_permanent_errors():
    assert event("mv_refresh", {"message": {}}) == 204
    (failure,) = report().failures.newest
    assert (failure.subject, "lacks the attributes" in failure.message) == ("mv_refresh", True)


def test_that_it_can_not_be_kept_changes_no_answer(database):
    database.execute(f"DROP TABLE {LOG}")
    before = call("hourly_export")
    database.execute("DROP TABLE recosync.failing CASCADE")
    after = call("hourly_export")
    assert (after.status_code, after.json) == (before.status_code, before.json)
