"""The catalog: every table and view that is kept in sync, read from one TOML file."""

from shared.catalog.model import (
    FOLDER_VARIABLE,
    IMPORT_DATE,
    IMPORT_HOUR,
    MAX_COLUMNS,
    MAX_ROW_BYTES,
    MAX_VIEW_NAME,
    ROOT,
    SHIPPED,
    Catalog,
    Column,
    HourlyColumn,
    HourlyTable,
    Index,
    Limits,
    Place,
    Table,
    View,
    could_be_of_another,
)
from shared.catalog.parser import load
from shared.catalog.source import DatasetVariable, Source
from shared.catalog.types import PG_TYPES, TYPE_NAMES, BigQueryType, PgType, type_table

__all__ = [
    "FOLDER_VARIABLE",
    "IMPORT_DATE",
    "IMPORT_HOUR",
    "MAX_COLUMNS",
    "MAX_ROW_BYTES",
    "MAX_VIEW_NAME",
    "PG_TYPES",
    "ROOT",
    "SHIPPED",
    "TYPE_NAMES",
    "BigQueryType",
    "Catalog",
    "Column",
    "DatasetVariable",
    "HourlyColumn",
    "HourlyTable",
    "Index",
    "Limits",
    "PgType",
    "Place",
    "Source",
    "Table",
    "View",
    "could_be_of_another",
    "load",
    "type_table",
]
