"""The doctor: where the deployment's own SQL was executed all is well; each thing that is broken is told, with what
mends it, and mended by that it is well again.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import datetime, timedelta

import psycopg
import pytest
from functions_framework import create_app
from psycopg import sql

from local import context
from shared import services as cached
from shared.catalog import PG_TYPES, ROOT
from shared.operate import migrate
from shared.operate.doctor import Asked, Verdict, database, examine, rehearsal
from tests.kit import deployed_database, full_sources
from tests.kit.answer_schemas import checked
from tests.kit.commands import recosync
from tests.kit.deployed_database import statements

LOG = "past_offer_context"


@pytest.fixture
def made(here, services, monkeypatch):
    """What docs/deploy.md asks for, done: the database's roles and rights, the log, the sources."""
    full_sources.fill(here, services)
    with deployed_database.made(here, services) as database:
        database.execute("administrator", [*statements(database), context.TABLE, *_indexes()])
        for right in ("SELECT", "DELETE"):
            database.execute("administrator", [f"GRANT {right} ON {LOG} TO {database.loader}"])
        migrate.migrate(database.services, reader=f"{database.name}_status")
        monkeypatch.setenv("DATABASE_URL", database.dsn(database.loader))
        yield database


def _indexes():
    return [] if "CREATE INDEX" in context.TABLE else [f"CREATE INDEX ON {LOG} (date)"]


def wrong(**given):
    """What is wrong, by what was looked at."""
    readers = database.Readers(**given)
    return {check.about: check for check in examine(Asked("operator", readers)) if check.verdict is not Verdict.OK}


def test_all_is_well(made):
    ran = recosync("doctor", "--api-role", "api", "--status-role", f"{made.name}_status")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert "0 wrong, 0 unknown. Not looked at, without --deployment" in ran.out
    ran = recosync("doctor", "--json")
    assert ran.json["well"] is True
    assert {"about", "verdict", "told", "remedy"} == ran.json["checks"][0].keys()


#: What is broken in the database and by whom, the check that tells it, what it tells. What mends it is executed.
BROKEN = {
    "no right to make the ledger": (
        ["DROP SCHEMA recosync CASCADE", "REVOKE CREATE ON DATABASE {database} FROM {loader}"],
        "schema recosync",
        "the role may not make it",
    ),
    "a ledger of somebody else": (
        ["ALTER SCHEMA recosync OWNER TO administrator"],
        "schema recosync",
        "belongs to another role",
    ),
    "no right to create": (["REVOKE CREATE ON SCHEMA public FROM {loader}"], "schema public", "permission denied"),
    "everybody may create": (["GRANT CREATE ON SCHEMA public TO PUBLIC"], "schema public", "everybody may create"),
    "a table of somebody else": (
        ["CREATE TABLE enriched_user (user_id varchar)", "ALTER TABLE enriched_user OWNER TO administrator"],
        "public.enriched_user",
        "belongs to administrator",
    ),
    "a view of somebody else": (
        [
            "CREATE MATERIALIZED VIEW item_ids_mv AS SELECT 1",
            "ALTER MATERIALIZED VIEW item_ids_mv OWNER TO administrator",
        ],
        "public.item_ids_mv",
        "belongs to administrator",
    ),
    "a table in a view's place": (
        ["CREATE TABLE item_ids_mv (item_id varchar)", "ALTER TABLE item_ids_mv OWNER TO {loader}"],
        "public.item_ids_mv",
        "is a table, and should be a materialized view",
    ),
    "a view in a table's place": (
        ["CREATE VIEW enriched_user AS SELECT 1 AS n", "ALTER VIEW enriched_user OWNER TO {loader}"],
        "public.enriched_user",
        "is a view, and should be a table",
    ),
    "a log that can't be read": ([f"REVOKE SELECT ON {LOG} FROM {{loader}}"], f"rights on {LOG}", "may not SELECT"),
    "PostGIS out of reach": (
        ["DROP EXTENSION postgis CASCADE", "CREATE SCHEMA geo", "CREATE EXTENSION postgis SCHEMA geo"],
        "extension postgis",
        "is in geo, which the role may not use",
    ),
    "no PostGIS": (["DROP EXTENSION postgis CASCADE"], "extension postgis", "does not have the extension postgis"),
}


@pytest.mark.parametrize(("strike", "about", "told"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_in_the_database(made, strike, about, told):
    with made.here.cloud.postgres.superuser(made.name) as admin:
        for statement in strike:
            admin.execute(statement.format(database=made.name, loader=made.loader))
        found = wrong()
        assert (found[about].verdict, told in found[about].told) == (Verdict.WRONG, True), found[about].line
        mends = found[about].remedy.partition(" there, as a superuser")[0].partition(": ")[0]
        admin.execute(mends.replace("the loader's role", made.loader))
    assert about not in wrong()


def test_an_extension_that_is_too_old_for_a_column(made, monkeypatch):
    monkeypatch.setitem(database._SINCE, "geometry", (99, 1))
    found = wrong()["extension postgis"]
    assert "is a geometry: that is in 99.1 and later" in found.told
    assert found.remedy.startswith("ALTER EXTENSION postgis UPDATE")


def test_a_log_without_its_index(made):
    with made.here.cloud.postgres.superuser(made.name) as admin:
        indexes = "SELECT indexname FROM pg_indexes WHERE tablename = %s AND indexdef LIKE '%%date%%'"
        for (name,) in admin.execute(indexes, [LOG]).fetchall():
            admin.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    assert "index" in wrong()[f"log {LOG}"].told


def test_readers_that_may_not_read(made):
    status = f"{made.name}_status"
    with made.here.cloud.postgres.superuser(made.name) as admin:
        admin.execute(f"CREATE TABLE iris_france (n integer); ALTER TABLE iris_france OWNER TO {made.loader}")
        admin.execute("REVOKE ALL ON iris_france FROM api; REVOKE SELECT ON recosync.failure FROM PUBLIC")
        found = wrong(api="api", status=status)
        assert "may not read public.iris_france" in found["role api"].told
        assert "may not read recosync.failure" in found[f"role {status}"].told
        assert found[f"role {status}"].remedy == f"Run: recosync migrate --reader {status}"
        admin.execute(found["role api"].remedy)
    assert "role api" not in wrong(api="api")
    assert "there is no such role" in wrong(api="nobody_of_that_name")["role nobody_of_that_name"].told


def test_too_few_connections(made):
    with made.here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"ALTER ROLE {made.loader} CONNECTION LIMIT 20")
    with ExitStack() as others:
        # Of which the role's own limit takes nothing.
        for _ in range(5):
            others.enter_context(psycopg.connect(made.dsn("administrator")))
        assert "20 are free for the functions, which may hold 60" in wrong(connections=60)["connections"].told
        assert "connections" not in wrong(connections=20)


def test_connections_of_others_and_of_the_suites_own_logins(made):
    """The first take room, whoever may see of them what they are; the others are the functions'."""
    login = f"{made.name}_login"
    with made.here.cloud.postgres.superuser("postgres") as admin, ExitStack() as sessions:
        admin.execute(f"CREATE ROLE {login} LOGIN IN ROLE {made.loader}")
        sessions.callback(admin.execute, f"DROP ROLE {login}")
        before = free(made)
        held = [psycopg.connect(made.dsn(login)) for _ in range(4)]
        assert free(made) == before
        held += [psycopg.connect(made.dsn("api")) for _ in range(4)]
        assert free(made) == before - 4
        for session in held:
            session.close()


def free(made):
    """How many connections the doctor says are free."""
    (check,) = [c for c in examine(Asked("operator")) if c.about == "connections"]
    return int(check.told.split()[0])


def test_a_ledger_whose_tables_are_of_another_role(made):
    with made.here.cloud.postgres.superuser(made.name) as admin:
        admin.execute("ALTER TABLE recosync.publication OWNER TO administrator")
        found = wrong()["schema recosync"]
        assert "relations in it belong to another role" in found.told
        query = found.remedy.partition(": ")[2].removesuffix(" \\gexec")
        for (statement,) in admin.execute(query).fetchall():
            admin.execute(statement)
    assert "schema recosync" not in wrong()


def test_a_server_that_is_too_old_or_whose_clock_is_off(made, monkeypatch):
    late = type(
        "datetime", (datetime,), {"now": classmethod(lambda cls, zone: datetime.now(zone) + timedelta(minutes=2))}
    )
    monkeypatch.setattr(database, "datetime", late)
    monkeypatch.setattr(database, "OLDEST", 999_999)
    found = wrong()
    assert "s off this one's" in found["clock of PostgreSQL"].told
    assert found["PostgreSQL"].remedy == "Upgrade it to 15 or later"


def test_a_database_in_another_encoding(made, monkeypatch):
    name = f"{made.name}_ascii"
    with made.here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        monkeypatch.setenv("DATABASE_URL", made.here.cloud.postgres.dsn(name, made.loader))
        assert "encoded in SQL_ASCII" in wrong()["PostgreSQL"].told
    finally:
        made.here.cloud.postgres.drop(name)


@pytest.mark.parametrize(
    ("url", "about", "told"),
    [
        ("postgresql://loader:secret@/host@/database", "database URL", "a database name with an @"),
        ("postgresql://loader:secret@127.0.0.1:1/database", "PostgreSQL", "nothing listens"),
        ("mysql://loader:secret@host/database", "environment of the daily flow", "DATABASE_URL should be"),
    ],
)
def test_a_wrong_url(made, monkeypatch, url, about, told):
    monkeypatch.setenv("DATABASE_URL", url)
    ran = recosync("doctor", "--json")
    assert (ran.code, "secret" in ran.out) == (5, False)
    (found,) = [check for check in ran.json["checks"] if check["about"] == about]
    assert (found["verdict"], told in found["told"]) == ("wrong", True), found


def test_every_variable_that_is_wrong_is_named(made, monkeypatch):
    monkeypatch.delenv("EXPORT_BUCKET")
    monkeypatch.setenv("HOURLY_LATE_HOURS", "some")
    found = wrong()
    assert "EXPORT_BUCKET is not set" in found["environment of the daily flow"].told
    assert "HOURLY_LATE_HOURS should be" in found["environment of the hourly flow"].told


def test_buckets_and_data_sets_that_are_not_there(made, monkeypatch):
    monkeypatch.setenv("EXPORT_BUCKET", "no-such-bucket")
    monkeypatch.setenv("ENV_SHORT_NAME", "nowhere")
    found = wrong()
    assert "gs://no-such-bucket: does not exist" in found["bucket no-such-bucket"].told
    assert all("does not exist" in found[name].told for name in ("data set tmp_nowhere", "data set raw_nowhere"))


def test_a_data_set_that_no_job_of_the_bucket_reaches(made):
    client = made.here.bigquery_client
    from google.cloud.bigquery import Dataset

    client.delete_dataset("tmp_local", delete_contents=True)
    elsewhere = Dataset(f"{client.project}.tmp_local")
    elsewhere.location = "asia-east1"
    client.create_dataset(elsewhere)
    found = wrong()
    assert "no job of BigQuery reads or writes across" in found["data set tmp_local"].told
    assert "where its query runs, and tmp_local in ASIA-EAST1" in found["source of iris_france"].told


def test_a_source_and_a_table_that_are_not_as_the_catalog_says(made):
    client = made.here.bigquery_client
    client.query("CREATE OR REPLACE TABLE ml_reco_local.user_booked_item AS SELECT 1 AS user_id").result()
    client.query(f"CREATE TABLE raw_local.{LOG} (id STRING)").result()
    found = wrong()
    assert "item_id" in found["source of non_recommendable_items_data"].told
    assert "partitioned" in found[f"BigQuery table of {LOG}"].told


def test_what_is_not_emulated_is_unknown(made, tmp_path):
    file = tmp_path / "deployment.json"
    function = {"name": "f", "uri": "u", "service_account": "a", "archive": "f-1.zip", "timeout_seconds": 60}
    file.write_text(
        json.dumps(
            {
                "project": made.here.bigquery_client.project,
                "region": "europe-west1",
                "topic": "projects/p/topics/t",
                "connections": {"needed": 5, "free": 90},
                "functions": {"bq_export": function},
                "schedules": [],
            }
        )
    )
    ran = recosync("doctor", "--deployment", file)
    assert (ran.code, "unknown  deployment: functions, triggers and jobs have no emulator" in ran.out) == (3, True)


def left(here):
    """What a rehearsal has left in the bucket and in BigQuery."""
    objects = [blob.name for blob in here.storage_client.list_blobs(here.env["EXPORT_BUCKET"])]
    return objects, [table.table_id for table in here.bigquery_client.list_tables("tmp_local")]


def test_a_row_of_every_type_travels_and_leaves_nothing(made):
    ran = recosync("doctor", "--rehearse")
    assert ran.code == 0, ran.out
    assert f"{len(rehearsal.ROW)} types went from BigQuery" in ran.out
    assert "ok       an object that is there: is not written a second time" in ran.out
    assert left(made.here) == ([], [])


def test_every_type_that_a_source_may_have_is_rehearsed():
    of_scalars = {source for type_ in PG_TYPES for source in type_.sources if not source.startswith("ARRAY<F")}
    assert rehearsal.ROW.keys() >= of_scalars


def test_a_type_that_does_not_travel_is_told_and_leaves_nothing(made, monkeypatch):
    monkeypatch.setitem(rehearsal.ROW, "DATE", ("TIMESTAMP '2026-01-02 03:04:05+00'", "date"))
    ran = recosync("doctor", "--rehearse")
    assert (ran.code, "wrong    a row of every type" in ran.out, "date" in ran.out) == (5, True, True), ran.out
    assert left(made.here) == ([], [])


@pytest.fixture
def fresh():
    """Functions make their services once per process."""
    for make in (cached.daily, cached.hourly):
        make.cache_clear()
    yield
    for make in (cached.daily, cached.hourly):
        make.cache_clear()


def call(function, **body):
    client = create_app(function, str(ROOT / "functions" / function / "main.py"), "http").test_client()
    answer = client.post("/", json=body)
    checked("doctor" if body["doctor"] else function, answer.json)
    return answer


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("function", "bucket"), [("bq_export", "exports"), ("hourly_export", "hourly")])
def test_a_function_looks_as_its_own_account_and_does_nothing_else(made, monkeypatch, function, bucket):
    answer = call(function, doctor=True, **({"rehearse": True} if function == "bq_export" else {}))
    assert (answer.status_code, answer.json["well"]) == (200, True), answer.json
    assert any(check["about"] == "a row of every type" for check in answer.json["checks"]) == (function == "bq_export")
    assert any(bucket in check["about"] for check in answer.json["checks"])
    with psycopg.connect(made.dsn(made.loader)) as connection:
        assert connection.execute("SELECT count(*) FROM recosync.export_run").fetchone() == (0,)
    monkeypatch.delenv("EXPORT_BUCKET" if function == "bq_export" else "HOURLY_BUCKET")
    answer = call(function, doctor=True)
    assert (answer.status_code, answer.json["well"]) == (200, False)
    assert call(function, doctor=False).status_code in (400, 500)
    assert "doctor should be true or false" in call(function, doctor="yes").json["error"]


@pytest.mark.usefixtures("fresh")
def test_a_function_that_has_nothing_to_rehearse_says_so(made):
    assert "unknown field 'rehearse'" in call("hourly_export", doctor=True, rehearse=True).json["error"]
