"""Cloud Function: Cloud Scheduler's daily call, or an operator's."""

from datetime import UTC, datetime

import flask
import functions_framework

from shared import entry, services
from shared.daily import export
from shared.upkeep import housekeeping

entry.bound_bodies()


@functions_framework.http
def bq_export(request: flask.Request) -> flask.Response:
    """Export tables to Parquet in Cloud Storage. Body: `{"tables": [...], "date": "YYYYMMDD", "force": bool}`.

    With `{"doctor": true}`, look whether this account finds what it needs, and do nothing else.
    """

    def handle(made: services.Services) -> tuple[entry.Json, int]:
        body = entry.json_body(request, export.FIELDS)
        asked = export.parse(made, body, entry.scheduled_at(request), datetime.now(UTC))
        try:
            answer, status = export.run(made, asked)
        finally:
            dropped = entry.afterwards("housekeeping", lambda: housekeeping.run(made, datetime.now(UTC)))
        return {**answer, "housekeeping": dropped}, status

    return entry.answer_doctor(request, "bq_export") or entry.answer_request(services.daily, handle)
