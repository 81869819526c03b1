"""A template that changed makes its view outdated, though nothing new was published: it is told of, and rebuilt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.daily import refresh as refreshing
from shared.daily.context import DailyRun
from shared.daily.refresh import rebuild, refresh
from shared.errors import TargetError
from shared.operate import plan, verify
from shared.operate.migrate import migrate
from shared.operate.status import gather
from shared.services import HourlyServices
from shared.upkeep import reconcile
from tests.kit.drifting_tables import Drift
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, publish, publish_rows

VIEW = "non_recommendable_items_mv"
CREATE = "CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT"
NEWER = f"{CREATE} user_id || '!' AS user_id FROM {TABLE};"
WRONG = f"{CREATE} strange FROM {TABLE};"
TOLD = f"view {VIEW} was built from another template than it has now: hourly_export has it rebuilt within the hour"
REFUSED = (
    f"view {VIEW} was built from another template than it has now, by which its refresh failed for good: correct"
    f" its template {VIEW}.sql.jinja, and deploy"
)


@pytest.fixture
def published(services, database):
    """A publication whose view stands, and the number that messages about it have."""
    publish(services, 1, ["ann"])
    number = one(database, "SELECT max(publication) FROM recosync.publication")
    assert refresh(services, TABLE, number) == "refreshed"
    return number


@pytest.fixture
def deployed(services, tmp_path):
    """Another deployment's services, by the text of its template."""

    def deploy(text):
        file = tmp_path / f"{VIEW}.sql.jinja"
        file.write_text(text)
        view = replace(services.catalog.views[VIEW], template=file)
        return replace(services, catalog=replace(services.catalog, views={**services.catalog.views, VIEW: view}))

    return deploy


def later(minutes=31):
    return datetime.now(UTC) + timedelta(minutes=minutes)


def sent(services, minutes=31):
    return [each["views"] for each in reconcile.run(services, later(minutes))]


def report(services):
    return gather(replace(HourlyServices.from_environment(), catalog=services.catalog))


def outdated(services):
    return {view.name: view.outdated for view in report(services).views if view.outdated}


def test_a_view_whose_template_changed_is_rebuilt_by_the_next_message(services, database, deployed, published):
    newer = deployed(NEWER)
    assert refresh(newer, TABLE, published) == "refreshed"
    assert users(database, VIEW) == ["ann!"]
    assert refresh(newer, TABLE, published) == "fresh"


def test_reconciliation_sends_the_message_within_the_hour_however_old_the_publication(
    services, database, deployed, published
):
    database.execute("UPDATE recosync.publication SET published_at = now() - interval '9 days'")
    database.execute("UPDATE recosync.view_build SET built_at = now() - interval '9 days'")
    assert sent(services) == []
    assert sent(deployed(NEWER)) == [[VIEW]]
    assert sent(deployed(NEWER + "-- a function of before took it"), 62) == [[VIEW]]
    refresh(deployed(NEWER), TABLE, published)
    assert sent(deployed(NEWER), 93) == []
    assert sent(deployed(NEWER + "-- once more"), 93) == [[VIEW]]


def test_what_was_built_before_there_were_digests_is_not_rebuilt(services, database, deployed, published):
    database.execute("UPDATE recosync.view_build SET template = NULL")
    newer = deployed(NEWER)
    assert refresh(newer, TABLE, published) == "fresh"
    assert sent(newer) == []
    assert outdated(newer) == {}


@pytest.mark.usefixtures("published")
def test_status_verify_migrate_and_plan_say_so(here, services, deployed):
    here.bigquery_client.query(
        "CREATE TABLE ml_reco_local.user_booked_item AS SELECT 'ann' user_id, 'item' item_id"
    ).result()
    newer = deployed(NEWER)
    table = newer.catalog.tables[TABLE]

    def told():
        return [
            *outdated(newer).values(),
            *verify.table(newer, table).differences,
            *migrate(newer),
            *plan.of(newer, table, 1.0).outdated,
        ]

    assert [line.startswith(TOLD) for line in told()] == [True] * 4
    seen = report(newer)
    assert seen.attention
    assert "; 1 view of another template" in seen.summary
    rebuild(newer, newer.catalog.views[VIEW])
    assert told() == []


def test_a_template_that_fails_keeps_the_old_view_is_told_of_and_not_tried_for_ever(
    services, database, deployed, published
):
    wrong = deployed(WRONG)
    assert sent(wrong) == [[VIEW]]
    with pytest.raises(TargetError, match="strange"):
        refresh(wrong, TABLE, published)
    assert users(database, VIEW) == ["ann"]
    assert sent(wrong, 62) == []
    assert outdated(wrong) == {VIEW: REFUSED}
    assert migrate(wrong) == [REFUSED]
    (trouble,) = next(table for table in report(wrong).tables if table.name == TABLE).trouble
    assert "strange" in trouble
    assert sent(deployed(NEWER), 62) == [[VIEW]]
    refresh(deployed(NEWER), TABLE, published)
    assert users(database, VIEW) == ["ann!"]


def test_of_two_deployments_each_message_rebuilds_once_and_asks_for_no_other(services, database, deployed, published):
    newer = deployed(NEWER)
    for at_work, seen in ((newer, ["ann!"]), (services, ["ann"]), (newer, ["ann!"])):
        assert refresh(at_work, TABLE, published) == "refreshed"
        assert users(database, VIEW) == seen
        assert one(database, "SELECT count(*) FROM recosync.publication WHERE announced_at IS NULL") == 0
    assert sent(newer) == []


def test_a_template_that_came_with_a_column_waits_for_the_publish_that_brings_it(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["a"])
    drift.refresh(before)
    after = drift.of({"name": "varchar", "price": "integer"})
    assert [each for each in reconcile.run(after, later()) if each["table"] == "drifting"] == []
    migrate(after)
    assert sent(after) == [["drifting_mv"]]


def test_what_a_view_read_before_says_nothing_of_its_template(services, database, published):
    publish_rows(services, 1, "iris_france", {"iris_code": ["751010101"]})
    database.execute(
        "INSERT INTO recosync.view_build (view_name, table_name, publication, seconds, template)"
        " SELECT %s, table_name, publication, 1, 'older' FROM recosync.publication WHERE table_name = 'iris_france'",
        [VIEW],
    )
    assert refreshing.template_changed(DailyRun(services, database), services.catalog.views[VIEW]) is None


@pytest.mark.usefixtures("published")
def test_a_refresh_that_failed_for_good_is_a_difference_and_nothing_to_wait_for(here, services, database, deployed):
    here.bigquery_client.query(
        "CREATE TABLE ml_reco_local.user_booked_item AS SELECT 'ann' user_id, 'item' item_id"
    ).result()
    wrong = deployed(WRONG)
    publish(services, 2, ["bob"])
    with pytest.raises(TargetError, match=f"{VIEW}.*strange") as failed:
        refresh(wrong, TABLE, one(database, "SELECT max(publication) FROM recosync.publication"))
    table = wrong.catalog.tables[TABLE]
    assert any(str(failed.value) in told for told in verify.table(wrong, table).differences)
