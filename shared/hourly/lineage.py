"""An hour of a log, as lineage names it: from PostgreSQL to BigQuery."""

from __future__ import annotations

from shared.hourly.context import LogRun
from shared.lineage import Dataset, Run
from shared.names import Hour


def batch(run: LogRun, hour: Hour, attempt: str) -> Run:
    """A batch of an hour, from its export to its verification."""
    settings, server, log = run.services.settings, run.log_table.connection.info, run.table
    columns = {column.name: column.type.sql for column in log.columns}
    source = Dataset(
        f"postgres://{server.host}:{server.port}", f"{server.dbname}.{run.services.catalog.schema}.{log.name}", columns
    )
    fields = {str(each["name"]): str(each["type"]) for each in run.raw_table.schema}
    return Run(
        f"{settings.project}.{settings.environment}",
        f"hourly_export.{log.name}",
        f"{hour} {attempt}",
        (source,),
        Dataset("bigquery", str(run.raw_table.ref), fields),
    )
