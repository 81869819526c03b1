"""Announce views: send the messages that a view stands, which the swaps of views left in the ledger."""

from __future__ import annotations

from msgspec import UNSET

from shared import log, messages, trace
from shared.daily.context import DailyRun
from shared.db.postgres import make_durable
from shared.ledger import refreshed
from shared.ledger.refreshed import Owed


def announce_views(run: DailyRun) -> list[str]:
    """Send what is owed, of each view in the order of its builds; the views.

    Workers that send at once send the same messages twice, and none before an earlier one of its view. Raises
    RetryableError until Pub/Sub takes them.
    """
    topic = run.settings.refreshed_topic
    if topic is None:
        return []
    owed = refreshed.owed(run.connection)
    if owed:
        make_durable(run.connection)  # nobody is told of what a crash could undo
    for each in owed:
        attributes, data = messages.attributes(_attributes(run, each)), messages.body(_data(each))
        with trace.bound(each.traceparent, run.settings.project):
            run.services.publisher.publish(topic, attributes, data, order=each.view)
            refreshed.sent(run.connection, each)
            log.info("view announced", view=each.view)
    return sorted({each.view for each in owed})


def _attributes(run: DailyRun, of: Owed) -> messages.RefreshedAttributes:
    return messages.RefreshedAttributes(
        id_=of.message_id,
        source=messages.source(run.settings.project, run.settings.environment),
        subject=of.view,
        time=of.refreshed_at,
        traceparent=of.traceparent or UNSET,
        view=of.view,
    )


def _data(of: Owed) -> messages.Refreshed:
    return messages.Refreshed(
        view=of.view,
        views=of.views,
        tables=tuple(messages.Held(*held) for held in of.tables),
        rows=of.rows,
        build_seconds=round(of.seconds, 3),
        refreshed_at=of.refreshed_at,
    )
