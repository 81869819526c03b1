"""Run a DAG by `dag.test()`, in Airflow's own Python: `drive.py DAG INSTANT RESULT` writes what became of it as JSON.

Nothing here is of the project: the folder of DAGs has all that Airflow is given.
"""

import json
import os
import sys
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path


def main(name: str, at: str, result: str) -> None:
    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    shared, dag = import_module("recosync_functions"), import_module(name).dag
    # A test does not wait for what only takes time.
    shared.PAUSE = timedelta(seconds=1)
    for task in dag.tasks:
        task.retry_delay, task.retry_exponential_backoff = timedelta(seconds=1), False
    run = dag.test(logical_date=datetime.fromisoformat(at))
    Path(result).write_text(json.dumps({"state": run.state, **found(run)}))


def found(run) -> dict:
    from airflow.models.asset import AssetDagRunQueue, AssetEvent
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        tasks = {each.task_id: [each.state, each.try_number] for each in run.get_task_instances(session=session)}
        events = session.scalars(select(AssetEvent).order_by(AssetEvent.id)).all()
        queued = session.scalars(select(AssetDagRunQueue)).all()
        returned = session.scalars(select(XComModel).where(XComModel.run_id == run.run_id)).all()
        return {
            "tasks": tasks,
            "returned": {each.task_id: each.value for each in returned if each.key == "return_value"},
            "events": [[event.asset.uri, event.extra] for event in events],
            "queued": sorted({each.target_dag_id for each in queued}),
        }


if __name__ == "__main__":
    main(*sys.argv[1:])
