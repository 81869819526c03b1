"""An hour of a log, as lineage names it: from PostgreSQL to BigQuery."""

from __future__ import annotations

from shared.hourly.context import LogRun
from shared.lineage import Dataset, Run, deployment, relation
from shared.names import Hour


def batch(run: LogRun, hour: Hour, attempt: str) -> Run:
    """A batch of an hour, from its export to its verification."""
    settings, log = run.services.settings, run.table
    columns = {column.name: column.type.sql for column in log.columns}
    source = relation(run.log_table.connection.info, run.services.catalog.schema, log.name, columns)
    fields = {str(each["name"]): str(each["type"]) for each in run.raw_table.schema}
    return Run(
        deployment(settings.project, settings.environment),
        f"hourly_export.{log.name}",
        f"{hour} {attempt}",
        (source,),
        Dataset("bigquery", str(run.raw_table.ref), fields),
    )
