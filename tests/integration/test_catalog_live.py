"""`recosync catalog check --live`: what differs from BigQuery and PostgreSQL, by path and line of the catalog."""

from __future__ import annotations

import pytest

from shared import catalog
from shared.errors import ConfigurationError
from shared.operate.cli.output import Exit
from shared.services import HourlyServices
from tests.kit.commands import recosync

COLUMNS = {"user_id": "text", "score": "real", "day": "date"}
VIEW = '[views.users_mv]\ntemplate = "users_mv.sql.jinja"\nreads = ["users"]\n'
SOURCE = "SELECT 'a' AS user_id, 1.5 AS score, DATE '2026-01-01' AS day"


class World:
    """A deployment whose catalog has one table, `users`."""

    def __init__(self, here, folder, database):
        self.here, self.file, self.database = here, folder / "catalog.toml", database
        views = folder / "views"
        views.mkdir()
        template = "CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT user_id FROM users;"
        (views / "users_mv.sql.jinja").write_text(template)

    def declare(self, **changes):
        columns = {**COLUMNS, **changes}
        types = "".join(f'{name} = "{type_}"\n' for name, type_ in columns.items() if type_)
        head = '[tables.users]\nsource = "seed_local.users"\nkey = ["user_id"]\n[tables.users.columns]\n'
        self.file.write_text(f"{head}{types}{VIEW}")
        if all(type_ != "money" for type_ in columns.values()):
            assert recosync("--catalog", self.file, "catalog", "terraform").code == 0

    def source(self, query=SOURCE):
        self.here.bigquery_client.query(f"CREATE OR REPLACE TABLE seed_local.users AS {query}").result()

    def publish(self):
        ran = recosync("export", "users", "--force", "--bucket-path", f"gs://{self.here.bucket}/elsewhere", "--json")
        assert [each["status"] for each in ran.json["imported"]] == ["published"]

    def check(self):
        """What differs, and what is worth knowing."""
        ran = recosync("catalog", "check", "--live", "--json")
        assert ran.json["valid"]
        assert ran.code == (Exit.FAILED if ran.json["differences"] else Exit.DONE)
        return ran.json["differences"], ran.json["notes"]


@pytest.fixture
def world(here, tmp_path, monkeypatch, database):
    world = World(here, tmp_path, database)
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(tmp_path))
    world.declare()
    world.source()
    return world


def test_nothing_differs_where_all_is_as_the_catalog_says(world):
    assert world.check() == (
        [],
        ["catalog.toml:1: tables.users: public.users does not exist yet: its first publish makes it"],
    )
    world.publish()
    assert world.check() == ([], [])
    told = recosync("catalog", "check", "--live")
    assert (told.code, told.err, "Nothing differs from BigQuery and PostgreSQL." in told.out) == (0, "", True)


def test_a_source_that_is_gone_and_columns_that_drifted_are_told(world):
    world.source("SELECT 'a' AS user_id, TIMESTAMP '2026-01-01' AS day, 'x' AS more")
    table = f"{world.here.project}.seed_local.users"
    differences, notes = world.check()
    assert differences == [
        f"catalog.toml:6: tables.users.columns.score: is missing, real takes FLOAT64 or INT64 or NUMERIC, in {table}",
        f"catalog.toml:7: tables.users.columns.day: is TIMESTAMP, date takes DATE, in {table}",
    ]
    assert f"catalog.toml:4: tables.users.columns: {table} has more, which do not travel: more (STRING)" in notes
    world.here.bigquery_client.delete_table("seed_local.users")
    ((difference,), _) = world.check()
    assert difference.startswith(f"catalog.toml:2: tables.users.source: {table}: does not exist. Make it, or correct")


def test_columns_that_the_published_table_has_otherwise_are_told_as_migrate_tells_them(world):
    world.publish()
    world.declare(score="double precision", day="", more="text")
    world.source("SELECT 'a' AS user_id, 1.5 AS score, 'x' AS more")
    differences, _ = world.check()
    assert [difference.partition(";")[0] for difference in differences] == [
        "catalog.toml:4: tables.users.columns.day: is date, the catalog says nothing",
        "catalog.toml:6: tables.users.columns.score: is real, the catalog says double precision",
        "catalog.toml:7: tables.users.columns.more: is missing in public.users: recosync migrate adds it",
    ]
    assert recosync("migrate", "--json").code == 0
    assert [difference.split()[1] for difference in world.check()[0]] == [
        "tables.users.columns.day:",
        "tables.users.columns.score:",
    ]
    world.publish()
    assert world.check() == ([], [])


@pytest.mark.parametrize(
    ("statement", "path", "what"),
    [
        ("CREATE VIEW public.users AS SELECT 1 AS n", "1: tables.users", "public.users: is no ordinary table"),
        (
            "CREATE TABLE users (user_id text, score text)",
            "6: tables.users.columns.score",
            "is text, the catalog says real",
        ),
        (
            "CREATE TABLE users (n text); CREATE TABLE c () INHERITS (users)",
            "1: tables.users",
            "children that no publish",
        ),
    ],
)
def test_a_table_of_somebody_elses_is_told_before_there_is_a_ledger(world, statement, path, what):
    world.database.execute(statement.encode())
    differences, _ = world.check()
    assert any(each.startswith(f"catalog.toml:{path}: ") and what in each for each in differences)
    assert world.database.execute("SELECT to_regnamespace('recosync')").fetchone() == (None,)


def test_a_table_that_can_be_adopted_is_no_difference(world):
    world.database.execute("CREATE TABLE users (user_id text, score real, day date)")
    note = "catalog.toml:1: tables.users: no publish made public.users: the first one adopts the rows that it holds"
    assert world.check() == ([], [note])


@pytest.mark.parametrize(("extension", "type_"), [("vector", "vector(3)"), ("postgis", "geometry")])
def test_an_extension_that_a_type_needs_is_told_where_the_type_is(world, extension, type_):
    with world.here.cloud.postgres.superuser(world.here.name) as admin:
        admin.execute(f"DROP EXTENSION IF EXISTS {extension} CASCADE".encode())
    world.declare(place=type_)
    world.source(SOURCE + (", [0.5] AS place" if extension == "vector" else ", 'POINT(1 2)' AS place"))
    differences, _ = world.check()
    (told,) = differences
    assert told.startswith("catalog.toml:8: tables.users.columns.place: public.users: the database does not have the")
    assert f"extension {extension}, for place ({type_}). CREATE EXTENSION {extension} there" in told


def test_a_right_that_the_loader_lacks_is_told_where_it_is_needed(world):
    world.publish()
    owner = f"{world.here.name}_owner"
    with world.here.cloud.postgres.superuser(world.here.name) as admin:
        admin.execute(f"CREATE ROLE {owner}; CREATE SCHEMA closed AUTHORIZATION {owner}".encode())
        try:
            world.file.write_text(world.file.read_text().replace("[tables.users]", '[tables.users]\nschema = "closed"'))
            assert recosync("catalog", "terraform").code == 0
            differences, _ = world.check()
        finally:
            admin.execute(f"DROP SCHEMA closed; DROP ROLE {owner}".encode())
    assert len(differences) == 1
    assert "catalog.toml:1: tables.users: closed.users: permission denied for schema closed. GRANT" in differences[0]


def test_mistakes_of_the_catalog_itself_come_first_and_alone(world):
    world.declare(score="money")
    ran = recosync("catalog", "check", "--live", "--json")
    assert (ran.code, ran.json["valid"], ran.json["differences"]) == (Exit.FAILED, False, [])


def test_what_can_not_be_reached_is_no_difference(world, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://recosync:x@127.0.0.1:1/nowhere")
    ran = recosync("catalog", "check", "--live", "--json")
    assert (ran.code, ran.json["retryable"]) == (Exit.RETRY, True)


def test_another_catalog_may_be_compared(world, tmp_path, monkeypatch):
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(catalog.SHIPPED.file))
    ran = recosync("catalog", "check", "--live", "--file", tmp_path, "--json")
    assert (ran.code, ran.json["tables"], ran.json["differences"]) == (0, ["users"], [])


BLOCK = """
[hourly.visits]
time = "made"
key = "id"
cluster_by = ["import_hour"]
[hourly.visits.columns]
id = { type = "bigint", bigquery = "INT64" }
made = { type = "timestamp", bigquery = "TIMESTAMP" }
page = { type = "text", bigquery = "STRING" }
"""
RAW = "CREATE TABLE raw_local.visits ({}) PARTITION BY {} CLUSTER BY import_hour"
RAW_COLUMNS = "id INT64, made TIMESTAMP, page STRING, import_date DATE, import_hour INT64"


@pytest.fixture
def logged(world):
    """The same with a log, whose tables are as the catalog says."""
    world.file.write_text(world.file.read_text() + BLOCK)
    assert recosync("catalog", "terraform").code == 0
    world.publish()
    world.database.execute("CREATE TABLE visits (id bigint PRIMARY KEY, made timestamp, page text)")
    world.database.execute("CREATE INDEX ON visits (made)")
    return world


def test_a_log_that_is_as_the_catalog_says_is_no_difference(logged):
    raw = f"{logged.here.project}.raw_local.visits"
    note = f"catalog.toml:12: hourly.visits: {raw} does not exist yet: `terraform apply` makes it, or the first hour"
    assert logged.check() == ([], [note])
    columns = RAW_COLUMNS.replace(" page STRING,", "")
    logged.here.bigquery_client.query(RAW.format(columns, "import_date")).result()
    lacks = f"catalog.toml:16: hourly.visits.columns: {raw} lacks page, which the next hour adds"
    assert logged.check() == ([], [lacks])


def test_a_logs_table_in_a_data_set_of_others_is_to_be_made(logged):
    """Terraform makes none there, and grants no right to make one."""
    block = logged.file.read_text()
    logged.file.write_text(block.replace('key = "id"', 'key = "id"\ndataset = "seed_local"'))
    assert recosync("catalog", "terraform").code == 0
    what = f"{logged.here.project}.seed_local.visits does not exist yet"
    how = "make it by `bq mk`, as docs/data.md#adopt-a-logs-table shows"
    assert logged.check() == ([], [f"catalog.toml:12: hourly.visits: {what}: {how}"])


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TABLE visits", ["12: hourly.visits: public.visits: does not exist"]),
        (
            "DROP INDEX visits_made_idx",
            ["13: hourly.visits.time: public.visits: has no B-tree index that begins with made"],
        ),
        (
            "ALTER TABLE visits DROP CONSTRAINT visits_pkey, DROP page, ALTER made TYPE timestamptz",
            [
                "14: hourly.visits.key: public.visits: has no primary key or unique index on NOT NULL id",
                "18: hourly.visits.columns.made: public.visits: column made is timestamp with time zone",
                "19: hourly.visits.columns.page: public.visits: column page is missing, the catalog says text",
            ],
        ),
    ],
)
def test_what_a_log_lacks_in_postgresql_is_told(logged, statement, told):
    logged.database.execute(statement.encode())
    differences, _ = logged.check()
    assert len(differences) == len(told)
    assert all(each.startswith(f"catalog.toml:{line}") for each, line in zip(differences, told, strict=True))


def test_a_table_of_bigquery_that_is_another_is_told(logged):
    columns = RAW_COLUMNS.replace("page STRING", "page INT64, more STRING")
    logged.here.bigquery_client.query(RAW.format(columns, "DATE(made)")).result()
    raw = f"{logged.here.project}.raw_local.visits"
    partitions = "it is partitioned by the day of made, not by the day of import_date"
    assert logged.check()[0] == [
        f"catalog.toml:12: hourly.visits.partition_by: {raw}: {partitions}",
        f"catalog.toml:16: hourly.visits.columns.more: {raw}: column more is STRING, the catalog says nothing of it",
        f"catalog.toml:19: hourly.visits.columns.page: {raw}: column page is INT64, the catalog says STRING",
    ]


def test_a_table_of_bigquery_that_is_gone_after_hours_were_loaded_is_told(logged):
    logged.database.execute(
        "INSERT INTO visits SELECT 1, date_trunc('hour', now() AT TIME ZONE 'UTC') - interval '1 h'"
    )
    assert recosync("hourly", "--table-name", "visits").code == 0
    assert logged.check() == ([], [])
    logged.here.bigquery_client.delete_table("raw_local.visits")
    ((difference,), _) = logged.check()
    assert "hourly.visits: " in difference
    assert "visits: is gone, though hours were loaded into it. Restore it" in difference


@pytest.mark.parametrize("dataset", ["raw_local", "{project}.raw_local", "{project}.raw_{{env}}"])
def test_two_logs_whose_names_for_a_table_mean_the_same_one_are_told(logged, dataset):
    """That they do shows only where the environment and the project are known."""
    named = f'dataset = "{dataset.format(project=logged.here.project)}"\ntable = "visits"\n'
    other = BLOCK.replace("visits", "calls").replace('key = "id"\n', f'key = "id"\n{named}')
    logged.file.write_text(logged.file.read_text() + other)
    assert recosync("catalog", "terraform").code == recosync("catalog", "check").code == 0
    what = f"{logged.here.project}.raw_local.visits: is the BigQuery table of the logs visits and calls: each log needs"
    with pytest.raises(ConfigurationError, match=what):
        HourlyServices.from_environment()
    ran = recosync("catalog", "check", "--live")
    assert (ran.code != 0, what in " ".join(ran.err.split())) == (True, True)
