"""Cloud Function: Cloud Scheduler's hourly call, or an operator's."""

import logging
import os
from datetime import UTC, datetime

import flask
import functions_framework

from shared import entry, services
from shared.gcp.monitoring import Monitoring
from shared.hourly import run
from shared.hourly.request import FIELDS, for_lost_events, parse
from shared.operate.status.collect import gather
from shared.operate.status.gauges import gauges
from shared.upkeep import reconcile

# Arrow's own allocator holds on to what a thread has freed: 40 MiB here. Arrow reads this when it is first imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

entry.bound_bodies()


@functions_framework.http
def hourly_export(request: flask.Request) -> flask.Response:
    """Export ended hours to BigQuery. Body: `{"table_name", "date", "hour", "until", "delete_from_source", …}`.

    With `{"doctor": true}`, look whether this account finds what it needs, and do nothing else.
    """

    def handle(made: services.HourlyServices) -> tuple[entry.Json, int]:
        body = entry.json_body(request, FIELDS)
        idle = for_lost_events(made.catalog, body)
        asked = None if idle else parse(made, body, entry.scheduled_at(request), datetime.now(UTC))
        try:
            answer, status = run.run(made, asked) if asked else run.nothing(made)
        finally:
            sent = entry.afterwards("reconciliation", lambda: reconcile.run(services.daily(), datetime.now(UTC)))
            entry.afterwards("gauges", lambda: _tell_gauges(made))
        return {**answer, "reconciled": sent}, status

    return entry.answer_doctor(request, "hourly_export") or entry.answer_request(services.hourly, handle)


def _tell_gauges(made: services.HourlyServices) -> None:
    """Write how everything stands to Cloud Monitoring, for the alerts. What can't be read has no number: before the
    first import there is no ledger.
    """
    settings, report = made.settings, gather(made, severity=logging.WARNING)
    monitoring = Monitoring(settings.project, settings.environment, settings.monitoring_emulator)
    monitoring.write(gauges(report), report.made_at)
