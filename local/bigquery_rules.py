"""What BigQuery refuses, and local-bigquery 0.3.2 lets pass."""

import duckdb
from local_bigquery.catalog import tables
from local_bigquery.engine import types
from local_bigquery.engine.sessions import Session
from local_bigquery.errors import BigQueryError
from local_bigquery.jobs import query
from local_bigquery.models import JobConfigurationQuery

from local import googlesql

_execute = query.execute


def install() -> None:
    """Have local-bigquery refuse it. Before it serves."""
    query.execute = execute


def execute(
    cur: duckdb.DuckDBPyConnection,
    project: str,
    job: str | None,
    config: JobConfigurationQuery,
    dry_run: bool = False,
    session: Session | None = None,
) -> object:
    """Run a query, if it is GoogleSQL. A statement of nobody's is local-bigquery's own."""
    if job or dry_run:
        _refuse_invalid(config, project)
    return _execute(cur, project, job, config, dry_run, session)


def _refuse_invalid(config: JobConfigurationQuery, project: str) -> None:
    parameters = {
        parameter.name: parameter.parameterType.type for parameter in config.queryParameters or [] if parameter.name
    }
    try:
        googlesql.check(config.query or "", lambda name: _columns(name, config, project), parameters)
    except googlesql.InvalidError as refusal:
        raise BigQueryError("invalidQuery", str(refusal)) from None


def _columns(name: googlesql.Name, config: JobConfigurationQuery, project: str) -> googlesql.Columns | None:
    """The types of a table's columns, None if it is not there."""
    default = config.defaultDataset
    given = ".".join(name).rsplit(".", 2)
    outer = [(default and default.projectId) or project, (default and default.datasetId) or ""]
    reference = [*outer[: 3 - len(given)], *given]
    try:
        found = tables.columns(*reference)
    except (BigQueryError, duckdb.Error):
        return None
    return {column.name: types.bigquery_type(column) for column in found}
