"""The BigQuery table of a log: one schema for the function that fills it, and for Terraform that may make it first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from shared.catalog import IMPORT_HOUR, BigQueryType, HourlyTable, KeyPath
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
    So does a table with rows that no count of an hour would look for.
    Raises ConfigurationError when the table was used before, and is gone.
    """
    found = bigquery.table(ref)
    if found is None:
        if was_loaded():
            raise gone(ref, table)
        bigquery.create_table(ref, schema(table), table.target.partition_by, table.target.cluster_by)
    elif _check(found, table):
        _refuse_early(bigquery, found, table)
        bigquery.add_columns(ref, schema(table))
    else:
        return found
    found = bigquery.table(ref)
    if found is None or _check(found, table):
        raise RetryableError("does not have its columns yet", where=str(ref))
    return found


def maker(table: HourlyTable) -> str:
    """What makes the table where it is not there: Terraform makes none in a data set of others."""
    return "`terraform apply`" if table.target.ours else "`bq mk`, as docs/data.md#adopt-a-logs-table shows"


def gone(ref: TableRef, table: HourlyTable) -> ConfigurationError:
    """What is wrong where a table that was used is not there."""
    return ConfigurationError(
        "is gone, though hours were loaded into it",
        where=str(ref),
        remedy="Restore it, by time travel within 7 days: bq cp TABLE@MILLISECONDS TABLE. Later, load its hours again,"
        f"{'' if table.target.ours else f' once {maker(table)} has made it:'} recosync restore {table.name} --date …"
        " --until …",
    )


def missing(found: TableInfo, table: HourlyTable) -> list[str]:
    """The columns that the table lacks."""
    present = {field.name for field in found.fields}
    return [name for name in _wanted(table) if name not in present]


def differences(found: TableInfo, table: HourlyTable) -> Iterator[tuple[KeyPath, str]]:
    """What keeps the table from being the log's, besides missing columns, each by its path in the log's block."""
    wanted = _wanted(table)
    for field in found.fields:
        if field.required or field.sql != wanted.get(field.name):
            is_ = f"{field.sql}{' REQUIRED' if field.required else ''}"
            said = wanted.get(field.name, "nothing of it")
            yield ("columns", field.name), f"column {field.name} is {is_}, the catalog says {said}"
        elif field.parameters:
            # BigQuery rounds to the scale, and refuses what is longer
            # (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_data_types).
            limits = f"{field.type}({', '.join(map(str, field.parameters))})"
            lifts = f"ALTER COLUMN {field.name} SET DATA TYPE {field.sql} lifts that"
            yield ("columns", field.name), f"column {field.name} is limited to {limits}, the catalog's is not: {lifts}"
    if found.partitions != f"the day of {table.target.partition_by}":
        what = f"it is partitioned by {found.partitions}, not by the day of {table.target.partition_by}"
        yield ("partition_by",), what
    if found.clustered_by != table.target.cluster_by:
        is_, should = (", ".join(columns) or "nothing" for columns in (found.clustered_by, table.target.cluster_by))
        yield ("cluster_by",), f"it is clustered by {is_}, the catalog says {should}"


def _wanted(table: HourlyTable) -> dict[str, str]:
    """The types of the columns by their names."""
    wanted = {column.name: column.bigquery for column in table.columns}
    return wanted | {table.day: BigQueryType.DATE.name, IMPORT_HOUR: BigQueryType.INT64.name}


def _check(found: TableInfo, table: HourlyTable) -> bool:
    """Whether columns are missing. Raises TargetError for any other difference."""
    wrong = [what for _, what in differences(found, table)]
    if wrong:
        raise TargetError(
            "; ".join(wrong),
            where=str(found.ref),
            remedy="Correct the catalog, or copy the rows to a table like it: docs/data.md#adopt-a-logs-table",
        )
    return bool(missing(found, table))


def _refuse_early(bigquery: BigQuery, found: TableInfo, table: HourlyTable) -> None:
    """Raise TargetError for rows of before whose partition is more than a day before their time: a count of an hour
    does not read it. All partitions are read once, when the table gets its import_hour; the filter that leaves out none
    is for tables that require one (https://cloud.google.com/bigquery/docs/querying-partitioned-tables).
    """
    day, time = f"`{table.day}`", f"`{table.time}`"
    known = {field.name for field in found.fields}
    if IMPORT_HOUR in known or not {table.day, table.time} <= known or table.target.partition_by == table.time:
        return
    early = f"{day} <= DATE '9999-12-31' AND {day} < DATE_SUB(DATE({time}), INTERVAL 1 DAY)"
    if bigquery.rows(found.location, f"SELECT 1 FROM {found.ref.aliased} WHERE {early} LIMIT 1"):
        raise TargetError(
            f"has rows whose {table.day} is more than a day before their {table.time}, so that it is not the day of it",
            where=str(found.ref),
            remedy="Copy the rows to a table like the catalog's: docs/data.md#adopt-a-logs-table",
        )
