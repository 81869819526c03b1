"""Rows that are made up of a catalog go all the way, whatever its types and keys are."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local.logs import create
from local.sources import InputError, Sources
from shared import catalog
from shared.catalog import FOLDER_VARIABLE, PG_TYPES, PgType
from shared.daily import export
from shared.daily.names import SnapshotFolder
from shared.hourly import run
from shared.hourly.request import parse
from shared.names import SnapshotId
from shared.operate import verify
from shared.services import HourlyServices, Services
from tests.kit.uploads import arrive

_names = (f"made{number}" for number in itertools.count())


@contextmanager
def deployed(cloud, monkeypatch, folder, text):
    """A project with this catalog, in our own environment too."""
    folder.mkdir(exist_ok=True)
    (folder / "catalog.toml").write_text(text)
    (folder / "views").mkdir(exist_ok=True)
    (folder / "views" / "mv.sql.jinja").write_text("CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT 1")
    environment = {FOLDER_VARIABLE: str(folder)}
    with cloud.deploy(next(_names), functions={}, env=environment) as here:
        for name, value in here.env.items():
            monkeypatch.setenv(name, value)
        yield here


def table(name, columns, **settings):
    given = {"source": f'"{name}"', "dataset": '"BIGQUERY_SEED_DATASET"', **settings}
    lines = [f"[tables.{name}]", *(f"{key} = {value}" for key, value in given.items()), f"[tables.{name}.columns]"]
    return "\n".join([*lines, *(f'"{column}" = "{type_}"' for column, type_ in columns.items()), ""])


VIEW = '[views.made_mv]\ntemplate = "mv.sql.jinja"\nreads = ["{}"]\n'


def publish(services, name):
    now = datetime.now(UTC)
    snapshot = SnapshotId(now.replace(microsecond=0))
    export.export(services, services.catalog.tables[name], snapshot, now, time.monotonic() + 60)
    found = services.storage.find(
        services.settings.bucket, SnapshotFolder(services.settings.prefix, name, snapshot).manifest
    )
    assert arrive(services, found.version) == ["published"]


def spelled(type_: PgType) -> str:
    """A type as a catalog may spell it, with a length if it needs one."""
    try:
        return PgType.parse(type_.name).sql
    except ValueError:
        return PgType.parse(f"{type_.name}(3)").sql


def columns_of_every_type(*, vectors: bool) -> dict[str, str]:
    """For each type a column for each type of BigQuery that becomes it, and an array."""
    found = {}
    for type_ in PG_TYPES:
        if type_ in (PgType.VECTOR, PgType.HALFVEC) and not vectors:
            continue
        short = type_.name.replace(" ", "_")
        found |= {f"{short}_{number}": spelled(type_) for number in range(len(type_.sources))}
        with suppress(ValueError):  # there are no arrays of it
            found[f"{short}_array"] = PgType.parse(f"{spelled(type_)}[]").sql
    return found | {"short": "varchar(2)", "exact": "numeric(5,2)", "tiny": "numeric(3,3)", "wide": "numeric(40,20)"}


def test_every_type_from_every_type_of_bigquery_arrives_and_is_verified(cloud, tmp_path, monkeypatch):
    with psycopg.connect(cloud.postgres.dsn("recosync_template", "postgres")) as database:
        vectors = database.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone() is not None
    columns = columns_of_every_type(vectors=vectors)
    text = table("every", columns) + VIEW.format("every")
    with deployed(cloud, monkeypatch, tmp_path / "mine", text) as here:
        Sources(here, 900).make()
        services = Services.from_environment()
        fields = {
            field.name
            for field in here.bigquery_client.get_table(str(here.source(services.catalog.tables["every"]))).schema
        }
        assert fields == set(columns)
        publish(services, "every")
        verdict = verify.table(services, services.catalog.tables["every"])
        assert [d for d in verdict.differences if "made_mv" not in d] == []
        assert verdict.postgresql_rows >= 200
        with psycopg.connect(here.dsn) as database:
            counts = ", ".join(f'count("{name}"), count(DISTINCT "{name}"::text)' for name in columns)
            counted = database.execute(f"SELECT {counts} FROM every".encode()).fetchone()
        for name, (values, distinct) in zip(columns, zip(counted[::2], counted[1::2], strict=True), strict=True):
            never_null = "array" in name or name.startswith(("vector", "halfvec"))
            assert (values == verdict.postgresql_rows) == never_null, name
            assert distinct > 1, name


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ({"id": "integer"}, 300),
        ({"flag": "boolean"}, 2),
        ({"code": "char(1)"}, 10),
        ({"flag": "boolean", "code": "varchar(1)"}, 20),
        ({"a": "text", "flag": "boolean", "b": "uuid"}, 300),
        ({"at": "timestamp", "amount": "numeric(5,2)"}, 300),
    ],
    ids=str,
)
def test_rows_differ_by_the_key_and_are_as_many_as_it_has_values(cloud, tmp_path, monkeypatch, key, rows):
    names = ", ".join(f'"{name}"' for name in key)
    text = table("keyed", {**key, "other": "text"}, key=f"[{names}]") + VIEW.format("keyed")
    with deployed(cloud, monkeypatch, tmp_path / "mine", text) as here:
        Sources(here, 900).make()
        of = here.source(catalog.load().tables["keyed"]).quoted
        keys = f"SELECT COUNT(*) FROM (SELECT DISTINCT {', '.join(f'`{name}`' for name in key)} FROM {of})"
        given = " AND ".join(f"`{name}` IS NOT NULL" for name in key)
        query = f"SELECT COUNT(*), ({keys}), COUNTIF({given}) FROM {of}"
        assert [row.values() for row in here.bigquery_client.query(query).result()] == [(rows, rows, rows)]


def test_tables_of_one_source_and_views_that_join_find_what_they_look_for(cloud, tmp_path, monkeypatch):
    text = table("wide", {"user_id": "text", "n": "bigint", "extra": "text"}, source='"both"', key='["user_id"]')
    text += table("narrow", {"user_id": "varchar", "n": "smallint"}, source='"both"')
    text += table("other", {"other_id": "uuid", "user_id": "text"}, key='["other_id"]') + VIEW.format("wide")
    with deployed(cloud, monkeypatch, tmp_path / "mine", text) as here:
        assert len(Sources(here, 900).make()) == 2
        services = Services.from_environment()
        for name in services.catalog.tables:
            publish(services, name)
        with psycopg.connect(here.dsn) as database:
            query = "SELECT count(*), count(extra) FROM wide JOIN narrow USING (user_id) JOIN other USING (user_id)"
            joined, extra = database.execute(query).fetchone()
        assert joined > 200
        assert 0 < extra < joined


def test_input_of_the_folder_comes_first_and_what_does_not_fit_is_told(cloud, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    text = table("own", {"id": "integer", "tags": "text[]", "body": "jsonb", "price": "numeric(9,2)"})
    with deployed(cloud, monkeypatch, folder, text + VIEW.format("own")) as here:
        (folder / "input").mkdir()
        query = (
            "SELECT i AS id, ['é', 'b'] AS tags, {'a': i} AS body, (i / 4)::DECIMAL(9, 2) AS price FROM range(3) t (i)"
        )
        (folder / "input" / "own.sql").write_text(f"{query};\n")
        sources = Sources(here, 900)
        assert [ref.table for ref in sources.make()] == ["own"]
        assert sources.make() == []
        publish(Services.from_environment(), "own")
        with psycopg.connect(here.dsn) as database:
            rows = database.execute("SELECT id, tags, body, price::text FROM own ORDER BY id").fetchall()
        assert rows[1] == (1, ["é", "b"], {"a": 1}, "0.25")
        for wrong, told in (
            (query.replace("i AS id", "'x' AS id"), "own.sql: gives id as STRING, integer takes INT64 or FLOAT64 or"),
            (query.replace(" AS price", " AS prize"), r"own.sql: gives no column price, numeric\(9,2\) takes NUMERIC"),
            ("SELECT FROM", "own.sql: is no query that DuckDB runs: Parser Error"),
        ):
            (folder / "input" / "own.sql").write_text(wrong)
            with pytest.raises(InputError, match=told):
                sources.make()


def log_columns() -> dict[str, tuple[str, str]]:
    """For each type that may leave PostgreSQL a column for each type of BigQuery that it becomes."""
    found = {}
    for name, type_ in catalog.TYPE_NAMES.items():
        for target in type_.targets if name == type_.name else ():
            found[f"{name.replace(' ', '_')}_{target.lower()}"] = (spelled(type_), target)
    return found


def test_a_log_of_every_type_is_made_of_its_block_and_leaves(cloud, tmp_path, monkeypatch):
    columns = log_columns()
    lines = ['id = { type = "bigint", bigquery = "INT64" }', 'at = { type = "timestamp", bigquery = "TIMESTAMP" }']
    lines += [f'{name} = {{ type = "{type_}", bigquery = "{target}" }}' for name, (type_, target) in columns.items()]
    text = table("other", {"id": "integer"}) + VIEW.format("other")
    text += '[hourly.made_log]\ntime = "at"\nkey = "id"\n[hourly.made_log.columns]\n' + "\n".join(lines) + "\n"
    with deployed(cloud, monkeypatch, tmp_path / "mine", text) as here:
        services = HourlyServices.from_environment()
        log = services.catalog.hourly["made_log"]
        hour = datetime.strptime(here.env["HOURLY_START"], "%Y%m%dT%H").replace(tzinfo=UTC)
        rows = create(here, log)
        rows.write(here.cloud.postgres.dsn(here.name, "api"), hour, hour + timedelta(hours=1), 70)
        request = parse(
            services, {"table_name": "made_log", "date": f"{hour:%Y%m%d}", "hour": 0}, None, datetime.now(UTC)
        )
        answer, status = run.run(services, request)
        assert (status, answer["failed"], answer["hours"][0]["rows"]) == (200, [], 70)
        counted = ", ".join(f"COUNT(`{name}`)" for name in columns)
        (row,) = here.bigquery_client.query(f"SELECT {counted} FROM {here.target(log).quoted}").result()
        assert set(row.values()) == {60}
