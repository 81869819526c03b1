"""Reconcile: a publication that the views never held, or whose message was never sent, is announced again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.daily.refresh import refresh
from shared.errors import ConfigurationError, TargetError
from shared.upkeep import reconcile
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, day, publish, publish_rows

VIEW = "non_recommendable_items_mv"
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")


def later(minutes=31):
    return datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.fixture
def messages(here):
    """Takes the publications that completion messages have told of."""
    subscriber, name = here.cloud.subscriber, f"projects/{here.project}/subscriptions/test"
    subscriber.create_subscription(request={"name": name, "topic": here.topic})

    def take():
        request = {"subscription": name, "max_messages": 10, "return_immediately": True}
        received = subscriber.pull(request=request).received_messages
        if received:
            subscriber.acknowledge(request={"subscription": name, "ack_ids": [m.ack_id for m in received]})
        told = [dict(m.message.attributes) for m in received]
        return [(each["table"], each["snapshot_id"]) for each in told if int(each["publication"])]

    yield take
    subscriber.delete_subscription(subscription=name)


@pytest.fixture
def published(services, messages):
    """The first snapshot, of which no message reached anybody."""
    publish(services, 1, ["ann"])
    assert messages() == [told(1)]


def told(number):
    return (TABLE, str(day(number)))


def owed(database):
    return one(database, "SELECT count(*) FROM recosync.publication WHERE announced_at IS NULL")


@pytest.mark.usefixtures("published")
def test_a_publication_that_its_view_does_not_hold_is_announced_again(services, database, messages):
    number = one(database, "SELECT publication FROM recosync.publication")
    sent = {"table": TABLE, "publication": number, "sent": "message", "views": [VIEW]}
    assert reconcile.run(services, later()) == [sent]
    assert messages() == [told(1)]
    assert refresh(services, TABLE, 1) == "refreshed"
    assert reconcile.run(services, later(100_000)) == []
    assert (messages(), owed(database)) == ([], 0)


@pytest.mark.usefixtures("published")
def test_of_several_publications_the_newest_is_announced(services, messages):
    refresh(services, TABLE, 1)
    for number in (2, 3):
        publish(services, number, ["bob"])
    messages()
    reconcile.run(services, later())
    assert messages() == [told(3)]


@pytest.mark.usefixtures("published")
def test_a_young_publication_is_left_to_its_own_message(services, messages):
    assert reconcile.run(services, later(29)) == []
    assert messages() == []


@pytest.mark.usefixtures("published")
def test_the_pause_grows_while_no_view_comes(services, database, messages):
    database.execute("UPDATE recosync.publication SET published_at = announced_at - interval '4 hours'")
    assert reconcile.run(services, later(3 * 60)) == []
    assert len(reconcile.run(services, later(4 * 60 + 1))) == 1
    database.execute("UPDATE recosync.publication SET published_at = announced_at - interval '9 days'")
    assert reconcile.run(services, later(23 * 60)) == []
    assert len(reconcile.run(services, later(25 * 60))) == 1
    assert messages() == [told(1)] * 2


def test_a_message_that_is_owed_is_sent(services, database, messages):
    broken = replace(services, settings=replace(services.settings, topic="no-such-topic"))
    with pytest.raises(ConfigurationError):
        publish(broken, 1, ["ann"])
    assert owed(database) == 1
    refresh(services, TABLE, 1)  # by an operator's hand
    assert reconcile.run(services, later(29)) == []
    assert reconcile.run(services, later()) == [{"table": TABLE, "sent": "owed message"}]
    assert (messages(), owed(database)) == ([told(1)], 0)


@pytest.mark.usefixtures("published")
def test_a_message_that_pubsub_does_not_take_stays_owed(services, database, messages):
    broken = replace(services, settings=replace(services.settings, topic="no-such-topic"))
    assert reconcile.run(broken, later()) == []
    assert owed(database) == 1
    assert len(reconcile.run(services, later())) == 1
    assert (messages(), owed(database)) == ([told(1)], 0)


@pytest.mark.usefixtures("published")
def test_a_refresh_that_failed_for_good_is_left_to_its_human(services, database, messages):
    database.execute(f"CREATE TABLE public.{VIEW} (n integer)")
    with pytest.raises(TargetError):
        refresh(services, TABLE, one(database, "SELECT publication FROM recosync.publication"))
    assert reconcile.run(services, later()) == []
    publish(services, 2, ["bob"])
    messages()
    reconcile.run(services, later())
    assert messages() == [told(2)]


def test_a_view_that_waits_for_another_table_is_no_lost_event(services, database, messages):
    offers, booked = "recommendable_offers_raw", TABLE
    both = replace(services.catalog.views[VIEW], reads=(offers, booked))
    services = replace(services, catalog=replace(services.catalog, views={VIEW: both}))
    publish(services, 1, ["ann"])
    assert reconcile.run(services, later()) == []
    publish_rows(services, 1, offers, {"unique_id": ["u"], "item_id": ["i"], "offer_id": ["o"]})
    messages()
    assert {each["table"] for each in reconcile.run(services, later())} == {offers, booked}


@pytest.mark.usefixtures("published")
def test_the_hourly_flows_role_needs_no_right_but_these(here, services, database, messages, monkeypatch):
    dsn = here.cloud.postgres.dsn(here.name, "api")
    hourly = replace(
        services, settings=replace(services.settings, database=replace(services.settings.database, value=dsn))
    )
    with pytest.raises(ConfigurationError, match="recosync"):
        reconcile.run(hourly, later())
    database.execute(
        "GRANT USAGE ON SCHEMA recosync TO api; GRANT UPDATE (announced_at) ON recosync.publication TO api"
    )
    assert len(reconcile.run(hourly, later())) == 1
    assert messages() == [told(1)]
