"""Google's own analyzer of GoogleSQL (https://github.com/google/zetasql): what it refuses, BigQuery refuses.

It is a WebAssembly program of 28 MB. `python -m local.googlesql` compiles it for this machine, which is once.
"""

import fcntl
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import wasmtime
from zetasql import types
from zetasql.core import wasm_client
from zetasql.core.exceptions import ServerError
from zetasql.core.local_service import ZetaSqlLocalService

from local import CACHE

type Columns = Mapping[str, str]
"""The types of a table's columns, or of a query's parameters, by name, as GoogleSQL writes them."""

type Name = tuple[str, ...]
"""The parts of a table's name, as a statement has them."""

# What BigQuery has of the language: the analyzer refuses the rest
# (https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax). One that is missing here is refused too.
_FEATURES = re.findall(
    r"\w+",
    """
    ADDITIONAL_STRING_FUNCTIONS ALLOW_DASHES_IN_TABLE_NAME ANALYTIC_FUNCTIONS BIGNUMERIC_TYPE CIVIL_TIME
    COLUMN_DEFAULT_VALUE CREATE_TABLE_CLUSTER_BY CREATE_TABLE_FIELD_ANNOTATIONS CREATE_TABLE_NOT_NULL
    CREATE_TABLE_PARTITION_BY DATE_ARITHMETICS DATE_TIME_CONSTRUCTORS DECIMAL_ALIAS DML_UPDATE_WITH_JOIN
    EXTENDED_DATE_TIME_SIGNATURES FORMAT_IN_CAST FOR_SYSTEM_TIME_AS_OF GEOGRAPHY GROUPING_BUILTIN GROUPING_SETS
    GROUP_BY_ALL GROUP_BY_ARRAY GROUP_BY_ROLLUP GROUP_BY_STRUCT HAVING_IN_AGGREGATE INTERVAL_TYPE IS_DISTINCT
    JSON_ARRAY_FUNCTIONS JSON_CONSTRUCTOR_FUNCTIONS JSON_LAX_VALUE_EXTRACTION_FUNCTIONS JSON_MUTATOR_FUNCTIONS
    JSON_TYPE JSON_VALUE_EXTRACTION_FUNCTIONS LIKE_ANY_SOME_ALL LIMIT_IN_AGGREGATE NAMED_ARGUMENTS
    NULLS_FIRST_LAST_IN_ORDER_BY NULL_HANDLING_MODIFIER_IN_AGGREGATE NULL_HANDLING_MODIFIER_IN_ANALYTIC
    NUMERIC_TYPE OMIT_INSERT_COLUMN_LIST ORDER_BY_IN_AGGREGATE PARAMETERIZED_TYPES PIVOT QUALIFY RANGE_TYPE
    SAFE_FUNCTION_CALL SELECT_STAR_EXCEPT_REPLACE TABLESAMPLE UNPIVOT WEEK_WITH_WEEKDAY WITH_ON_SUBQUERY
    WITH_RECURSIVE
    """,
)
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#table_option_list
_OPTIONS = {
    **dict.fromkeys(("description", "friendly_name", "kms_key_name"), "STRING"),
    "expiration_timestamp": "TIMESTAMP",
    "labels": "ARRAY<STRUCT<STRING, STRING>>",
    "partition_expiration_days": "FLOAT64",
    "require_partition_filter": "BOOL",
}
_LANGUAGE = types.LanguageOptions(
    product_mode=types.ProductMode.PRODUCT_EXTERNAL,
    enabled_language_features=[types.LanguageFeature[f"FEATURE_{name}"] for name in _FEATURES],
)
_FUNCTIONS = types.ZetaSQLBuiltinFunctionOptions(language_options=_LANGUAGE)
_lock = threading.Lock()


class InvalidError(Exception):
    """The statement is no GoogleSQL, or does not fit its tables."""


def check(statement: str, columns_of: Callable[[Name], Columns | None], parameters: Columns) -> None:
    """Raise InvalidError if BigQuery would refuse a statement that reads and changes tables with these columns.

    One that names a table that is not there is left alone: BigQuery has another answer to that.
    """
    with _lock:
        try:
            named = _service().extract_table_names_from_statement(sql_statement=statement, options=_LANGUAGE)
            paths = {tuple(table.table_name_segment) for table in named.table_name}
            columns = {path: columns_of(path) for path in paths}
            if None in columns.values():
                return
            analyzed = _service().analyze(
                sql_statement=statement,
                simple_catalog=_catalog({path: found for path, found in columns.items() if found is not None}),
                options=types.AnalyzerOptions(
                    language_options=_LANGUAGE,
                    allowed_hints_and_options=_options(),
                    error_message_mode=types.ErrorMessageMode.ERROR_MESSAGE_ONE_LINE,
                    query_parameters=[
                        types.AnalyzerOptions.QueryParameter(name=name, type=_type(type_))
                        for name, type_ in parameters.items()
                    ],
                ),
            )
        except ServerError as refusal:
            _, _, told = refusal.raw_error.partition("Message: ")
            raise InvalidError(told or refusal.message) from None
    _refuse_same_names(analyzed.resolved_statement)


def _refuse_same_names(statement: types.ResolvedStatement) -> None:
    """BigQuery keeps every result in a table, which has no two columns of a name; those without one it names itself."""
    if isinstance(statement, types.ResolvedQueryStmt):
        names = Counter(column.name.casefold() for column in statement.output_column_list if column.name[:1] != "$")
        if same := [name for name, times in names.items() if times > 1]:
            raise InvalidError(f"Duplicate column names in the result are not supported. Found: {', '.join(same)}")


def _catalog(tables: Mapping[Name, Columns]) -> types.SimpleCatalog:
    """The tables, each in the catalogs that the parts of its name before the last one name."""
    root = types.SimpleCatalog(name="", builtin_function_options=_FUNCTIONS)
    for path, columns in tables.items():
        place = root
        for name in path[:-1]:
            below = next((catalog for catalog in place.catalog if catalog.name == name), None)
            if below is None:
                below = types.SimpleCatalog(name=name)
                place.catalog.append(below)
            place = below
        place.table.append(
            types.SimpleTable(
                name=path[-1],
                column=[
                    types.SimpleColumn(name=name, type=_type(type_), is_writable_column=True)
                    for name, type_ in columns.items()
                ],
            )
        )
    return root


@cache
def _options() -> types.AllowedHintsAndOptions:
    options = [types.AllowedHintsAndOptions.Option(name=name, type=_type(type_)) for name, type_ in _OPTIONS.items()]
    return types.AllowedHintsAndOptions(disallow_unknown_options=True, option=options)


@cache
def _type(written: str) -> types.Type:
    """The analyzer's own form of a type."""
    options = types.AnalyzerOptions(language_options=_LANGUAGE)
    found = _service().analyze(
        sql_expression=f"CAST(NULL AS {written})",
        simple_catalog=types.SimpleCatalog(name="", builtin_function_options=_FUNCTIONS),
        options=options,
    )
    return found.resolved_expression.type


@cache
def _service() -> ZetaSqlLocalService:
    """The program, which runs one call at a time."""
    wasm_client.Module = _Compiled
    return ZetaSqlLocalService()


class _Compiled:
    """What compiles the program, which takes a dozen seconds, and keeps what that gives."""

    @staticmethod
    def from_file(engine: wasmtime.Engine, program: str) -> wasmtime.Module:
        CACHE.mkdir(exist_ok=True)
        compiled = CACHE / f"zetasql-{version('zetasql')}-{version('wasmtime')}.cwasm"
        with CACHE.joinpath("zetasql.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return wasmtime.Module.deserialize_file(engine, str(compiled))
            except wasmtime.WasmtimeError:  # there is none, or it is another processor's
                module = wasmtime.Module.from_file(engine, program)
                part = Path(f"{compiled}.{os.getpid()}")
                part.write_bytes(module.serialize())
                part.replace(compiled)
                return module


if __name__ == "__main__":
    _service()
