"""The catalog file."""

import json
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from shared import catalog
from shared.catalog import PG_TYPES, PgType
from shared.errors import ConfigurationError
from shared.names import DatasetRef, is_identifier
from tests.kit.mutations import answered, mutated

#: PostgreSQL table: source, data set and columns.
TABLES = {
    "enriched_user": """user_statistics BIGQUERY_ML_RECOMMENDATION_DATASET
        user_id varchar, user_deposit_creation_date timestamp, user_birth_date timestamp,
        user_deposit_initial_amount real, user_theoretical_remaining_credit real, booking_cnt integer,
        consult_offer integer, has_added_offer_to_favorites integer""",
    "recommendable_offers_raw": """recommendable_offer BIGQUERY_ML_RECOMMENDATION_DATASET
        item_id varchar, offer_id varchar, offer_creation_date timestamp, stock_beginning_date timestamp,
        booking_number integer, venue_latitude decimal, venue_longitude decimal, venue_id integer,
        default_max_distance integer, unique_id varchar, is_sensitive boolean, is_geolocated boolean,
        new_offer_is_geolocated boolean, new_offer_creation_days integer, new_offer_stock_price decimal,
        new_offer_stock_beginning_days decimal, new_offer_centroid_x decimal, new_offer_centroid_y decimal""",
    "non_recommendable_items_data": """user_booked_item BIGQUERY_ML_RECOMMENDATION_DATASET
        user_id varchar, item_id varchar""",
    "iris_france": """iris_france BIGQUERY_SEED_DATASET
        id varchar, irisCode varchar, centroid geometry, shape geometry""",
}
VIEWS = {
    "enriched_user_mv": "enriched_user",
    "item_ids_mv": "recommendable_offers_raw",
    "non_recommendable_items_mv": "non_recommendable_items_data",
    "iris_france_mv": "iris_france",
    "recommendable_offers_raw_mv": "recommendable_offers_raw",
}
SPELLINGS = {
    "varchar": PgType.VARCHAR,
    "timestamp": PgType.TIMESTAMP,
    "real": PgType.REAL,
    "integer": PgType.INTEGER,
    "decimal": PgType.NUMERIC,
    "boolean": PgType.BOOLEAN,
    "geometry": PgType.GEOMETRY,
}
GOOD = """\
[tables.users]
source = "users"
dataset = "BIGQUERY_SEED_DATASET"
[tables.users.columns]
user_id = "varchar"
"irisCode" = "jsonb"

[views.users_mv]
template = "users_mv.sql.jinja"
reads = ["users"]
"""

#: Indexes that are none, and what is said of them.
INDEXES = [
    ('indexes = "user_id"', "should list column names"),
    ("indexes = [1]", "should list column names"),
    ('indexes = [""]', "should list column names"),
    ('indexes = ["user_id; DROP TABLE users"]', "should list column names"),
    ('indexes = ["user_id, nobody"]', "name nobody, which is no column of the table"),
    ('indexes = ["user_id", "user_id"]', "name one index twice"),
    *((f'indexes = ["{text}"]', "should list column names") for text in ("lower(user_id)", "(a) -- x")),
    *(
        (f'indexes = ["{text}"]', "can't be UNIQUE: ")
        for text in ("UNIQUE (a)", "unique user_id", "Unique USING x (a)")
    ),
]

#: Where the table comes from, what is no source without `dataset`, and what is none.
ORIGIN = 'source = "users"\ndataset = "BIGQUERY_SEED_DATASET"'
NO_SOURCES = ("users", "a.b.c.d", ".users", "Seed-1.users", "-p.seed.users", "seed.us/ers", "seed.`users`", "{X}.users")
NO_VARIABLES = ("DATABASE_URL", "EXPORT_BUCKET", "SeedDATASET", "1_DATASET", "A DATASET", "_DATASET", "a.b")

#: Limits that are none, where they stand, and what is said of them.
LIMITS = [
    ("limits.source_age = 99999999999999", "4: tables.users.limits.source_age", "whole number, from 0 to 876,000"),
    ("limits.growth = 1" + "0" * 400, "4: tables.users.limits.growth", "should be a number, from 0 to 1,000,000"),
    ("limits.growth = inf", "4: tables.users.limits.growth", "should be a number, from 0 to 1,000,000"),
    ("limits.growth = nan", "4: tables.users.limits.growth", "should be a number, from 0 to 1,000,000"),
    ("limits.shrink = 2", "4: tables.users.limits.shrink", "should be a number, from 0 to 1"),
    (
        "limits.duplicate_keys = 9223372036854775808",
        "4: tables.users.limits.duplicate_keys",
        "should be a whole number",
    ),
    ("limits.duplicate_keys = 1.5", "4: tables.users.limits.duplicate_keys", "a whole number"),
    ("limits.null_share = { user_id = 1e999 }", "4: tables.users.limits.null_share.user_id", "from 0 to 1"),
]


@pytest.fixture
def load(tmp_path: Path):
    (tmp_path / "users_mv.sql.jinja").touch()

    def load(text: str) -> catalog.Catalog:
        file = tmp_path / "catalog.toml"
        file.write_text(text)
        return catalog.load(catalog.Place(file, tmp_path))

    return load


@pytest.mark.parametrize(("line", "said"), INDEXES)
def test_an_index_that_is_none_is_a_mistake_with_its_line(load, line, said):
    document = GOOD.replace('dataset = "BIGQUERY_SEED_DATASET"', f'dataset = "BIGQUERY_SEED_DATASET"\n{line}')
    with pytest.raises(ConfigurationError, match=rf":4: tables\.users\.indexes.*{said}"):
        load(document)


def test_an_index_is_declared_by_columns_or_by_what_the_server_takes(load):
    declared = ["user_id", "user_id DESC, irisText", 'USING gin ("irisCode" jsonb_path_ops)', "(lower(user_id))"]
    document = GOOD.replace('source = "users"', f'source = "users"\nindexes = {declared!r}')
    document = document.replace('"irisCode" = "jsonb"', '"irisCode" = "jsonb"\n"irisText" = "text"')
    indexes = load(document).tables["users"].indexes
    assert [index.definition for index in indexes] == ['("user_id")', '("user_id" DESC, "irisText")', *declared[2:]]
    assert len({index.digest for index in indexes}) == 4


@pytest.mark.parametrize("name", TABLES)
def test_a_shipped_table_has_its_columns_in_order(name):
    head, _, columns = TABLES[name].partition("\n")
    table = catalog.load().tables[name]
    assert [table.source.table, table.source.said_by] == head.split()
    assert not table.allow_empty
    assert [[c.name, c.type] for c in table.columns] == [
        [name, SPELLINGS[type_]] for name, type_ in map(str.split, columns.split(","))
    ]


#: A source as it stands in the catalog, as it prints, and the table that it is where SCORES_DATASET is `said`.
SOURCES = [
    ('source = "users"\ndataset = "SCORES_DATASET"', "{SCORES_DATASET}.users", "seed", "here.seed.users"),
    ('source = "users"\ndataset = "SCORES_DATASET"', "{SCORES_DATASET}.users", "there.seed", "there.seed.users"),
    ('source = "seed.users"', "seed.users", "else", "here.seed.users"),
    ('source = "there.seed.users"', "there.seed.users", "else", "there.seed.users"),
    ('source = "a.org:there.seed.users"', "a.org:there.seed.users", "else", "a.org:there.seed.users"),
    ('source = "seed.users-of today_é"', "seed.users-of today_é", "else", "here.seed.users-of today_é"),
    ('source = "用户-1"\ndataset = "DATASET_2"', "{DATASET_2}.用户-1", "seed", "here.seed.用户-1"),
]


@pytest.mark.parametrize(("lines", "printed", "said", "ref"), SOURCES)
def test_a_source_may_be_in_any_data_set_of_any_project(load, lines, printed, said, ref):
    read = load(GOOD.replace(ORIGIN, lines))
    source = read.tables["users"].source
    assert (str(source), catalog.Source.parse(printed)) == (printed, source)
    variables = [printed[1:].partition("}")[0]] if printed.startswith("{") else []
    assert list(read.dataset_variables) == variables
    assert str(source.ref("here", {name: DatasetRef.parse(said) for name in variables})) == ref


def test_a_table_and_a_view_stand_in_the_catalogs_schema_or_in_their_own(load):
    read = load(GOOD)
    assert (read.tables["users"].schema, read.views["users_mv"].schema) == ("public", "public")
    read = load('schema = "reco"\n' + GOOD.replace("template", 'schema = "shown"\ntemplate'))
    assert (read.tables["users"].schema, read.views["users_mv"].schema) == ("reco", "shown")
    assert read.path_of(read.views["users_mv"]) == ("shown", "reco")


def test_a_table_id_has_1024_bytes_at_most(load):
    for letter in ("x", "é"):
        longest = letter * (1024 // len(letter.encode()))
        assert load(GOOD.replace('source = "users"', f'source = "{longest}"')).tables["users"].source.table == longest
        with pytest.raises(ConfigurationError, match="is no BigQuery table id"):
            load(GOOD.replace('source = "users"', f'source = "{longest}{letter}"'))


def test_a_variable_is_read_once_however_many_tables_name_it(load):
    second = GOOD.partition("[views")[0].replace("tables.users", "tables.visits").replace("BIGQUERY_SEED", "VISITS")
    third = second.replace("visits", "clicks")
    assert load(second + third + GOOD).dataset_variables == ("VISITS_DATASET", "BIGQUERY_SEED_DATASET")


def test_the_shipped_catalog_has_these_tables_and_views():
    shipped = catalog.load()
    assert shipped.schema == "public"
    assert shipped.tables.keys() == TABLES.keys()
    assert {view.name: view.reads for view in shipped.views.values()} == {v: (t,) for v, t in VIEWS.items()}


def test_a_publication_concerns_the_views_that_read_the_table():
    views = catalog.load().views_of("recommendable_offers_raw")
    assert {view.name for view in views} == {"item_ids_mv", "recommendable_offers_raw_mv"}


def test_a_mixed_case_column_may_be_quoted(load):
    assert [column.name for column in load(GOOD).tables["users"].columns] == ["user_id", "irisCode"]


def test_a_table_may_be_empty_when_the_catalog_says_so(load):
    assert (
        load(GOOD.replace("[tables.users.columns]", "allow_empty = true\n[tables.users.columns]"))
        .tables["users"]
        .allow_empty
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ('source = "users"', "", "1: tables.users.source", "is missing"),
        ('source = "users"', "source = 3", "2: tables.users.source", "should be text"),
        ('source = "users"', 'source = "a.b"', "2: tables.users.source", "is no BigQuery table id"),
        ("BIGQUERY_SEED_DATASET", "SEED", "3: tables.users.dataset", "capitals, digits and _, with DATASET among them"),
        ('"users"\ndataset', '"us ers/x"\ndataset', "2: tables.users.source", "is no BigQuery table id"),
        *((ORIGIN, f'source = "{text}"', "2: tables.users.source", "should be dataset.table") for text in NO_SOURCES),
        *(("BIGQUERY_SEED_DATASET", name, "3: tables.users.dataset", "DATASET among them") for name in NO_VARIABLES),
        ('dataset = "', 'allow_empty = "no"\ndataset = "', "3: tables.users.allow_empty", "should be true or false"),
        ("dataset", "sauce = 1\ndataset", "3: tables.users.sauce", "is unknown here; known are allow_empty, columns"),
        ('"varchar"', '"money"', "5: tables.users.columns.user_id", "should have a type among bigint, boolean"),
        ('"varchar"', "1", "5: tables.users.columns.user_id", "should have a type among"),
        ('"irisCode"', '"iris code"', "6: tables.users.columns.iris code", "is no identifier"),
        ('"irisCode"', '"iris.code"', "6: tables.users.columns.iris.code", "is no identifier"),
        ('"irisCode"', "'iris \\ code'", "6: tables.users.columns.iris \\ code", "is no identifier"),
        ('"irisCode"', r'"iris\u202ecode"', r"6: tables.users.columns.iris\u202ecode", "is no identifier"),
        ("[tables.users.columns]", '[tables . "users" . columns]\nctid=""', "5: tables.users.columns.ctid", "a sys"),
        ("user_id", "_PartitionTime", "5: tables.users.columns._PartitionTime", "a name that BigQuery reserves"),
        ("user_id", "_table_suffix", "5: tables.users.columns._table_suffix", "none begins with _TABLE_, _FILE_"),
        ("user_id", "xmin", "5: tables.users.columns.xmin", "is a system column of every PostgreSQL table"),
        ("user_id", "IRISCODE", "6: tables.users.columns.irisCode", "is taken by IRISCODE: BigQuery does not tell"),
        ("user_id", "u" * 64, f"5: tables.users.columns.{'u' * 64}", "is no identifier"),
        ("[tables.users]", '[tables."us ers"]\n[tables.users]', "1: tables.us ers", "is no identifier"),
        ("[tables.users]", "[tables]\nother = 1\n[tables.users]", "2: tables.other", "a [tables.other] block"),
        ('template = "users_mv.sql.jinja"', "", "8: views.users_mv.template", "is missing"),
        ('"users_mv.sql', '"absent.sql', "9: views.users_mv.template", "does not exist as"),
        ('"users_mv.sql', '"../users_mv.sql', "9: views.users_mv.template", "the name of a .sql.jinja file"),
        ('.jinja"', '.txt"', "9: views.users_mv.template", "the name of a .sql.jinja file"),
        ('reads = ["users"]', "", "8: views.users_mv.reads", "should list the tables"),
        ('reads = ["users"]', "reads = []", "10: views.users_mv.reads", "should list the tables"),
        ('reads = ["users"]', 'reads = "users"', "10: views.users_mv.reads", "should list the tables"),
        ('["users"]', '["users", "offers"]', "10: views.users_mv.reads", "names 'offers', which is no table"),
        ('["users"]', '[["users"]]', "10: views.users_mv.reads", "which is no table"),
        ("[views.users_mv]", "[views.users]", "8: views.users", "is also the name of a table"),
        ("[tables.users]", 'schema = "a b"\n[tables.users]', "1: schema", "is no identifier"),
        ("[tables.users]", 'schema = "pg_catalog"\n[tables.users]', "1: schema", "is one of the server's own"),
        ("[tables.users]", 'schema = "pg_temp"\n[tables.users]', "1: schema", "is one of the server's own"),
        ("[tables.users]", 'schema = "information_schema"\n[tables.users]', "1: schema", "is one of the server's own"),
        ("dataset", 'schema = "a b"\ndataset', "3: tables.users.schema", "is no identifier"),
        ("dataset", 'schema = "recosync"\ndataset', "3: tables.users.schema", "is the ledger's"),
        ("template", 'schema = "pg_temp"\ntemplate', "9: views.users_mv.schema", "is one of the server's own"),
        ("template", 'schema = 1\ntemplate', "9: views.users_mv.schema", "should be text"),
        ("[tables.users]", "[hourly.users]\n[tables.users]", "1: hourly.users", "is also the name of a table"),
        ("[tables.users]", "[hourly.users_mv]\n[tables.users]", "1: hourly.users_mv", "is also the name of a view"),
        ("user_id", "tableoid", "5: tables.users.columns.tableoid", "is a system column of every PostgreSQL table"),
        ("user_id", "ctid", "5: tables.users.columns.ctid", "is a system column of every PostgreSQL table"),
        ('"users_mv.sql', f'"{"x" * 250}.sql', "9: views.users_mv.template", "200 letters at most"),
        ('"users_mv.sql', r'"users\u0000_mv.sql', "9: views.users_mv.template", "the name of a .sql.jinja file"),
        *(
            ("[tables.users.columns]", f"{limit}\n[tables.users.columns]", place, what)
            for limit, place, what in LIMITS
        ),
        ("[tables.users]", 'schema = "recosync"\n[tables.users]', "1: schema", "is the ledger's"),
        ("[tables.users]", "[tables.hold]\n[tables.users]", "1: tables.hold", "the schema recosync needs for itself"),
        ("[tables.users]", "[tables.pg_type]\n[tables.users]", "1: tables.pg_type", "begins with pg_"),
        ("[views.users_mv]", "[views.PG_mv]", "8: views.PG_mv", "begins with pg_"),
        ("[views.users_mv]", "[hourly.pg_log]\n[views.users_mv]", "8: hourly.pg_log", "begins with pg_"),
        ("[tables.users]", "[tables.part_17]\n[tables.users]", "1: tables.part_17", "needs for itself"),
        ("[views.users_mv]", "[views.part_pkey]", "8: views.part_pkey", "needs for itself"),
        ("[views.users_mv]", "[hourly.pin]\n[views.users_mv]", "8: hourly.pin", "needs for itself"),
        ("[tables.users]", "colour = 1\n[tables.users]", "1: colour", "known are hourly, schema, tables, views"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_path(load, old, new, place, what):
    assert old in GOOD
    with pytest.raises(ConfigurationError) as e:
        load(GOOD.replace(old, new, 1))
    mistakes = [line for line in e.value.what.splitlines() if line.startswith(f"catalog.toml:{place}: ")]
    assert any(what in mistake for mistake in mistakes), e.value.what


@pytest.mark.parametrize(
    ("count", "type_", "what"),
    [
        (1599, "boolean", "are 1601: a table of PostgreSQL has at most 1600"),
        (509, "uuid", "take 8176 bytes in a row without NULL: PostgreSQL's has at most 8160"),
        (1017, "bigint", "take 8168 bytes in a row without NULL: PostgreSQL's has at most 8160"),
    ],
)
def test_columns_that_postgresql_has_no_room_for_are_reported(load, count, type_, what):
    def columns(count):
        return GOOD.replace(
            'user_id = "varchar"', "\n".join(f'c{n} = "{type_}"\n' for n in range(count)) + '\nu = "text"'
        )

    with pytest.raises(ConfigurationError, match=f"tables.users.columns: {what}"):
        load(columns(count))
    assert len(load(columns(count - 1)).tables["users"].columns) == count + 1


@pytest.mark.parametrize("name", ["XMIN", "oid", "_partial", "_file", "table_id", "_rows"])
def test_a_name_that_only_resembles_a_reserved_one_is_a_columns(load, name):
    assert load(GOOD.replace("user_id", name)).tables["users"].columns[0].name == name


def test_a_catalog_of_nothing_is_a_mistake(load):
    for text in ("", 'schema = "reco"', "[views.users_mv]"):
        with pytest.raises(ConfigurationError, match="there is nothing to sync"):
            load(text)


def test_a_catalog_may_have_tables_without_views_and_logs_without_tables(load):
    tables, _, _ = GOOD.partition("[views")
    assert (list(load(tables).tables), list(load(tables).views)) == (["users"], [])
    log = """[hourly.clicks]\ntime = "at"\nkey = "id"\n[hourly.clicks.columns]
        id = { type = "bigint", bigquery = "INT64" }\nat = { type = "timestamp", bigquery = "TIMESTAMP" }\n"""
    assert (list(load(log).tables), list(load(log).hourly)) == ([], ["clicks"])


def test_every_mistake_is_reported_at_once(load):
    text = (
        GOOD.replace('"users"', "1")
        .replace("SEED", "seed")
        .replace("varchar", "money")
        .replace("users_mv.sql", "x.sql")
    )
    with pytest.raises(ConfigurationError, match="5 mistakes in the catalog") as e:
        load(text)
    lines = e.value.what.splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "5", "9", "10"]


def test_what_is_no_toml_is_reported_with_its_line(load):
    with pytest.raises(ConfigurationError, match=r"catalog.toml: is not TOML: .*line 2"):
        load("[tables.users]\nsource = \n")


@pytest.mark.parametrize(
    ("spelling", "sql"),
    [
        ("varchar", "character varying"),
        ("decimal", "numeric"),
        ("timestamp", "timestamp without time zone"),
        *((t.sql, t.sql) for t in PG_TYPES if t not in (PgType.CHAR, PgType.VECTOR, PgType.HALFVEC)),
    ],
)
def test_a_type_may_be_spelt_in_short_or_as_the_server_prints_it(load, spelling, sql):
    column = load(GOOD.replace('"varchar"', f'"{spelling}"')).tables["users"].columns[0]
    assert column.type.sql == sql


@pytest.mark.parametrize(
    ("spelling", "sql"),
    [
        ("varchar(20)", "character varying(20)"),
        ("char(3)", "character(3)"),
        ("decimal(10, 2)", "numeric(10,2)"),
        ("numeric(5)", "numeric(5,0)"),
        ("text[]", "text[]"),
        ("vector(768)", "vector(768)"),
        ("varchar(20)[]", "character varying(20)[]"),
        ("timestamp[]", "timestamp without time zone[]"),
        ("numeric(1000,1000)", "numeric(1000,1000)"),
        ("geometry(point)", "geometry(Point)"),
        ("geometry(Point, 4326)", "geometry(Point,4326)"),
        ("geometry(MULTIPOLYGONZM,2154)", "geometry(MultiPolygonZM,2154)"),
        ("geometry(Geometry)", "geometry"),
        ("geometry(GeometryZ,0)", "geometry(GeometryZ)"),
        ("geometry(4326)", "geometry(Geometry,4326)"),
        ("geography(Point)", "geography(Point,4326)"),
        ("geography(LineString,4267)", "geography(LineString,4267)"),
        ("character varying(10485760)", "character varying(10485760)"),
    ],
)
def test_a_type_may_have_parameters(load, spelling, sql):
    column = load(GOOD.replace('"varchar"', f'"{spelling}"')).tables["users"].columns[0]
    assert (column.type.sql, PgType.parse(sql)) == (sql, column.type)


@pytest.mark.parametrize(
    ("spelling", "what"),
    [
        ("money", "should have a type among bigint, boolean, bytea, "),
        ("varchar()", "should have a type among"),
        ("varchar(3", "should have a type among"),
        ("Varchar", "should have a type among"),
        ("varchar(0)", r"should be like varchar\(10\), with a number up to 10485760"),
        ("varchar(10485761)", r"should be like varchar\(10\), with a number up to 10485760"),
        ("varchar(1,2)", r"should be like varchar\(10\)"),
        ("char", r"should be like char\(10\)"),
        ("numeric(1001)", "should be like numeric"),
        ("numeric(0)", "should be like numeric"),
        ("numeric(2,3)", "should be like numeric"),
        ("vector", r"should be like vector\(10\), with a number up to 16000"),
        ("halfvec(16001)", r"should be like halfvec\(10\)"),
        ("vector(3)[]", "should be no array"),
        ("geometry(Circle)", r"should be like geometry\(Point,4326\), of Geometry, Point"),
        ("geometry(Point,998999999)", r"should be like geometry\(Point,4326\)"),
        ("geometry(1,2)", r"should be like geometry\(Point,4326\)"),
        ("geography(Z)", r"should be like geography\(Point,4326\)"),
        ("geometry(Point,)", "should have a type among"),
        ("geometry(Point)[]", "should be no array"),
        ("varchar(max)", "should be without a word in brackets"),
        ("jsonb[]", "should be no array: there are some of text, varchar, smallint"),
        ("text[][]", "should have a type among"),
        ("integer(3)", "should be without anything in brackets"),
        ("timestamp(3)", "should be without anything in brackets"),
    ],
)
def test_a_type_that_postgresql_does_not_have_is_a_mistake_with_its_line(load, spelling, what):
    with pytest.raises(ConfigurationError, match=rf"catalog.toml:\d+: tables.users.columns.\w+: {what}"):
        load(GOOD.replace('"varchar"', f'"{spelling}"'))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("x = " + "[" * 5_000 + "]" * 5_000, "is not TOML: it has too long a number, or is nested too deeply"),
        ("x = " + "9" * 5_000, "is not TOML: it has too long a number, or is nested too deeply"),
        ("#" * (1 << 20) + "\n", "has more than 1048576 bytes"),
    ],
    ids=["nested", "long", "large"],
)
def test_what_no_catalog_holds_is_refused(load, content, what):
    with pytest.raises(ConfigurationError, match=f"catalog.toml: {what}"):
        load(content)


def test_a_catalog_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent.toml: can't be read \(No such file or directory"):
        catalog.load(catalog.Place(tmp_path / "absent.toml", tmp_path))
    with pytest.raises(ConfigurationError, match=r"can't be read \(Is a directory"):
        catalog.load(catalog.Place(tmp_path, tmp_path))


def test_the_mark_that_some_editors_write_first_is_none_of_the_catalogs(load):
    assert load("\ufeff" + GOOD) == load(GOOD)


def test_of_many_mistakes_the_first_are_told_and_the_others_counted(load):
    with pytest.raises(ConfigurationError, match="1,000 mistakes in the catalog") as e:
        load(GOOD.replace("[tables.users]", "".join(f"x{n} = 1\n" for n in range(1_000)) + "[tables.users]"))
    assert e.value.what.endswith("\nand 975 more")


DOCUMENT = tomllib.loads(GOOD) | {
    "schema": "public",
    "hourly": {
        "searched": {
            "time": "at",
            "key": "id",
            "cluster_by": ["import_hour"],
            "columns": {
                "id": {"type": "bigint", "bigquery": "INT64"},
                "at": {"type": "timestamp", "bigquery": "TIMESTAMP", "excess_scale": "round"},
            },
        },
    },
}
DOCUMENT["tables"]["users"] |= {
    "allow_empty": False,
    "key": ["user_id"],
    "limits": {"shrink": 0.3, "growth": 1, "null_share": {"user_id": 0.1}, "duplicate_keys": 0, "source_age": 30},
}


def toml(value):
    """A value as TOML writes it inline; what TOML has no word for is left to fail there."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(of)}" for key, of in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool() | str():
            return json.dumps(value)
        case float():
            return str(value)
        case _:
            return "null" if value is None else str(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(mutated(DOCUMENT))
@example(DOCUMENT)
def test_whatever_a_catalog_holds_is_read_or_has_an_answer(load, document):
    text = (
        "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items())
        if isinstance(document, dict)
        else f"= {toml(document)}"  # alone, a list would be a header, whose name is told
    )
    with answered(ConfigurationError):
        read = load(text)
        assert all(is_identifier(name) for name in (read.schema, *read.tables, *read.views, *read.hourly))
        for table in read.tables.values():
            assert timedelta(hours=table.limits.source_age or 0) < timedelta(days=40_000)
            assert 10**15 * (1 + table.limits.growth) < 10**22
