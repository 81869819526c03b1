"""The BigQuery source of a table: whether it is what the catalog says, and the queries that read and count it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.catalog import Column, PgType, Table
from shared.errors import DriftError, SourceError
from shared.gcp.bigquery import TableInfo
from shared.rows.profile import ColumnProfile, Profile, is_summed
from shared.services import Services

#: Of a column that does not add up to the same integer in BigQuery and in PostgreSQL.
_UNKNOWN = "NULL"


def check(services: Services, table: Table) -> TableInfo:
    """The source's metadata. Raises DriftError when it lacks a column or has another type for it, SourceError when it
    does not exist, or when a policy may mask a column.
    """
    source = find(services, table)
    mistakes = [f"column {name} {what}" for name, what in drifted(table, source).items()]
    if mistakes:
        raise DriftError("; ".join(mistakes), where=str(source.ref), remedy="Mend the source, or change the catalog")
    _refuse_masked(table, source)
    return source


def _refuse_masked(table: Table, source: TableInfo) -> None:
    """Raise SourceError for columns with a policy: whom it does not let see the values gets others in silence, and the
    counts of both sides agree (https://cloud.google.com/bigquery/docs/column-data-masking-intro).
    """
    names = {column.name for column in table.columns}
    masked = [field.name for field in source.fields if field.masked and field.name in names]
    if masked:
        raise SourceError(
            f"a policy tag or a data policy may mask {', '.join(masked)} for this account, which nobody would see",
            where=str(source.ref),
            remedy="Name a view, or a table that a query writes, as the source: neither has the policy",
        )


def find(services: Services, table: Table) -> TableInfo:
    """The source's metadata, whatever its columns. Raises SourceError when it does not exist."""
    settings, of = services.settings, table.source
    ref = of.ref(settings.project, settings.datasets)
    source = services.bigquery.table(ref)
    if source is None:
        raise SourceError("does not exist", where=str(ref), remedy=f"Make it, or correct {of.said_by}")
    return source


def drifted(table: Table, source: TableInfo) -> dict[str, str]:
    """The columns that the source lacks, or has of a type that can't become the catalog's, with what is wrong."""
    types = {field.name: field.sql for field in source.fields}
    return {
        column.name: f"is {types.get(column.name, 'missing')}, {column.type.sql} takes {_either(column)}"
        for column in table.columns
        if types.get(column.name) not in column.type.sources
    }


def select(table: Table, source: TableInfo, as_of: datetime) -> str:
    """The query whose result is exported."""
    # A snapshot in time is for tables; a view is read as it is
    # (https://cloud.google.com/bigquery/docs/access-historical-data).
    at = f" FOR SYSTEM_TIME AS OF TIMESTAMP '{as_of.isoformat()}'" if source.kind == "TABLE" else ""
    return f"SELECT {', '.join(_expressions(table, source))} FROM {source.ref.aliased}{at}"


def count(table: Table, source: TableInfo, of: str) -> str:
    """The query that counts the rows, the keys, the values and the sums of what `select` gives: a table of that, or the
    query itself in brackets. BigQuery groups no JSON, and the text that becomes of it.
    """
    key = ", ".join(f"`{name}`" for name in table.key)
    keys = f"(SELECT COUNT(*) FROM (SELECT 1 FROM {of} GROUP BY {key}))" if key else _UNKNOWN
    counted = ["COUNT(*)", keys, *map(_count, table.columns), *_sums(table, source)]
    return f"SELECT {', '.join(counted)} FROM {of}"


def profile(table: Table, source: TableInfo, counted: Sequence[object]) -> Profile:
    """What the row that `count` gives says."""
    rows, keys, *found = counted
    columns, sums = table.columns, _sums(table, source)
    of = {
        column.name: ColumnProfile(_whole(values), None if expression == _UNKNOWN else _whole(total))
        for column, expression, values, total in zip(
            columns, sums, found[: len(columns)], found[len(columns) :], strict=True
        )
    }
    return Profile(_whole(rows), of, _whole(keys) if table.key else None)


def _count(column: Column) -> str:
    """How many values there are. A stored array that is NULL is an empty one, and nothing says which of the two an
    export has for it (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls).
    """
    if column.type.is_list:
        return f"COUNTIF(ARRAY_LENGTH(`{column.name}`) > 0)"
    return f"COUNT(`{column.name}`)"


def _sums(table: Table, source: TableInfo) -> list[str]:
    types = {field.name: field.sql for field in source.fields}
    return [_sum(column, types[column.name]) for column in table.columns]


def _sum(column: Column, source: str) -> str:
    """What BigQuery can add up of a column of that type as PostgreSQL does."""
    if not is_summed(column):
        return _UNKNOWN
    if source == "STRING" and column.type.plain in (PgType.VARCHAR, PgType.TEXT):
        return f"SUM(BYTE_LENGTH(`{column.name}`))"
    # A sum of INT64 may be longer than one.
    sums = {"INT64": f"SUM(CAST(`{column.name}` AS NUMERIC))", "BOOL": f"COUNTIF(`{column.name}`)"}
    return sums.get(source, _UNKNOWN)


def _whole(number: object) -> int:
    return int(str(number).partition(".")[0]) if number is not None else 0


def _expressions(table: Table, source: TableInfo) -> Sequence[str]:
    """The columns of the catalog, in its order."""
    types = {field.name: field.sql for field in source.fields}
    return [_expression(f"`{column.name}`", types[column.name]) for column in table.columns]


def _expression(name: str, type_: str) -> str:
    """A column, as text where no reader of Parquet has its type, or not all of its digits."""
    match type_:
        case "JSON" | "STRUCT" | "ARRAY<STRUCT>":
            # TO_JSON_STRING would make a NULL the text 'null'.
            return f"IF({name} IS NULL, NULL, TO_JSON_STRING({name})) AS {name}"
        case "RANGE":
            bounds = f"STRUCT(RANGE_START({name}) AS start, RANGE_END({name}) AS `end`)"
            return f"IF({name} IS NULL, NULL, TO_JSON_STRING({bounds})) AS {name}"
        case "BIGNUMERIC" | "INTERVAL":
            return f"CAST({name} AS STRING) AS {name}"
        case "ARRAY<BIGNUMERIC>" | "ARRAY<INTERVAL>":
            elements = f"UNNEST({name}) AS element WITH OFFSET AS place ORDER BY place"
            return f"IF({name} IS NULL, NULL, ARRAY(SELECT CAST(element AS STRING) FROM {elements})) AS {name}"
        case _:
            return name


def _either(column: Column) -> str:
    return " or ".join(column.type.sources)
