"""The hourly tables of the catalog file."""

import re
from pathlib import Path

import pytest

from shared import catalog
from shared.catalog import BigQueryType, HourlyColumn, LogTarget, PgType
from shared.errors import ConfigurationError
from shared.names import DatasetRef

LINES = """\
[tables.users]
source = "users"
dataset = "BIGQUERY_SEED_DATASET"
[tables.users.columns]
user_id = "varchar"
[views.users_mv]
template = "users_mv.sql.jinja"
reads = ["users"]
"""
GOOD = f"""{LINES}\
[hourly.visits]
time = "At"
key = "Id"
cluster_by = ["import_hour", "page"]
[hourly.visits.columns]
Id = {{ type = "integer", bigquery = "INT64" }}
"At" = {{ type = "timestamp", bigquery = "TIMESTAMP" }}
page = {{ type = "varchar", bigquery = "STRING" }}
price = {{ type = "numeric", bigquery = "NUMERIC", excess_scale = "refuse" }}
"""

#: Each PostgreSQL type with the BigQuery types that hold all its values, or whose misfits are found.
TARGETS = {
    "varchar": ["STRING"],
    "varchar(3)": ["STRING"],
    "char(3)": ["STRING"],
    "text": ["STRING"],
    "smallint": ["INT64"],
    "integer": ["INT64"],
    "bigint": ["INT64"],
    "real": ["FLOAT64"],
    "double precision": ["FLOAT64"],
    "numeric": ["NUMERIC", "BIGNUMERIC", "FLOAT64"],
    "numeric(38,9)": ["NUMERIC", "BIGNUMERIC", "FLOAT64"],
    "numeric(10,2)": ["NUMERIC", "BIGNUMERIC", "FLOAT64"],
    "numeric(30)": ["BIGNUMERIC", "FLOAT64"],
    "numeric(10,10)": ["BIGNUMERIC", "FLOAT64"],
    "numeric(76,38)": ["BIGNUMERIC", "FLOAT64"],
    "numeric(39)": ["FLOAT64"],
    "numeric(39,39)": ["FLOAT64"],
    "boolean": ["BOOL"],
    "date": ["DATE"],
    "time": ["TIME"],
    "timestamp": ["TIMESTAMP", "DATETIME"],
    "timestamptz": ["TIMESTAMP"],
    "interval": ["STRING"],
    "bytea": ["BYTES"],
    "uuid": ["STRING"],
    "inet": ["STRING"],
    "cidr": ["STRING"],
    "enum": ["STRING"],
    "json": ["STRING", "JSON"],
    "jsonb": ["STRING", "JSON"],
    "text[]": ["ARRAY<STRING>"],
    "enum[]": ["ARRAY<STRING>"],
    "inet[]": ["ARRAY<STRING>"],
    "bytea[]": ["ARRAY<BYTES>"],
    "smallint[]": ["ARRAY<INT64>"],
    "numeric[]": ["ARRAY<NUMERIC>", "ARRAY<BIGNUMERIC>", "ARRAY<FLOAT64>"],
    "numeric(30)[]": ["ARRAY<BIGNUMERIC>", "ARRAY<FLOAT64>"],
    "json[]": [],
    "char(3)[]": [],
    "char": [],
    "geometry": [],
    "vector(3)": [],
    "xml": [],
}


@pytest.fixture
def load(tmp_path: Path):
    (tmp_path / "users_mv.sql.jinja").touch()

    def load(text: str) -> catalog.Catalog:
        file = tmp_path / "catalog.toml"
        file.write_text(text)
        return catalog.load(catalog.Place(file, tmp_path))

    return load


def test_a_log_is_read(load):
    log = load(GOOD).hourly["visits"]
    assert (log.name, log.time, log.key, log.target.cluster_by) == ("visits", "At", "Id", ("import_hour", "page"))
    assert log.columns == (
        HourlyColumn("Id", PgType.INTEGER, BigQueryType.INT64),
        HourlyColumn("At", PgType.TIMESTAMP, BigQueryType.TIMESTAMP),
        HourlyColumn("page", PgType.VARCHAR, BigQueryType.STRING),
        HourlyColumn("price", PgType.NUMERIC, BigQueryType.NUMERIC, refuse_excess_scale=True),
    )


def test_a_catalog_may_have_no_logs(load):
    assert load(LINES).hourly == {}


def test_what_a_log_does_not_say_has_a_default(load):
    log = load(GOOD).hourly["visits"]
    assert log.target == LogTarget("visits", "raw_{env}", "import_date", ("import_hour", "page"))
    assert log.target.dataset_of("stg") == DatasetRef(None, "raw_stg")
    assert (log.day, log.start, log.minute, log.delete_from_source) == ("import_date", None, 5, False)


@pytest.mark.parametrize(
    ("partition_by", "day"), [("At", "import_date"), ("import_date", "import_date"), ("Day", "Day")]
)
def test_a_log_may_go_to_a_table_that_is_there(load, partition_by, day):
    said = 'start = "20260301T05"\nminute = 50\ndelete_from_source = true\n'
    said += 'dataset = "acme-{env}.logs_{env}"\ntable = "site-visits"'
    log = load(GOOD.replace('key = "Id"', f'key = "Id"\n{said}\npartition_by = "{partition_by}"')).hourly["visits"]
    clusters = ("import_hour", "page")
    assert log.target == LogTarget("site-visits", "acme-{env}.logs_{env}", partition_by, clusters, declared=True)
    assert log.target.dataset_of("prod") == DatasetRef("acme-prod", "logs_prod")
    assert (log.day, str(log.start), log.minute, log.delete_from_source) == (day, "20260301T05", 50, True)


def test_the_day_of_a_log_may_be_clustered_by_and_is_no_name_of_a_column_of_its_own(load):
    text = GOOD.replace('key = "Id"', 'key = "Id"\npartition_by = "Day"')
    assert load(text.replace('"import_hour", "page"', '"Day"')).hourly["visits"].target.cluster_by == ("Day",)
    with pytest.raises(ConfigurationError, match="should list up to 4"):
        load(text.replace('"import_hour", "page"', '"import_date"'))
    with pytest.raises(ConfigurationError, match="is taken by Day"):
        load(text.replace("page = ", "day = ").replace('"page"', '"Id"'))


def test_two_logs_may_not_have_one_table(load):
    other = GOOD.removeprefix(LINES).replace("visits", "others")
    with pytest.raises(ConfigurationError, match=r":18: hourly.others: has the BigQuery table of visits"):
        load(GOOD + other.replace('key = "Id"', 'key = "Id"\ntable = "visits"'))
    assert len(load(GOOD + other).hourly) == 2


def test_clustering_is_optional(load):
    assert load(GOOD.replace('cluster_by = ["import_hour", "page"]', "")).hourly["visits"].target.cluster_by == ()


def test_digits_that_do_not_fit_are_rounded_unless_the_catalog_refuses_them(load):
    for setting, refuses in (("", False), (', excess_scale = "round"', False), (', excess_scale = "refuse"', True)):
        column = load(GOOD.replace(', excess_scale = "refuse"', setting)).hourly["visits"].columns[-1]
        assert column.refuse_excess_scale is refuses


@pytest.mark.parametrize("types", ["text STRING", "bigint INT64", "numeric FLOAT64", "numeric[] ARRAY<FLOAT64>"])
def test_digits_of_a_type_that_has_none_in_excess_may_be_refused_too(load, types):
    type_, target = types.split()
    more = f'more = {{ type = "{type_}", bigquery = "{target}", excess_scale = "refuse" }}\n'
    assert load(GOOD + more).hourly["visits"].columns[-1].refuse_excess_scale is False


def test_the_shipped_log_has_the_columns_of_the_apis_table():
    log = catalog.load().hourly["past_offer_context"]
    assert (log.time, log.key, log.target.cluster_by) == ("date", "id", ("import_hour", "user_id"))
    assert len(log.columns) == 28
    assert not any(column.refuse_excess_scale for column in log.columns)


@pytest.mark.parametrize("form", ["{}", "ARRAY<{}>"])
@pytest.mark.parametrize("type_", TARGETS)
def test_a_type_becomes_only_what_can_hold_it(load, type_, form):
    lines = {
        target: f'c{n} = {{ type = "{type_}", bigquery = "{target}" }}\n'
        for n, target in enumerate(form.format(target.name) for target in BigQueryType)
    }
    kept = [target for target in lines if target in TARGETS[type_]]
    for target in kept:
        column = load(GOOD + lines[target]).hourly["visits"].columns[-1]
        assert (column.type, column.bigquery) == (PgType.parse(type_, leaving=True), target)
    with pytest.raises(ConfigurationError) as e:
        load(GOOD + "".join(lines.values()))
    # What is said of a type without any target is long, and the end of an error is cut off.
    lines = lines if TARGETS[type_] else dict([next(iter(lines.items()))])
    found = re.findall(r"catalog.toml:(\d+): hourly.visits.columns.c\d+\.(?:type|bigquery): should", e.value.what)
    assert [list(lines)[int(line) - 18] for line in found[: len(lines)]] == [
        target for target in lines if target not in kept
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ("[hourly.visits]", '[hourly."vis its"]\n[hourly.visits]', "9: vis its", "is no identifier"),
        ("[hourly.visits]", "[hourly]\nother = 1\n[hourly.visits]", "10: other", "a [hourly.other] block"),
        ("[hourly.visits]", "[hourly.users]\n[hourly.visits]", "9: users", "is also the name of a table"),
        ("[hourly.visits]", "[hourly.visits]\ncolour = 1", "10: visits.colour", "is unknown here; known are"),
        ('time = "At"', "", "9: visits.time", "is missing"),
        ('key = "Id"', 'key = "Id"\nstart = "2026"', "12: visits.start", "an hour is written YYYYMMDDTHH"),
        ('key = "Id"', 'key = "Id"\nstart = "19691231T23"', "12: visits.start", "is before 1970"),
        ('key = "Id"', 'key = "Id"\nminute = 60', "12: visits.minute", "should be a whole number, from 0 to 59"),
        ('key = "Id"', 'key = "Id"\nminute = true', "12: visits.minute", "should be a whole number, from 0 to 59"),
        ('key = "Id"', 'key = "Id"\ndelete_from_source = 1', "12: visits.delete_from_source", "be true or false"),
        ('key = "Id"', 'key = "Id"\ndataset = "a.b.c"', "12: visits.dataset", "a data set is written"),
        ('key = "Id"', 'key = "Id"\ndataset = "raw_{other}"', "12: visits.dataset", "a data set is written"),
        ('key = "Id"', 'key = "Id"\ntable = "a.b"', "12: visits.table", "is no BigQuery table id"),
        ('key = "Id"', 'key = "Id"\npartition_by = "page"', "12: visits.partition_by", "should be At, or a col"),
        ('key = "Id"', 'key = "Id"\npartition_by = "import_hour"', "12: visits.partition_by", "is taken by"),
        ('key = "Id"', 'key = "Id"\npartition_by = "_PARTITIONDATE"', "12: visits.partition_by", "BigQuery reserves"),
        ('time = "At"', "time = 1", "10: visits.time", "should be text"),
        ('time = "At"', 'time = "at"', "10: visits.time", "should name a timestamp column that becomes"),
        ('time = "At"', 'time = "Id"', "10: visits.time", "should name a timestamp column that becomes"),
        ('bigquery = "TIMESTAMP"', 'bigquery = "DATETIME"', "10: visits.time", "that becomes TIMESTAMP"),
        ('key = "Id"', "", "9: visits.key", "is missing"),
        ('key = "Id"', 'key = "page"', "11: visits.key", "should name an integer column, the primary key"),
        ('key = "Id"', 'key = "id"', "11: visits.key", "should name an integer column, the primary key"),
        ('["import_hour", "page"]', '"page"', "12: visits.cluster_by", "should list up to 4 of the columns"),
        ('["import_hour", "page"]', '["pages"]', "12: visits.cluster_by", "should list up to 4"),
        ('["import_hour", "page"]', "[1]", "12: visits.cluster_by", "should list up to 4 of the columns"),
        ('["import_hour", "page"]', '[["page"]]', "12: visits.cluster_by", "should list up to 4 of the columns"),
        ('["import_hour", "page"]', '["page", "page"]', "12: visits.cluster_by", "should list up to 4"),
        ('"page"]', '"page", "Id", "At", "price"]', "12: visits.cluster_by", "should list up to 4"),
        ('"varchar", bigquery = "STRING"', '"jsonb", bigquery = "JSON"', "12: visits.cluster_by", "none of FLOAT64, "),
        ("[hourly.visits.columns]", "[hourly.visits.column]", "9: visits.columns", "is missing"),
        ("[hourly.visits.columns]", "[hourly.visits.column]", "13: visits.column", "is unknown here"),
        ("page = {", '"page no" = {', "16: visits.columns.page no", "is no identifier"),
        ("page = {", "_FILE_NAME = {", "16: visits.columns._FILE_NAME", "is a name that BigQuery reserves"),
        ("page = {", "__root__id = {", "16: visits.columns.__root__id", "is a name that BigQuery reserves"),
        ("page = {", "_Change_Type = {", "16: visits.columns._Change_Type", "is a name that BigQuery reserves"),
        ("page = {", "ctid = {", "16: visits.columns.ctid", "is a system column of every PostgreSQL table"),
        ("page = {", "import_date = {", "16: visits.columns.import_date", "is taken by import_date"),
        ("page = {", "import_hour = {", "16: visits.columns.import_hour", "is taken by import_hour"),
        ('{ type = "varchar", bigquery = "STRING" }', '"varchar"', "16: visits.columns.page", "should be like {"),
        ('type = "varchar", ', "", "16: visits.columns.page.type", "is missing"),
        ('type = "varchar"', 'type = "money"', "16: visits.columns.page.type", "should have a type among bigint"),
        ('type = "varchar"', 'type = "geometry"', "16: visits.columns.page.type", "should have a type among bigint"),
        (', bigquery = "STRING"', "", "16: visits.columns.page.bigquery", "is missing"),
        ('bigquery = "STRING"', 'bigquery = "BYTES"', "16: visits.columns.page.bigquery", "should be STRING for"),
        ('bigquery = "STRING"', 'bigquery = "string"', "16: visits.columns.page.bigquery", "should be STRING for"),
        ('"STRING"', '"STRING", scale = 2', "16: visits.columns.page.scale", "is unknown here; known are bigquery"),
        ('"refuse"', '"drop"', "17: visits.columns.price.excess_scale", 'should be "round" or "refuse"'),
        ('"refuse"', '"refuse", null_array = "empty"', "17: visits.columns.price.null_array", "is for arrays"),
        ('"varchar", bigquery = "STRING"', '"text[]", bigquery = "ARRAY<STRING>", null_array = true',
         "16: visits.columns.page.null_array", 'should be "empty" or "refuse"'),
        ('"varchar", bigquery = "STRING"', '"text[]", bigquery = "ARRAY<STRING>"', "12: visits.cluster_by", "an ARRAY"),
        ('"varchar", bigquery = "STRING"', '"json[]", bigquery = "ARRAY<STRING>"',
         "16: visits.columns.page.type", "should be no array: there are some of text"),
        ('"varchar", bigquery = "STRING"', '"numeric(30)", bigquery = "NUMERIC"',
         "16: visits.columns.page.bigquery", "should be BIGNUMERIC or FLOAT64 for numeric(30)"),
        ('"integer", bigquery = "INT64"', '"integer[]", bigquery = "ARRAY<INT64>"', "11: visits.key", "integer column"),
        ('"timestamp", bigquery = "TIMESTAMP"', '"timestamp[]", bigquery = "ARRAY<TIMESTAMP>"', "10: visits.time",
         "should name a timestamp column"),
        ('"refuse"', "true", "17: visits.columns.price.excess_scale", 'should be "round" or "refuse"'),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_path(load, old, new, place, what):
    assert old in GOOD
    with pytest.raises(ConfigurationError) as e:
        load(GOOD.replace(old, new, 1))
    start = f"catalog.toml:{place}: ".replace(": ", ": hourly.", 1)
    mistakes = [line for line in e.value.what.splitlines() if line.startswith(start)]
    assert any(what in mistake for mistake in mistakes), e.value.what


@pytest.mark.parametrize("name", ["PRICE", "Import_Hour"])
def test_names_that_differ_in_case_alone_are_one_column_in_bigquery(load, name):
    with pytest.raises(ConfigurationError, match=name):
        load(GOOD.replace("page = {", f"{name} = {{").replace('"import_hour", "page"', '"import_hour"'))


def test_every_mistake_is_reported_at_once(load):
    text = GOOD.replace('"varchar", b', '"money", b').replace('"At"\n', '"when"\n').replace('"refuse"', '"drop"')
    with pytest.raises(ConfigurationError, match="mistakes in the catalog") as e:
        load(text)
    assert {line.split(":")[1] for line in e.value.what.splitlines()} == {"10", "12", "16", "17"}


def test_an_array_that_is_null_is_refused_unless_the_catalog_makes_it_empty(load):
    for setting, empty in (("", False), (', null_array = "refuse"', False), (', null_array = "empty"', True)):
        text = GOOD.replace('"varchar", bigquery = "STRING"', f'"text[]", bigquery = "ARRAY<STRING>"{setting}')
        column = load(text.replace('"import_hour", "page"', "")).hourly["visits"].columns[2]
        assert column.empty_for_null is empty


@pytest.mark.parametrize("type_", ["enum", "inet", "cidr", "enum[]"])
def test_a_type_that_only_leaves_is_none_of_a_tables(load, type_):
    with pytest.raises(ConfigurationError, match=r"catalog.toml:5: tables.users.columns.user_id: should have a type"):
        load(GOOD.replace('user_id = "varchar"', f'user_id = "{type_}"'))
