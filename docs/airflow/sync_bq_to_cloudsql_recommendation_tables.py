"""The daily tables: from BigQuery to readers of PostgreSQL's tables and views.

Each table goes its own way: `export` has bq_export make its snapshot, `readers` waits until the table and each view of
it have it. An asset of each is updated then: recosync://postgresql/<table or view>.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import recosync_functions
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, BaseOperator, CronTriggerTimetable, TaskGroup
from recosync_functions import CATALOG, RETRIES, CallFunction, alias, answer_of, status, tell

#: Several tries a morning, for sources that come late: a source that has not changed is not exported again.
SCHEDULE = CronTriggerTimetable("0,30 4-7 * * *", timezone="UTC")

#: For how long readers are waited for, before the task fails and is tried again.
TIMEOUT = timedelta(hours=2)


def request_of(table: str) -> Any:
    def request(context: Any) -> tuple[dict, dict]:
        """The body and headers of a run's call. A run that is repeated goes on with its snapshot. The run of a day that
        is over has that day's snapshot, whenever it was made.
        """
        run = context["dag_run"]
        at = (run.logical_date or run.run_after).astimezone(UTC)
        if at.date() < datetime.now(UTC).date():
            return {"tables": [table], "date": f"{at:%Y%m%d}"}, {}
        return {"tables": [table]}, {"X-CloudScheduler-ScheduleTime": at.isoformat()}

    return request


def snapshot_of(task: CallFunction, context: Any, response: Any) -> str:
    """The snapshot that readers are to have."""
    (told,) = answer_of(response)["tables"]
    for reason in told.get("reasons", ()):
        task.log.warning("%s: %s", told["table"], reason)
    # Unchanged since a snapshot that was rejected, or gone back from, it leaves readers with what they have.
    found = told["published_snapshot_id"] if told["status"] == "unchanged" else told["snapshot_id"]
    if found is None:
        raise AirflowFailException(f"{told['table']} is unchanged since {told['snapshot_id']}, which was not published")
    return found


class AwaitReaders(BaseOperator):
    """Waits until a table and all its views hold the snapshot of the task before, or a newer one.

    Between two looks at the status, the standard provider's own trigger waits.
    """

    def __init__(self, *, table: str, **task: Any) -> None:
        super().__init__(inlets=[alias(table)], outlets=[alias(table)], **task)
        self.table = table

    def execute(self, context: Any, event: Any = None) -> dict[str, Any]:
        ti = context["ti"]
        snapshot = ti.xcom_pull(task_ids=f"{self.table}.export")
        report = status()
        waits = waits_for(report, self.table, snapshot)
        if waits is None:
            return self._tell(context, report)
        self.log.info("%s %s: %s", self.table, snapshot, waits)
        if datetime.now(UTC) - ti.start_date > TIMEOUT:
            raise AirflowException(f"{self.table} {snapshot} has not come to readers in {TIMEOUT}: {waits}")
        self.defer(trigger=TimeDeltaTrigger(recosync_functions.PAUSE), method_name="execute")
        return {}  # never: deferring raises

    def _tell(self, context: Any, report: dict[str, Any]) -> dict[str, Any]:
        """Update the assets, once for each publication."""
        published = table_in(report, self.table)["published"]
        names = [self.table, *(view["name"] for view in views_of(report, self.table))]
        extra = {name: published[name] for name in ("snapshot", "publication", "rows")}
        assets = [Asset(f"recosync://postgresql/{name}") for name in names]
        tell(context, self.table, datetime.fromisoformat(published["published_at"]), [(assets, extra)])
        self.log.info("Readers of %s have %s", ", ".join(names), published["snapshot"])
        return extra


def waits_for(report: dict[str, Any], name: str, snapshot: str) -> str | None:
    """What readers of a table and its views wait for; None when they have the snapshot. Snapshots are in the order of
    their names. Raises AirflowFailException where somebody has to do something.
    """
    if report["tables"] is None or report["views"] is None:
        return "; ".join(["the status lacks a part", *(problem["message"] for problem in report["problems"])])
    table = table_in(report, name)
    published = table["published"]
    if published is None or published["snapshot"] < snapshot:
        return _before_readers(table, snapshot)
    behind = [view for view in views_of(report, name) if not _holds(view, name, snapshot)]
    failures = (report["failures"] or {"newest": []})["newest"]
    subject = f"publication {published['publication']}"
    for failure in failures:
        if behind and (failure["table"], failure["subject"], failure["over"]) == (name, subject, False):
            raise AirflowFailException(f"published, and its views are as they were: {failure['message']}")
    for view in behind:
        if view["gone"]:
            raise AirflowFailException(f"{view['name']} was dropped. To build it: {view['gone']}")
    return f"refresh of {', '.join(view['name'] for view in behind)}" if behind else None


def _before_readers(table: dict[str, Any], snapshot: str) -> str:
    if pin := table["pin"]:
        told = f"{pin['pinned_by']} keeps readers at {pin['snapshot']}. To let them have newer ones: {pin['unpin']}"
        raise AirflowFailException(told)
    for held in table["held"]:
        if held["snapshot"] >= snapshot:
            decide = f"To decide: {held['approve']}, or {held['reject']}. After an approval, clear this task"
            raise AirflowFailException(f"{held['snapshot']} is held: {'; '.join(held['reasons'])}. {decide}")
    for run in table["runs"]:
        if run["snapshot"] == snapshot and run["outcome"] in ("rejected", "failed"):
            raise AirflowFailException(f"{snapshot}: {run['message'] or run['outcome']}")
        if run["snapshot"] == snapshot:
            return f"import: {run['outcome']}"
    return "import: not begun"


def _holds(view: dict[str, Any], table: str, snapshot: str) -> bool:
    return any(source["table"] == table and source["snapshot"] >= snapshot for source in view["reads"])


def table_in(report: dict[str, Any], name: str) -> dict[str, Any]:
    found = next((table for table in report["tables"] if table["name"] == name), None)
    if found is None:
        raise AirflowFailException(f"{name} is not in the catalog that is deployed: is terraform.json another one's?")
    return found


def views_of(report: dict[str, Any], table: str) -> list[dict[str, Any]]:
    return [v for v in report["views"] if table in (*v["missing"], *(source["table"] for source in v["reads"]))]


with DAG(
    dag_id="sync_bq_to_cloudsql_recommendation_tables",
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
    doc_md=__doc__,
) as dag:
    for name in CATALOG["tables"]:
        with TaskGroup(name):
            export = CallFunction(task_id="export", function="bq_export", request=request_of(name), judge=snapshot_of)
            export >> AwaitReaders(task_id="readers", table=name)
