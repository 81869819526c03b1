"""The sources of a catalog's tables in the emulated BigQuery: each by its query in `local.data`, or else made up."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigquery import LoadJobConfig, ParquetOptions, SchemaField, SourceFormat, WriteDisposition

from local import data, made_up
from local.cloud import Deployment
from shared import catalog
from shared.catalog import Table
from shared.names import TableRef
from shared.words import quantity

#: There are so many times fewer rows in a source that is made up than there are offers.
_FEWER = 3

_TYPES = {
    "tinyint": "INT64",
    "smallint": "INT64",
    "integer": "INT64",
    "bigint": "INT64",
    "float": "FLOAT64",
    "double": "FLOAT64",
    "boolean": "BOOL",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "blob": "BYTES",
    "geometry": "GEOGRAPHY",
    "varchar": "STRING",
}


class InputError(Exception):
    """What a catalog's own folder says of its input makes no source, or no log: the message says where and why."""


@dataclass(frozen=True)
class _Source:
    """One source: the tables that read it, and the query that makes it, of DuckDB if it is in a `file`."""

    ref: TableRef
    tables: Sequence[Table]
    query: str
    file: Path | None


class Sources:
    """What the tables of a catalog are exported from. The sources that are there are remembered by their query."""

    def __init__(self, here: Deployment, offers: int) -> None:
        self._here, self._sizes = here, data.Sizes(offers)
        self._made: dict[TableRef, str] = {}

    def told(self) -> str:
        """How much there is to make."""
        found = list(self._sources())
        made_up = sum(source.file is None for source in found)
        own = [str(self._sizes)] if made_up < len(found) else []
        return " and ".join([*own, *([f"rows of {quantity(made_up, 'source')}"] if made_up else [])])

    def make(self) -> list[TableRef]:
        """Make those that are not there as the catalog has them; which these were. Raises InputError."""
        wanted = [source for source in self._sources() if self._made.get(source.ref) != source.query]
        with ExitStack() as stack:
            if any(source.file for source in wanted):
                db = stack.enter_context(data.prepared(self._sizes))
            for source in wanted:
                self._here.make_dataset(source.ref)
                try:
                    if source.file:
                        self._load(db, source)
                    else:
                        made = f"CREATE OR REPLACE TABLE {source.ref.quoted} AS {source.query}"
                        self._here.bigquery_client.query(made).result()
                except (GoogleAPICallError, duckdb.Error) as e:
                    raise InputError(f"{source.file or source.ref}: could not be made: {e}") from None
                self._made[source.ref] = source.query
        return [source.ref for source in wanted]

    def _sources(self) -> Iterator[_Source]:
        readers: defaultdict[TableRef, list[Table]] = defaultdict(list)
        for table in catalog.load(self._here.place).tables.values():
            readers[self._here.source(table)].append(table)
        for ref, tables in readers.items():
            yield self._source(ref, tables)

    def _source(self, ref: TableRef, tables: Sequence[Table]) -> _Source:
        """By the query of the catalog's own folder, or by ours if it has the columns, or made up."""
        own = self._here.place.file.parent / "input"
        if (own / f"{ref.table}.sql").is_file():
            source = _Source(ref, tables, data.source(ref.table, own), own / f"{ref.table}.sql")
            if lacking := _lacking(source):
                raise InputError(f"{source.file}: {lacking}")
            return source
        if (data.INPUT / f"{ref.table}.sql").is_file():
            source = _Source(ref, tables, data.source(ref.table), data.INPUT / f"{ref.table}.sql")
            if not _lacking(source):
                return source
        return _Source(ref, tables, made_up.source(tables, max(1, self._sizes.offers // _FEWER)), None)

    def _load(self, db: duckdb.DuckDBPyConnection, source: _Source) -> None:
        rows = db.sql(source.query)
        parquet = self._here.cloud.folder / f"{source.ref.table}.parquet"
        rows.write_parquet(str(parquet), compression="snappy")
        lists = ParquetOptions()  # type: ignore[no-untyped-call]
        lists.enable_list_inference = True
        settings = LoadJobConfig(
            source_format=SourceFormat.PARQUET,
            write_disposition=WriteDisposition.WRITE_TRUNCATE,
            schema=_schema(rows),
            parquet_options=lists,
        )
        with parquet.open("rb") as content:
            self._here.bigquery_client.load_table_from_file(content, str(source.ref), job_config=settings).result()
        parquet.unlink()


def _lacking(source: _Source) -> str:
    """What the tables want, and the query of the source does not give; nothing when all is there."""
    try:
        with data.prepared(data.Sizes(1)) as db:
            found = {field.name: _type(field) for field in _schema(db.sql(source.query))}
    except duckdb.Error as e:
        return f"is no query that DuckDB runs: {e}"
    for column in (column for table in source.tables for column in table.columns):
        if (type_ := found.get(column.name)) not in column.type.sources:
            return (
                f"gives {f'{column.name} as {type_}' if type_ else f'no column {column.name}'},"
                f" {column.type.sql} takes {' or '.join(column.type.sources)}"
            )
    return ""


def _schema(rows: duckdb.DuckDBPyRelation) -> list[SchemaField]:
    return [_field(name, kind) for name, kind in zip(rows.columns, rows.types, strict=True)]


def _field(name: str, kind: DuckDBPyType, mode: str = "NULLABLE") -> SchemaField:
    """A column of BigQuery for what DuckDB has. A type that BigQuery has not is called as DuckDB calls it."""
    if str(kind) == "JSON":
        return SchemaField(name, "JSON", mode)
    if kind.id not in ("list", "array", "struct", "decimal"):
        return SchemaField(name, _TYPES.get(kind.id, str(kind)), mode)
    children: dict[str, Any] = dict(kind.children)
    if kind.id == "struct":
        return SchemaField(name, "STRUCT", mode, fields=[_field(*child) for child in children.items()])
    if kind.id == "decimal":
        fits = children["scale"] <= 9 and children["precision"] - children["scale"] <= 29
        return SchemaField(name, "NUMERIC" if fits else "BIGNUMERIC", mode)
    return _field(name, children["child"], "REPEATED")


def _type(field: SchemaField) -> str:
    return f"ARRAY<{field.field_type}>" if field.mode == "REPEATED" else str(field.field_type)
