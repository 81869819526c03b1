"""Google's own analyzer takes every statement that BigQuery is sent, for every type that the catalog takes.

The emulated BigQuery has it look at each statement of all other tests too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

from local import googlesql
from shared import catalog
from shared.catalog import (
    IMPORT_HOUR,
    PG_TYPES,
    BigQueryType,
    Column,
    HourlyColumn,
    HourlyTable,
    LogTarget,
    PgType,
    Source,
    Table,
)
from shared.catalog.parser import INCOMPARABLE
from shared.daily import source
from shared.gcp.bigquery import BigQuery, Field, TableInfo
from shared.hourly import schema
from shared.hourly.raw_table import RawTable
from shared.names import Hour, TableRef
from shared.operate import plan, propose
from tests.kit.documents import ROOT
from tests.kit.typed_tables import TABLE, place

#: It is called like a column.
REF = TableRef("example.com:a-project", "sources", "of")
HOUR = Hour.parse("20260101T13")
#: What the catalog's name of a type leaves out.
WHOLE = {"STRUCT": "STRUCT<`a b` INT64, more ARRAY<STRUCT<c JSON>>>", "RANGE": "RANGE<TIMESTAMP>"}
#: What is exported as text; of an array of structs, all of it is one.
AS_TEXT = dict.fromkeys(("BIGNUMERIC", "INTERVAL"), lambda of: of.replace(element(of), "STRING"))
AS_TEXT |= dict.fromkeys(("JSON", "STRUCT", "RANGE"), lambda _: "STRING")


def element(type_: str) -> str:
    return type_.removeprefix("ARRAY<").removesuffix(">")


def whole(type_: str) -> str:
    return type_.replace(element(type_), WHOLE.get(element(type_), element(type_)))


def info(kind: str, /, **columns: str) -> TableInfo:
    fields = [Field(name, element(type_), element(type_) != type_) for name, type_ in columns.items()]
    return TableInfo(REF, kind, "EU", 1, tuple(fields))


def types() -> Iterator[PgType]:
    """Each type, and the array of it if there is one."""
    for plain in PG_TYPES:
        for brackets in ("", "[]"):
            for length in ("", "(3)"):
                try:
                    yield PgType.parse(f"{plain.spelling}{length}{brackets}")
                    break
                except ValueError:
                    continue


def analyze(statement: str, columns: dict[str, str]) -> None:
    googlesql.check(statement, lambda _: columns, {})


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
@pytest.mark.parametrize(
    ("type_", "of"),
    [(type_, of) for type_ in types() for of in type_.sources],
    ids=lambda each: getattr(each, "sql", each),
)
def test_a_column_of_any_type_is_read_and_counted(type_, of, kind):
    is_key = type_.plain not in INCOMPARABLE and not type_.array
    table = Table("t", Source.parse("sources.t"), (Column("Of", type_),), key=("Of",) if is_key else ())
    query = source.select(table, info(kind, Of=of), datetime.now(UTC))
    columns = {"Of": whole(of), "not read": "JSON"}
    tables = {"of": columns, "made": {"Of": whole(of) if element(of) not in AS_TEXT else AS_TEXT[element(of)](of)}}
    googlesql.check(f"INSERT INTO made (`Of`) {query}", lambda name: tables[name[-1]], {})
    analyze(f"CREATE TABLE made AS {query}", columns)
    analyze(source.count(table, info(kind, Of=of), f"({query})"), columns)


def test_what_may_be_keys_is_counted():
    simple = ("STRING", "INT64", "NUMERIC", "BIGNUMERIC", "DATE", "DATETIME", "TIMESTAMP")
    columns = {f"{type_.lower()}_id": type_ for type_ in simple[1:]} | {"of": "STRING"}
    proposed, left_out = propose.columns(info("TABLE", **columns).fields)
    keys = propose.candidates(proposed)
    assert not left_out
    assert {name for key in keys for name in key} == set(columns)
    analyze(propose.count(REF, keys), columns)


@pytest.mark.parametrize("file", ["shared", "tests/catalog", "tests/catalogs/stranger"])
def test_every_table_of_a_catalog_is_read_and_counted(file):
    of = catalog.load(catalog.Place.of(ROOT / file))
    assert of.tables
    for table in of.tables.values():
        for turn in range(max(len(column.type.sources) for column in table.columns)):
            columns = {column.name: column.type.sources[turn % len(column.type.sources)] for column in table.columns}
            query = source.select(table, info("TABLE", **columns), datetime.now(UTC))
            held = {name: whole(type_) for name, type_ in columns.items()}
            analyze(f"CREATE TABLE made AS {query}", held)
            analyze(source.count(table, info("TABLE", **columns), f"({query})"), held)


@pytest.mark.parametrize("file", ["shared", "tests/catalog", "tests/catalogs/stranger"])
def test_every_log_of_a_catalog_is_counted_listed_and_deleted(file):
    of = catalog.load(catalog.Place.of(ROOT / file))
    assert of.hourly
    for log in of.hourly.values():
        assert_hours_are_sql(log)


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("partition_by", ["import_date", "at"])
def test_an_hour_is_counted_listed_and_deleted(declared, partition_by):
    columns = (
        HourlyColumn("at", PgType.TIMESTAMPTZ, BigQueryType.TIMESTAMP),
        HourlyColumn("Of", PgType.BIGINT, BigQueryType.INT64),
    )
    target = LogTarget("t", partition_by=partition_by, declared=declared)
    assert_hours_are_sql(HourlyTable("log", "at", "Of", columns, target))


def assert_hours_are_sql(log: HourlyTable) -> None:
    """The statements that look for rows of an hour, or delete them."""
    bigquery = Mock(BigQuery, rows=Mock(return_value=[]))
    raw_table = RawTable(bigquery, REF, "EU", log)
    raw_table.of_hour(HOUR)
    raw_table.keys(HOUR)
    held = {column.name: column.bigquery for column in log.columns} | {log.day: "DATE"}
    before = info("TABLE", **held)
    schema._refuse_early(bigquery, before, log)
    sent = [call.args[1] for call in bigquery.rows.call_args_list]
    assert len(sent) == (2 if log.target.partition_by == log.time else 3)
    for statement in [*sent, raw_table.deletion(HOUR)]:
        analyze(statement, held | {IMPORT_HOUR: "INT64"})


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT n FROM seed_local.numbers GROUP BY n HAVING j", "neither grouped nor aggregated"),
        ("SELECT COUNT(*) FROM seed_local.numbers GROUP BY j", "Grouping by expressions of type JSON"),
        ("SELECT n FROM seed_local.numbers WHERE n = '1'", "No matching signature"),
        ("SELECT n, n + 1 AS N FROM seed_local.numbers", "Duplicate column names"),
        ("SELECT n FROM seed_local.numbers WHERE n = @text", "No matching signature"),
        ("CREATE TABLE seed_local.more OPTIONS (expires = CURRENT_TIMESTAMP()) AS SELECT 1 AS n", "Unknown option"),
        ("INSERT INTO seed_local.numbers (n) SELECT '1'", "cannot be inserted"),
        ("SELECT n::STRING FROM seed_local.numbers", "Syntax error"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_the_emulated_bigquery_refuses_what_the_analyzer_does(numbers, statement, told, dry_run):
    config = QueryJobConfig(dry_run=dry_run, query_parameters=[ScalarQueryParameter("text", "STRING", "1")])
    with pytest.raises(BadRequest, match=told):
        numbers.query(statement, job_config=config).result()


def test_a_plan_counts_keys_that_are_json_in_the_source(cloud, tmp_path):
    with place(cloud, "statements", tmp_path) as here:
        services = here.upload({"document": "jsonb"}).services
        here.bigquery.query("CREATE TABLE seed_local.typed AS SELECT 1 AS n, JSON '{}' AS document").result()
        table = replace(services.catalog.tables[TABLE], key=("document",))
        assert plan.of(services, table, 6.25).rows_to_move == 1


@pytest.fixture
def numbers(here):
    client = here.bigquery_client
    client.query("CREATE OR REPLACE TABLE seed_local.numbers AS SELECT 1 AS n, JSON '1' AS j").result()
    return client
