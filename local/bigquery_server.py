"""local-bigquery 0.3.2 with the behaviour of BigQuery that it lacks and we rely on. Run as a program.

Its tables are those of `bigquery_tables`, what it knows of them is in `bigquery_resources`, and what it refuses beyond
its own in `bigquery_rules`.

- An extract to a `*` URI writes several parts, ROWS_PER_PART rows each; a view can't be extracted.
- An array that is NULL is stored as an empty one, and extracted so.
- A load into `table$YYYYMMDD` touches only that day's partition, and so does its deletion.
- A load reads the columns of the file; `date=20260101/` in an object's name is one only where the job says so.
- Bytes in Parquet are bytes, and its lists are arrays only where the job asks for that.
- An INTERVAL in a column becomes text as BigQuery writes it.
- Of two simultaneous submits of one job id, one wins; 0.3.2 checks first and saves later, so both could run.
- Everything is in one place, and what lies elsewhere is not found (`bigquery_rules`).
- `PUT /emulated/PROJECT?datasets=a,b` makes a project's data sets at once, `DELETE /emulated/PROJECT` forgets it, which
  BigQuery does not have: tests make hundreds of them.
"""

import fcntl
import math
import os
import re
import sys
import threading
import uuid
from importlib.resources import files
from pathlib import Path

import duckdb
from local_bigquery import app, cli
from local_bigquery.catalog import tables
from local_bigquery.catalog.datasets import create
from local_bigquery.engine import database, types
from local_bigquery.engine.database import quote
from local_bigquery.errors import BigQueryError, already_exists, not_found
from local_bigquery.jobs import extract, load, runner
from local_bigquery.jobs.storage import literal, written
from local_bigquery.models import (
    Dataset,
    DatasetReference,
    Job,
    JobConfiguration,
    JobConfigurationExtract,
    JobConfigurationLoad,
    JobStatistics3,
    JobStatistics4,
    Table,
    TableFieldSchema,
    TableReference,
)
from local_bigquery.sql import translate
from local_bigquery.sql.rules import datetime
from sqlglot import exp

from local import LOCATION, bigquery_resources, bigquery_rules, bigquery_tables

# DuckLake is asked for, and not used.
_EXTENSIONS = ("ducklake", "icu", "spatial", "httpfs")
_ROWS_PER_PART = int(os.environ["ROWS_PER_PART"])
# Several row groups in a part of ordinary size, as real extracts have.
_ROW_GROUP_SIZE = 20_480
_submitting = threading.Lock()
_load, _extract, _submit, _hive = load.run, extract.run, runner.submit, load._hive
_projection, _delete = load._projection, tables.delete


def run_submit(project_id: str, job_id: str, configuration: JobConfiguration, upload: str | None = None) -> Job:
    bigquery_rules.check_job(project_id, job_id, configuration)
    with _submitting:
        return _submit(project_id, job_id, configuration, upload)


def run_extract(cur: duckdb.DuckDBPyConnection, config: JobConfigurationExtract, upload: str | None) -> JobStatistics4:
    bigquery_rules.check_extract(config)
    reference = tables.reference(config.sourceTable)
    if tables.load(*reference).type == "VIEW":
        message = f"{'.'.join(reference)} is not allowed for this operation because it is currently a VIEW."
        raise BigQueryError("invalid", message)
    uris = config.destinationUris or [config.destinationUri]
    if config.destinationFormat != "PARQUET" or len(uris) != 1 or "*" not in uris[0]:
        return _extract(cur, config, upload)
    source = cur.sql(f"SELECT * FROM {tables.name(*reference)}")
    # A column made by SELECT 1 is an INT32 in the emulator's table, and INT64 in every BigQuery extract.
    # And no array that is stored is NULL.
    columns = (
        f"{f'coalesce({value}, [])' if kind.id == 'list' else value} AS {quote(name)}"
        for name, kind in zip(source.columns, source.types, strict=True)
        for value in [types.cast(quote(name), kind)]
    )
    cur.execute(f"CREATE OR REPLACE TEMP TABLE extracted AS SELECT {', '.join(columns)} FROM {tables.name(*reference)}")
    (rows,) = cur.execute("SELECT count(*) FROM extracted").fetchone() or (0,)
    parts = max(1, math.ceil(rows / _ROWS_PER_PART))
    codec = "uncompressed" if config.compression in (None, "NONE") else config.compression.lower()
    for part in range(parts):
        first = part * _ROWS_PER_PART
        with written(uris[0].replace("*", f"{part:012d}")) as target:
            cur.execute(
                f"COPY (SELECT * FROM extracted WHERE rowid BETWEEN {first} AND {first + _ROWS_PER_PART - 1}) "
                f"TO {literal(target)} (FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {_ROW_GROUP_SIZE})"
            )
    cur.execute("DROP TABLE extracted")
    return JobStatistics4(destinationUriFileCounts=[str(parts)], inputBytes="0")


def run_load(cur: duckdb.DuckDBPyConnection, config: JobConfigurationLoad, upload: str | None) -> JobStatistics3:
    bigquery_rules.check_load(config)
    project, dataset, decorated = tables.reference(config.destinationTable)
    table, _, partition = decorated.partition("$")
    if not partition:
        return _load(cur, config, upload)
    if not re.fullmatch(r"\d{8}", partition):
        raise BigQueryError("invalid", f"Invalid partition id {partition}")
    stage = (project, dataset, f"stage_{uuid.uuid4().hex}")
    try:
        staged = TableReference(projectId=stage[0], datasetId=stage[1], tableId=stage[2])
        # What must exist is the table; what is staged is new in any case.
        onto = {"destinationTable": staged, "createDisposition": "CREATE_IF_NEEDED"}
        statistics = _load(cur, config.replace(**onto), upload)
        _replace_day((project, dataset, table), partition, stage, config)
        return statistics
    finally:
        if tables.exists(*stage):
            tables.delete(*stage)


def _replace_day(
    reference: tuple[str, str, str], partition: str, stage: tuple[str, str, str], config: JobConfigurationLoad
) -> None:
    """Move the staged rows into one day of a day-partitioned table, as the write disposition says."""
    known = tables.exists(*reference)
    layout = (known and tables.load(*reference).timePartitioning) or config.timePartitioning
    if not layout or not layout.field:
        raise BigQueryError("invalid", "Only tables that are partitioned by a column have partitions here")
    if not known and config.createDisposition == "CREATE_NEVER":
        raise not_found("Table", ".".join(reference))
    target, source = tables.name(*reference), tables.name(*stage)
    in_day = _of_day(layout.field, partition)
    if database.fetch(f"SELECT 1 FROM {source} WHERE ({in_day}) IS NOT TRUE LIMIT 1"):
        message = f"Some rows belong to different partitions rather than destination partition {partition}"
        raise BigQueryError("invalid", message)
    with database.writing(*reference), database.cursor() as cur:
        if not known:
            cur.execute(f"CREATE TABLE {target} AS SELECT * FROM {source} LIMIT 0")
            schema = {"schema": config.schema_} if config.schema_ else {}
            tables.annotate(reference, Table(timePartitioning=layout, **schema, clustering=config.clustering))
        cur.execute("BEGIN")
        try:
            taken = cur.execute(f"SELECT 1 FROM {target} WHERE {in_day} LIMIT 1").fetchone()
            if taken and config.writeDisposition == "WRITE_EMPTY":
                raise already_exists("Table", f"{'.'.join(reference)}${partition}")
            if config.writeDisposition == "WRITE_TRUNCATE":
                cur.execute(f"DELETE FROM {target} WHERE {in_day}")
            cur.execute(f"INSERT INTO {target} BY NAME SELECT * FROM {source}")
            cur.execute("COMMIT")
        except BaseException:
            cur.execute("ROLLBACK")
            raise


def delete(project: str, dataset: str, decorated: str) -> None:
    """Delete a table, or a day of it (https://cloud.google.com/bigquery/docs/managing-partitions#delete_a_partition)."""
    table, _, partition = decorated.partition("$")
    if not partition:
        _delete(project, dataset, table)
        return
    reference = (project, dataset, table)
    layout = tables.load(*reference).timePartitioning
    with database.writing(*reference), database.cursor() as cur:
        cur.execute(f"DELETE FROM {tables.name(*reference)} WHERE {_of_day(layout.field, partition)}")


def _of_day(column: str, partition: str) -> str:
    return f"CAST({quote(column)} AS DATE) = strptime('{partition}', '%Y%m%d')::DATE"


def hive(config: JobConfigurationLoad) -> dict[str, str]:
    return _hive(config) or {"hive_partitioning": "false"}


def projection(config: JobConfigurationLoad, fields: list[TableFieldSchema], columns: list[str]) -> tuple[str, str]:
    """What is read of a file. local-bigquery decodes bytes of every format as if they were base64."""
    if config.sourceFormat != "PARQUET" or not fields:
        found: tuple[str, str] = _projection(config, fields, columns)
        return found
    if not (config.parquetOptions and config.parquetOptions.enableListInference):
        for field in fields:
            if field.mode == "REPEATED":
                # BigQuery itself takes the list for a STRUCT, and leaves such a column empty.
                raise BigQueryError("invalid", f"Field {field.name} is a list, and lists are not inferred")
    casts = (f"CAST({quote(f.name)} AS {types.duckdb_type(f)}) AS {quote(f.name)}" for f in fields)
    return ", ".join(casts), "false"


def interval_text(node: exp.Expression, _: translate.Context) -> exp.Expression:
    """The text of an INTERVAL in a column, which would be DuckDB's."""
    if isinstance(node, exp.Cast) and node.to.is_type(*exp.DataType.TEXT_TYPES):
        given = node.this
        if isinstance(given, exp.Column) and given.is_type(exp.DataType.Type.INTERVAL):
            replacement: exp.Expression = datetime.macro("_interval_string", given)
            return replacement
    return node


def begin(project: str, datasets: str) -> None:
    for name in datasets.split(","):
        reference = DatasetReference(projectId=project, datasetId=name)
        create(project, Dataset(datasetReference=reference, location=LOCATION))


def forget(project: str) -> None:
    bigquery_tables.forget(project)
    bigquery_resources.forget(project)


def _install_extensions() -> None:
    """Put the packaged DuckDB extensions where DuckDB finds them by itself: under HOME, which servers share."""
    with Path.home().joinpath("installing").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for name in _EXTENSIONS:
            folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            duckdb.execute(f"INSTALL '{folder / f'{name}.duckdb_extension'}'")


def main() -> int | None:
    runner.submit = run_submit
    tables.delete = delete
    load._hive = hive
    load._projection = projection
    translate.NODE_RULES.insert(0, interval_text)
    bigquery_resources.install()
    bigquery_tables.install()
    bigquery_rules.install()
    runner.HANDLERS.update(load=run_load, extract=run_extract)
    app.add_api_route("/emulated/{project}", begin, methods=["PUT"], status_code=204)
    app.add_api_route("/emulated/{project}", forget, methods=["DELETE"], status_code=204)
    _install_extensions()
    cli.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
