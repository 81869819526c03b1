"""The message that a view stands: owed with the swap, and sent at least once, in the order of the view's builds."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.daily import announce_views
from shared.daily.refresh import rebuild, refresh
from shared.ledger import refreshed
from shared.operate import decisions
from shared.upkeep import reconcile
from tests.kit.drifting_tables import Drift
from tests.kit.messages import subscribed
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, publish_rows
from tests.kit.workers import worker

VIEW = "non_recommendable_items_mv"
OFFERS = "recommendable_offers_raw"

#: A worker that refreshes, and dies where `{}` is called.
REFRESH = """
import os, signal
from shared.daily import live, refresh
from shared.gcp import pubsub
from shared.ledger import refreshed
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{} = die
refresh.refresh(services, sys.argv[1], int(sys.argv[2]))
"""


@pytest.fixture
def messages(here):
    with subscribed(here, here.refreshed_topic) as subscription:
        yield subscription.take


@pytest.fixture
def misled(services):
    """A deployment whose topic is not there."""
    return replace(services, settings=replace(services.settings, refreshed_topic="missing"))


def numbers(database):
    """The publications, the first one first."""
    return [number for (number,) in database.execute("SELECT publication FROM recosync.publication ORDER BY 1")]


def published(services, database, number, *parts):
    """Publish the snapshot of a day; its publication."""
    publish(services, number, *parts)
    return numbers(database)[-1]


def owed(database):
    return one(database, "SELECT count(*) FROM recosync.refreshed")


def told(taken):
    """For each message, the view, its rows and the snapshots that it holds."""
    return [
        (each.data["view"], each.data["rows"], [held["snapshot_id"] for held in each.data["tables"]]) for each in taken
    ]


def later(minutes=31):
    return datetime.now(UTC) + timedelta(minutes=minutes)


def die(here, where, number):
    """A worker refreshes the table and is killed there."""
    with worker(here.env, REFRESH.format(where), TABLE, number) as process:
        assert process.wait() == -signal.SIGKILL


def test_a_message_tells_what_a_view_holds_and_comes_once(here, services, database, messages):
    number = published(services, database, 1, ["ann", "bob"], ["cid"])
    assert messages() == []
    before = datetime.now(UTC)
    refresh(services, TABLE, number)
    (message,) = messages()
    assert (message.attributes["view"], message.order) == (VIEW, VIEW)
    assert message.attributes["ce-source"] == f"/projects/{here.project}/recosync/local"
    at = datetime.fromisoformat(message.data.pop("refreshed_at"))
    assert before <= at <= datetime.now(UTC)
    assert datetime.fromisoformat(message.attributes["ce-time"]) == at
    assert message.data.pop("build_seconds") > 0
    held = {"table": TABLE, "publication": number, "snapshot_id": str(day(1))}
    assert message.data == {"view": VIEW, "views": [VIEW], "tables": [held], "rows": 3}
    assert refresh(services, TABLE, number) == "fresh"
    assert (messages(), owed(database)) == ([], 0)


def test_views_that_are_swapped_together_name_each_other(services, database, messages):
    publish_rows(services, 1, OFFERS, {"item_id": ["i", "i"]})
    refresh(services, OFFERS, 1)
    taken = messages()
    views = sorted(view.name for view in services.catalog.views_of(OFFERS))
    assert len(views) > 1
    assert sorted(message.data["view"] for message in taken) == views
    assert all(message.data["views"] == views for message in taken)
    rows = {view: one(database, f"SELECT count(*) FROM {view}") for view in views}
    assert {message.data["view"]: message.data["rows"] for message in taken} == rows


@pytest.mark.parametrize("counts", ["on", "off"])
def test_a_message_has_the_rows_of_its_view_whether_or_not_the_server_keeps_statistics(
    here, services, database, messages, counts
):
    number = published(services, database, 1, ["ann", "bob", "cid"])
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f"ALTER DATABASE {here.name} SET track_counts = {counts}")
    refresh(services, TABLE, number)
    assert told(messages()) == [(VIEW, 3, [str(day(1))])]


def test_without_a_topic_nothing_is_owed(services, database, messages):
    silent = replace(services, settings=replace(services.settings, refreshed_topic=None))
    refresh(silent, TABLE, published(services, database, 1, ["ann"]))
    assert users(database, VIEW) == ["ann"]
    assert (messages(), owed(database)) == ([], 0)


def test_a_worker_that_dies_in_the_swap_owes_nothing(here, services, database, messages):
    number = published(services, database, 1, ["ann"])
    die(here, "live.check", number)
    assert owed(database) == 0
    refresh(services, TABLE, number)
    assert told(messages()) == [(VIEW, 1, [str(day(1))])]


@pytest.mark.parametrize("by", ["the redelivery", "reconciliation"])
def test_what_a_worker_that_died_after_the_swap_owed_is_sent(here, services, database, messages, by):
    number = published(services, database, 1, ["ann"])
    die(here, "pubsub.Publisher.publish", number)
    assert users(database, VIEW) == ["ann"]
    assert (messages(), owed(database)) == ([], 1)
    if by == "reconciliation":
        assert reconcile.run(services, later(29)) == []
        assert reconcile.run(services, later()) == [{"views": [VIEW], "sent": "owed messages of views"}]
    else:
        assert refresh(services, TABLE, number) == "fresh"
    assert told(messages()) == [(VIEW, 1, [str(day(1))])]
    assert owed(database) == 0


def test_a_worker_that_died_before_it_noted_what_it_sent_sends_the_same_message_twice(
    here, services, database, messages
):
    number = published(services, database, 1, ["ann"])
    die(here, "refreshed.sent", number)
    refresh(services, TABLE, number)
    first, second = messages()
    assert first == second


def test_a_topic_that_refuses_keeps_no_view_from_standing_and_gets_all_in_order(services, misled, database, messages):
    for number in (1, 2):
        refresh(misled, TABLE, published(services, database, number, ["ann"] * number))
        assert users(database, VIEW) == ["ann"]
    assert reconcile.run(misled, later()) == []
    assert owed(database) == 2
    publish(services, 3, ["bob", "cid"])
    refresh(services, TABLE, numbers(database)[-1])
    assert told(messages()) == [(VIEW, n, [str(day(number))]) for number, n in ((1, 1), (2, 1), (3, 2))]
    assert owed(database) == 0


def test_workers_that_send_at_once_send_no_message_before_an_earlier_one(
    services, misled, database, messages, monkeypatch
):
    for number in (1, 2):
        refresh(misled, TABLE, published(services, database, number, ["ann"]))
    sent, others = refreshed.sent, [services]

    def other_comes(connection, message):
        """Another worker that finds the same messages owed, after this one has sent the first."""
        if others:
            reconcile.run(others.pop(), later())
        sent(connection, message)

    monkeypatch.setattr(refreshed, "sent", other_comes)
    assert refresh(services, TABLE, numbers(database)[-1]) == "fresh"
    snapshots = [each.data["tables"][0]["snapshot_id"] for each in messages()]
    assert snapshots == [str(day(number)) for number in (1, 1, 2, 2)]


def test_a_rollback_is_told(services, database, messages):
    for number in (1, 2):
        refresh(services, TABLE, published(services, database, number, ["ann"] * number))
    decisions.rollback(services, TABLE, day(1), "test")
    refresh(services, TABLE, numbers(database)[-1])
    taken = messages()
    assert [each.data["tables"][0]["snapshot_id"] for each in taken] == [str(day(number)) for number in (1, 2, 1)]
    assert [each.data["tables"][0]["publication"] for each in taken] == numbers(database)


def test_a_rebuild_for_a_changed_template_is_told(services, database, messages, tmp_path):
    number = published(services, database, 1, ["ann", "bob"])
    refresh(services, TABLE, number)
    file = tmp_path / f"{VIEW}.sql.jinja"
    file.write_text(
        "CREATE MATERIALIZED VIEW {{ view | identifier }} AS"
        f" SELECT user_id, item_id FROM {TABLE} WHERE user_id = 'ann';"
    )
    view = replace(services.catalog.views[VIEW], template=file)
    catalog = replace(services.catalog, views={**services.catalog.views, VIEW: view})
    assert refresh(replace(services, catalog=catalog), TABLE, number) == "refreshed"
    assert told(messages()) == [(VIEW, rows, [str(day(1))]) for rows in (2, 1)]


def test_an_operators_rebuild_is_told_and_done_though_pubsub_refuses(services, misled, database, messages):
    publish(services, 1, ["ann"])
    rebuild(misled, services.catalog.views[VIEW])
    assert (users(database, VIEW), messages(), owed(database)) == (["ann"], [], 1)
    rebuild(services, services.catalog.views[VIEW])
    assert told(messages()) == [(VIEW, 1, [str(day(1))])] * 2


def test_views_that_change_with_the_columns_of_their_table_are_told_by_the_refresh_of_that_publish(
    services, database, messages, tmp_path
):
    drift = Drift(services, database, tmp_path)
    before = drift.of({"name": "varchar", "price": "decimal"})
    drift.publish(before, 1, name=["a"], price=[1])
    drift.refresh(before)
    after = drift.of({"name": "varchar"})
    drift.publish(after, 2, name=["a", "b"])
    assert owed(database) == 1
    assert drift.refresh(after) == "fresh"
    assert [(rows, snapshots) for _, rows, snapshots in told(messages())] == [(1, [str(day(1))]), (2, [str(day(2))])]


def test_nothing_is_sent_that_a_crash_of_the_server_could_undo(services, database, monkeypatch):
    number = published(services, database, 1, ["ann"])
    flushed = []
    monkeypatch.setattr(announce_views, "make_durable", lambda connection: flushed.append(owed(database)))
    refresh(services, TABLE, number)
    assert flushed == [1]


def test_the_hourly_flows_role_sends_what_is_owed_by_a_right_to_delete_it(here, services, misled, database, messages):
    refresh(misled, TABLE, published(services, database, 1, ["ann"]))
    dsn = here.cloud.postgres.dsn(here.name, "api")
    hourly = replace(
        services, settings=replace(services.settings, database=replace(services.settings.database, value=dsn))
    )
    database.execute("GRANT USAGE ON SCHEMA recosync TO api")
    assert reconcile.run(hourly, later()) == []
    assert owed(database) == 1
    database.execute("GRANT DELETE ON recosync.refreshed TO api")
    assert reconcile.run(hourly, later()) == [{"views": [VIEW], "sent": "owed messages of views"}]
    # Before it had the right, it could not note what it had sent.
    assert told(messages()) == [(VIEW, 1, [str(day(1))])] * 2
