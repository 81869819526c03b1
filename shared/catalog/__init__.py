"""The catalog: every table and view that is kept in sync, read from one TOML file."""

from shared.catalog.model import (
    CATALOG_FILE,
    IMPORT_DATE,
    IMPORT_HOUR,
    MAX_VIEW_NAME,
    ROOT,
    TYPE_NAMES,
    VIEWS_FOLDER,
    BigQueryType,
    Catalog,
    Column,
    HourlyColumn,
    HourlyTable,
    Limits,
    PgType,
    Table,
    View,
    could_be_of_another,
)
from shared.catalog.parser import load

__all__ = [
    "CATALOG_FILE",
    "IMPORT_DATE",
    "IMPORT_HOUR",
    "MAX_VIEW_NAME",
    "ROOT",
    "TYPE_NAMES",
    "VIEWS_FOLDER",
    "BigQueryType",
    "Catalog",
    "Column",
    "HourlyColumn",
    "HourlyTable",
    "Limits",
    "PgType",
    "Table",
    "View",
    "could_be_of_another",
    "load",
]
