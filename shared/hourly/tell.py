"""Tell: send the messages that hours are done, which the steps that verified them left in the hours' records."""

from __future__ import annotations

from msgspec import UNSET

from shared import log, messages, trace
from shared.errors import SyncError
from shared.hourly import recover
from shared.hourly.context import LogRun
from shared.hourly.manifest import HourRecord, Owed
from shared.names import Hour


def tell_done(run: LogRun) -> None:
    """Send what is owed of any hour of the log, in the order of the hours. If that fails, it stays owed, and spoils no
    hour: the next run sends it.
    """
    try:
        for hour, record in recover.owing(run):
            # Where nobody is told any more, nothing is owed.
            for owed in record.owes if run.tells else ():
                _send(run, hour, record, owed)
            run.store.advance(hour, record, record.told())
    except SyncError as e:
        log.failure("messages that hours are done are owed: the next call sends them", e)


def _send(run: LogRun, hour: Hour, record: HourRecord, owed: Owed) -> None:
    services, table = run.services, run.table.name
    batches = [batch.export for batch in record.batches if batch.export.number <= owed.batch]
    if owed.batch and (not batches or batches[-1].number != owed.batch):
        return  # an operator had the hour loaded again, or accepted it: it is no batch of the hour any more
    accepted = record.acceptance.content.rows if record.acceptance else 0
    data = messages.HourDone(
        table=table,
        hour=str(hour),
        batch=owed.batch,
        rows=accepted + sum(batch.content.rows for batch in batches),
        new_rows=batches[-1].content.rows if batches else 0,
        late=owed.batch > 1 or (owed.batch == 1 and (record.was_empty or record.acceptance is not None)),
        verified_at=owed.at,
    )
    attributes = messages.HourDoneAttributes(
        id_=f"{table}/{hour}/{owed.at.isoformat()}",
        source=messages.source(services.settings.project, services.settings.environment),
        subject=f"{table}/{hour}",
        time=owed.at,
        traceparent=trace.current() or UNSET,
        table=table,
    )
    topic = services.settings.hour_done_topic or ""
    services.publisher.publish(topic, messages.attributes(attributes), messages.body(data), order=table)
    log.info("announced an hour", hour=str(hour), batch=owed.batch)
