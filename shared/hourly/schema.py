"""The BigQuery table of a log: one schema for the function that fills it, and for Terraform that may make it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.catalog import IMPORT_HOUR, BigQueryType, HourlyTable
from shared.errors import ConfigurationError, RetryableError, TargetError
from shared.gcp.bigquery import BigQuery, FieldDocument, TableInfo
from shared.names import TableRef


def schema(table: HourlyTable) -> Sequence[FieldDocument]:
    """The columns as BigQuery's API writes them, none REQUIRED: a load then takes any Parquet file of this catalog."""
    columns = [(column.name, column.target, column.type.array) for column in table.columns]
    columns += [(table.day, BigQueryType.DATE, False), (IMPORT_HOUR, BigQueryType.INT64, False)]
    return [
        {"name": name, "type": target.api, "mode": "REPEATED" if repeated else "NULLABLE"}
        for name, target, repeated in columns
    ]


def ensure(bigquery: BigQuery, ref: TableRef, table: HourlyTable, was_loaded: Callable[[], bool]) -> TableInfo:
    """The log's table, made on first use and given the columns that it lacks. `was_loaded` says whether it was used
    before.

    Raises TargetError that names every other difference: the table holds somebody's data, so nothing else is changed.
    Raises ConfigurationError when the table was used before, and is gone.
    """
    found = bigquery.table(ref)
    if found is None:
        if was_loaded():
            raise ConfigurationError(
                "is gone, though hours were loaded into it",
                where=str(ref),
                remedy="Restore it, by time travel within 7 days: bq cp TABLE@MILLISECONDS TABLE. To go on without its"
                " rows, make it anew by `terraform apply`",
            )
        bigquery.create_table(ref, schema(table), table.target.partition_by, table.target.cluster_by)
    elif _check(found, table):
        bigquery.add_columns(ref, schema(table))
    else:
        return found
    found = bigquery.table(ref)
    if found is None or _check(found, table):
        raise RetryableError("does not have its columns yet", where=str(ref))
    return found


def _check(found: TableInfo, table: HourlyTable) -> bool:
    """Whether columns are missing. Raises TargetError for any other difference."""
    wanted = {column.name: column.bigquery for column in table.columns}
    wanted |= {table.day: BigQueryType.DATE.name, IMPORT_HOUR: BigQueryType.INT64.name}
    wrong = [
        f"column {field.name} is {field.sql}{' REQUIRED' if field.required else ''},"
        f" the catalog says {wanted.get(field.name, 'nothing of it')}"
        for field in found.fields
        if field.required or field.sql != wanted.get(field.name)
    ]
    if found.partitions != f"the day of {table.target.partition_by}":
        wrong.append(f"it is partitioned by {found.partitions}, not by the day of {table.target.partition_by}")
    if found.clustered_by != table.target.cluster_by:
        is_, should = (", ".join(columns) or "nothing" for columns in (found.clustered_by, table.target.cluster_by))
        wrong.append(f"it is clustered by {is_}, the catalog says {should}")
    if wrong:
        raise TargetError(
            "; ".join(wrong),
            where=str(found.ref),
            remedy="Correct the catalog, or copy the rows to a table like it: docs/data.md#adopt-a-logs-table",
        )
    return len(found.fields) < len(wanted)
