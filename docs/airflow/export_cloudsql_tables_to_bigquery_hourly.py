"""The logs: each hour from PostgreSQL to BigQuery.

A task has hourly_export bring its log's hour, and ends well when the hour is verified in BigQuery. An asset is updated
then, and for late rows of hours before: recosync://bigquery/<log>.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import recosync_functions
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable
from recosync_functions import CATALOG, RETRIES, CallFunction, alias, answer_of, content, tell

#: Once an hour, for the hour in which the run's data interval begins.
SCHEDULE = CronDataIntervalTimetable("5 * * * *", timezone="UTC")

#: The states of an hour whose rows are verified in BigQuery.
VERIFIED = ("done", "empty", "deleting", "deleted")


def request_of(log: str) -> Any:
    def request(context: Any) -> tuple[dict, dict]:
        at = hour_of(context)
        block = CATALOG["logs"][log]
        hour = {"date": f"{at:%Y%m%d}", "hour": at.hour}
        return {"table_name": log, **hour, "delete_from_source": block["delete_from_source"]}, {}

    return request


def hour_of(context: Any) -> datetime:
    """The hour of a run: that in which its data interval begins. A run without one is for the last that has ended."""
    run = context["dag_run"]
    at = run.data_interval_start or run.run_after - timedelta(hours=1)
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def verified(task: CallFunction, context: Any, response: Any) -> dict[str, Any] | None:
    """What became of the run's hour. Others, which the call looked at too, have runs of their own: they do not fail
    this one.
    """
    at, answer = hour_of(context), content(response)
    hour = f"{at:%Y%m%dT%H}"
    for failed in answer.get("failed", ()):
        told = f"{failed.get('hour', hour)}: {failed['error']}"
        if failed.get("hour", hour) != hour:
            task.log.error(told)
        else:
            raise AirflowException(told) if failed["retryable"] else AirflowFailException(told)
    found = {each["hour"]: each for each in answer.get("hours", ()) if each["state"] in VERIFIED}
    if hour in found:
        # Of the hours before, a run that failed may have told nothing.
        asset = Asset(f"recosync://bigquery/{answer['table']}")
        since = datetime.strptime(min(found) + "+0000", "%Y%m%dT%H%z")
        news = [([asset], {"hour": name, "rows": each["rows"]}) for name, each in found.items()]
        tell(context, answer["table"], since, news)
        return found[hour]
    left = answer_of(response).get("remaining")
    if not left:
        raise AirflowException(f"{hour} is not verified yet")
    task.log.info("Hours before come first. To be called for again: %d hours", left)
    task.defer(trigger=TimeDeltaTrigger(recosync_functions.PAUSE), method_name="execute")
    return None  # never: deferring raises


def looked(task: CallFunction, context: Any, response: Any) -> Any:
    return answer_of(response)["reconciled"]


with DAG(
    dag_id="export_cloudsql_tables_to_bigquery_hourly",
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    doc_md=__doc__,
) as dag:
    for name in CATALOG["logs"]:
        CallFunction(
            task_id=name,
            function="hourly_export",
            request=request_of(name),
            judge=verified,
            inlets=[alias(name)],
            outlets=[alias(name)],
        )
    if not CATALOG["logs"]:
        # Each call looks for lost events of the daily tables too.
        CallFunction(task_id="lost_events", function="hourly_export", request=lambda context: ({}, {}), judge=looked)
