"""What the catalog may have for a table that is there: types of columns, what can't travel, and what may be its key."""

from __future__ import annotations

import tomllib
from unittest.mock import Mock

import pytest
from google.cloud.bigquery import SchemaField, Table

from shared.catalog import MAX_COLUMNS, PG_TYPES, TYPE_NAMES, Column, PgType, Source, roomy
from shared.gcp.bigquery import BigQuery, Field
from shared.names import DatasetRef, TableRef
from shared.operate import propose
from shared.operate.propose import Counted, TableProposal
from shared.rows.log_table import Found

USERS = Source.parse("reco-data.scores.users")


def field(name: str, type_: str, *parameters: int) -> Field:
    element = type_.removeprefix("ARRAY<").removesuffix(">")
    return Field(name, element, element != type_, parameters=parameters)


def spelled(*fields: Field) -> list[str]:
    travel, left_out = propose.columns(fields)
    assert left_out == []
    return [column.type.spelling for column in travel]


@pytest.mark.parametrize(
    ("source", "parameters", "spelling"),
    [
        ("STRING", (), "text"),
        ("STRING", (10,), "varchar(10)"),
        ("STRING", (10**9,), "text"),
        ("INT64", (), "bigint"),
        ("FLOAT64", (), "double precision"),
        ("NUMERIC", (), "numeric"),
        ("NUMERIC", (10, 2), "numeric(10,2)"),
        ("BIGNUMERIC", (76, 38), "numeric(76,38)"),
        ("BOOL", (), "boolean"),
        ("DATE", (), "date"),
        ("TIME", (), "time"),
        ("DATETIME", (), "timestamp"),
        ("TIMESTAMP", (), "timestamptz"),
        ("INTERVAL", (), "interval"),
        ("BYTES", (), "bytea"),
        ("BYTES", (16,), "bytea"),
        ("JSON", (), "jsonb"),
        ("STRUCT", (), "jsonb"),
        ("RANGE", (), "jsonb"),
        ("ARRAY<STRUCT>", (), "jsonb"),
        ("ARRAY<STRING>", (), "text[]"),
        ("ARRAY<STRING>", (3,), "varchar(3)[]"),
        ("ARRAY<NUMERIC>", (10, 2), "numeric(10,2)[]"),
        ("ARRAY<TIMESTAMP>", (), "timestamptz[]"),
        ("ARRAY<FLOAT64>", (), "double precision[]"),
    ],
)
def test_a_column_gets_the_type_that_takes_every_value_of_it(source, parameters, spelling):
    assert spelled(field("c", source, *parameters)) == [spelling]
    assert source in PgType.parse(spelling).sources


def test_a_schema_is_read_with_lengths_and_digits(monkeypatch):
    schema = [
        {"name": "a", "type": "STRING", "mode": "REPEATED", "maxLength": "10"},
        {"name": "b", "type": "NUMERIC", "precision": "10", "scale": "2"},
        {"name": "c", "type": "BIGNUMERIC", "precision": "50", "mode": "REQUIRED"},
        {"name": "d", "type": "INTEGER"},
    ]
    table = Table("p.d.t", list(map(SchemaField.from_api_repr, schema)))
    monkeypatch.setitem((bigquery := BigQuery("p")).__dict__, "_client", Mock(get_table=lambda _: table))
    found = bigquery.table(TableRef("p", "d", "t"))
    assert spelled(*found.fields) == ["varchar(10)[]", "numeric(10,2)", "numeric(50,0)", "bigint"]


def test_whatever_a_column_can_be_made_of_has_a_type_that_takes_it():
    sources = {source for type_ in PG_TYPES for source in type_.sources}
    lacking = [source for source in sources if source not in (roomy(source) or PgType.TEXT).sources]
    assert lacking == []


def test_what_can_not_travel_is_told_with_why():
    fields = [field("id", "INT64"), field("naïve", "STRING"), field("Id", "INT64"), field("ctid", "STRING")]
    fields += [field("shape", "ARRAY<GEOGRAPHY>"), field("new", "FLOAT32"), field("_TABLE_SUFFIX", "STRING")]
    travel, left_out = propose.columns(fields)
    assert travel == [Column("id", PgType.BIGINT)]
    assert {each.column: each.why.partition(":")[0] for each in left_out} == {
        "naïve": "is no identifier (letters, digits and _, 63 at most)",
        "Id": "is taken by id",
        "ctid": "is a system column of every PostgreSQL table",
        "shape": "is ARRAY<GEOGRAPHY>, of which no type of PostgreSQL is made",
        "new": "is FLOAT32, of which no type of PostgreSQL is made",
        "_TABLE_SUFFIX": "is a name that BigQuery reserves",
    }


@pytest.mark.parametrize(
    ("type_", "travel", "why"),
    [
        ("BOOL", MAX_COLUMNS, "is one too many: a table of PostgreSQL has at most 1600"),
        ("INT64", 1017, "finds no room"),
    ],
)
def test_a_table_has_no_more_columns_than_postgresql_lets_it(type_, travel, why):
    columns, left_out = propose.columns([field(f"c{n}", type_) for n in range(travel + 3)])
    assert (len(columns), len(left_out)) == (travel, 3)
    assert all(each.why.startswith(why) for each in left_out)


def test_columns_that_are_called_like_keys_are_counted_first_and_then_pairs():
    travel, _ = propose.columns(
        [
            field("score", "FLOAT64"),
            field("name", "STRING"),
            field("user_id", "STRING"),
            field("day", "DATE"),
            field("tags", "ARRAY<STRING>"),
            field("paid", "BOOL"),
            field("ID", "INT64"),
            field("place", "GEOGRAPHY"),
        ]
    )
    keys = propose.candidates(travel)
    assert keys[:5] == [("ID",), ("user_id",), ("name",), ("day",), ("ID", "user_id")]
    assert len(keys) == 4 + 6
    many, _ = propose.columns([field(f"c{n}", "STRING") for n in range(100)])
    assert len(propose.candidates(many)) == propose.MOST_SINGLE + 10


def test_a_key_is_what_every_row_has_and_no_two_have_the_same():
    counts = {("id",): 9, ("day",): 3, ("id", "day"): 10, ("id", "name"): 10}
    assert Counted(10, counts, 0).key == ("id", "day")
    assert Counted(11, counts, 0).key == ()
    assert Counted(0, dict.fromkeys(counts, 0), 0).key == ()


def test_one_query_counts_all():
    query = propose.count(TableRef("p", "d", "t"), [("a",), ("a", "b")])
    assert query == (
        "SELECT COUNT(*), COUNT(DISTINCT `a`),"
        " COUNT(DISTINCT IF(`a` IS NULL OR `b` IS NULL, NULL, TO_JSON_STRING(STRUCT(`a`, `b`))))"
        " FROM `p`.`d`.`t` AS `its rows`"
    )


@pytest.mark.parametrize(
    ("project", "source"),
    [("own", "analytics.users"), ("other", "other.analytics.users"), ("a.b:own", "a.b:own.analytics.users")],
)
def test_a_source_names_no_project_but_another_than_the_deployments(project, source):
    found = propose.source_of(TableRef(project, "analytics", "users"), "own", {"SEED_DATASET": DatasetRef(None, "d")})
    assert str(found) == source


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("users", "users"),
        ("user-scores 2026", "user_scores_2026"),
        ("2026", "_2026"),
        ("été", "_t_"),
        ("x" * 80, "x" * 63),
    ],
)
def test_a_tables_id_becomes_a_name(table, name):
    assert propose.name_of(table) == name


def test_a_block_tells_what_was_chosen_and_what_was_left():
    travel, left_out = propose.columns(
        [field("user_id", "STRING"), field("embedding", "ARRAY<FLOAT64>"), field("a\nb\x1b[31m", "STRING")]
    )
    counted = Counted(3, {("user_id",): 3}, 0)
    block = TableProposal("users", USERS, travel, left_out, counted).block()
    assert block.splitlines() == [
        "[tables.users]",
        'source = "reco-data.scores.users"',
        'key = ["user_id"]  # of 3 rows, no two have the same, and none has NULL',
        "",
        "[tables.users.columns]",
        'user_id = "text"',
        'embedding = "double precision[]"  # "vector(n)" or "halfvec(n)" of pgvector takes arrays of n numbers',
        "# a\\nb\\u001b[31m: is no identifier (letters, digits and _, 63 at most)",
    ]
    assert tomllib.loads(block)["tables"]["users"]["columns"] == {"user_id": "text", "embedding": "double precision[]"}


def test_without_a_key_the_block_says_why():
    travel, left_out = propose.columns([field("n", "FLOAT64")])
    source = propose.source_of(TableRef("p", "d", "t"), "p", {"SEED_DATASET": DatasetRef(None, "d")})
    block = TableProposal("t", source, travel, left_out, "nothing was counted").block()
    assert block.splitlines()[:4] == [
        "[tables.t]",
        'source = "t"',
        'dataset = "SEED_DATASET"',
        "# no key: nothing was counted",
    ]


def found(columns, indexed=(), keys=()):
    """A log, with each type as the server prints it, and after a stroke without its modifiers if it has any."""
    types = {name: (type_.partition(" | ")[0], type_.rpartition(" | ")[2]) for name, type_ in columns.items()}
    return Found(types, frozenset(indexed), tuple(keys), has_children=False)


NEAREST = "the nearest number: no decimal of BigQuery has all of its digits"
SHARES = 'type = "numeric[]", bigquery = "ARRAY<BIGNUMERIC>", excess_scale = "refuse"'
LOG = {
    "id": "bigint",
    "made": "timestamp without time zone",
    "shown": "timestamp(3) without time zone | timestamp without time zone",
    "name": "character varying(20)",
    "price": "numeric(10,2)",
    "share": "numeric",
    "shares": "numeric[]",
    "wide": "numeric(50,20) | numeric",
    "digits": "numeric(80,50) | numeric",
    "tags": "text[]",
    "address": "inet",
    "mood": "enum",
    "data": "jsonb",
    "place": "geometry",
    "import_hour": "integer",
    "what": "public.weird",
}


def test_a_log_gets_the_types_that_its_columns_leave_as():
    proposal = propose.log("visits", found(LOG, indexed=["id", "shown"], keys=["name", "id"]))
    assert proposal.block().splitlines() == [
        "[hourly.visits]",
        'time = "shown"',
        'key = "id"',
        'cluster_by = ["import_hour"]',
        "",
        "[hourly.visits.columns]",
        'id = { type = "bigint", bigquery = "INT64" }',
        'made = { type = "timestamp", bigquery = "DATETIME" }  # or "TIMESTAMP"',
        'shown = { type = "timestamp", bigquery = "TIMESTAMP" }',
        'name = { type = "varchar(20)", bigquery = "STRING" }',
        'price = { type = "numeric(10,2)", bigquery = "NUMERIC" }  # or "BIGNUMERIC" or "FLOAT64"',
        'share = { type = "numeric", bigquery = "BIGNUMERIC", excess_scale = "refuse" }  # or "NUMERIC" or "FLOAT64"',
        f'shares = {{ {SHARES} }}  # or "ARRAY<NUMERIC>" or "ARRAY<FLOAT64>"',
        'wide = { type = "numeric(50,20)", bigquery = "BIGNUMERIC" }  # or "FLOAT64"',
        f'digits = {{ type = "numeric(80,50)", bigquery = "FLOAT64" }}  # {NEAREST}',
        'tags = { type = "text[]", bigquery = "ARRAY<STRING>" }',
        'address = { type = "inet", bigquery = "STRING" }',
        'mood = { type = "enum", bigquery = "STRING" }',
        'data = { type = "jsonb", bigquery = "STRING" }  # or "JSON"',
        "# place: is geometry, which becomes no type of BigQuery",
        "# import_hour: is taken by import_hour: BigQuery does not tell names apart by their case",
        "# what: is public.weird, which becomes no type of BigQuery",
    ]


def test_what_a_log_lacks_is_told_where_it_would_stand():
    lines = propose.log("t", found({"made": "timestamp with time zone", "n": "text"}, keys=["n"])).block().splitlines()
    assert lines[1:3] == [
        'time = "made"  # it needs an index: CREATE INDEX CONCURRENTLY ON "t" ("made")',
        "# no key: no integer column is the primary key, or else unique and NOT NULL",
    ]
    assert propose.log("t", found({"n": "text"})).block().splitlines()[1] == "# no time: no column is a timestamp"


def test_whatever_leaves_a_log_has_a_proposal():
    for type_ in TYPE_NAMES.values():
        if type_.targets:
            (column,) = propose.log("t", found({"c": type_.sql, "d": f"{type_.sql}(5) | {type_.sql}"})).columns[:1]
            assert column.bigquery in type_.targets
