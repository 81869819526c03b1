"""Tables and views in several PostgreSQL schemas: found there by readers, by templates, and by every step."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local.postgres import deployment
from shared.errors import ConfigurationError, TargetError
from shared.operate import decisions, verify
from shared.operate.migrate import migrate
from shared.upkeep import housekeeping
from tests.kit.own_catalogs import Own
from tests.kit.sessions import one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

#: `users` and the view have schemas of their own, `items` has the catalog's.
CATALOG = """
schema = "public"
[tables.users]
source = "seed_local.users"
schema = "{users}"
indexes = ["name"]
[tables.users.columns]
n = "integer"
name = "{name}"
[tables.items]
source = "seed_local.items"
[tables.items.columns]
n = "integer"
item = "text"
[views.shown]
template = "shown.sql.jinja"
reads = ["users", "items"]
schema = "{shown}"
"""
VIEW = """
CREATE MATERIALIZED VIEW {{ view | identifier }} AS SELECT n, name, item FROM users INNER JOIN items USING (n);
CREATE UNIQUE INDEX "{{ ts_nodash }}_shown_n" ON {{ view | identifier }} (n);
"""


def text(*, users: str = "app", shown: str = "Shown", name: str = "text") -> str:
    return CATALOG.format(users=users, shown=shown, name=name)


@pytest.fixture
def own(services, database, tmp_path):
    """A database with the two schemas, and nothing published."""
    database.execute('CREATE SCHEMA app; CREATE SCHEMA "Shown"')
    return Own(services, database, tmp_path).of(text(), {"shown": VIEW})


@pytest.fixture
def filled(own):
    own.publish(1, "users", n=[1, 2], name=["ann", "bob"])
    own.publish(1, "items", n=[1, 2], item=["a", "b"])
    assert own.refresh("items") == "refreshed"
    return own


def test_tables_and_views_stand_in_their_schemas_through_publish_refresh_and_rollback(filled):
    assert filled.rows('"Shown".shown') == [(1, "ann", "a"), (2, "bob", "b")]
    filled.publish(2, "users", n=[1], name=["eve"])
    assert filled.refresh("users") == "refreshed"
    assert (filled.rows("app.users"), filled.rows('"Shown".shown')) == ([(1, "eve")], [(1, "eve", "a")])
    decisions.rollback(filled.services, "users", day(1), "test")
    assert filled.refresh("users") == "refreshed"
    assert filled.rows('"Shown".shown') == [(1, "ann", "a"), (2, "bob", "b")]
    homes = "SELECT relnamespace::regnamespace::text || '.' || relname FROM pg_class WHERE relname IN {} ORDER BY 1"
    found = filled.database.execute(homes.format("('users', 'items', 'shown')").encode()).fetchall()
    assert found == [('"Shown".shown',), ("app.users",), ("public.items",)]
    declared = "SELECT count(*) FROM pg_indexes WHERE tablename ~ '^part_' AND right(indexdef, 6) = '(name)'"
    assert one(filled.database, declared) == 2


def test_a_column_changes_in_one_schema_with_the_view_in_another(filled):
    changed = filled.of(text(name="varchar(9)"))
    (told,) = [line for line in migrate(changed.services) if line.startswith("users")]
    assert "it changes with the next publish" in told
    changed.publish(2, "users", n=[1], name=["eve"])
    assert changed.rows('"Shown".shown') == [(1, "eve", "a")]
    kind = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'name' AND attrelid = %s::regclass"
    )
    assert [one(filled.database, kind, of) for of in ("app.users", '"Shown".shown')] == ["character varying(9)"] * 2
    # What the view was built from lies in the ledger's schema, and goes with the next refresh.
    changed.publish(2, "items", n=[1], item=["z"])
    assert changed.refresh("items") == "refreshed"
    assert changed.rows('"Shown".shown') == [(1, "eve", "z")]
    assert housekeeping.run(changed.services, datetime.now(UTC) + timedelta(days=9)) is not None
    assert (
        one(filled.database, "SELECT count(*) FROM pg_views WHERE schemaname = 'recosync' AND viewname <> 'freshness'")
        == 0
    )


def test_a_recount_finds_them(here, filled):
    for name, values in {"users": "1 AS n, 'ann' AS name", "items": "1 AS n, 'a' AS item"}.items():
        query = f"CREATE TABLE seed_local.{name} AS SELECT {values} UNION ALL SELECT 2, 'b'"
        here.bigquery_client.query(query).result()
    verdicts = [verify.table(filled.services, table) for table in filled.services.catalog.tables.values()]
    assert [(v.postgresql_rows, v.source_rows, v.differences) for v in verdicts] == [(2, 2, [])] * 2
    filled.database.execute('DROP MATERIALIZED VIEW "Shown".shown')
    (users, _) = [verify.table(filled.services, table) for table in filled.services.catalog.tables.values()]
    assert "view shown does not exist" in str(users)


def test_a_schema_that_is_not_there_is_told_and_the_event_waits_for_it(services, database, tmp_path):
    own = Own(services, database, tmp_path).of(text(), {"shown": VIEW})
    upload = Upload(own.services, "users", day(1))
    upload.part(rows("users", own.services, {"n": [1], "name": ["ann"]}))
    manifest = upload.manifest()
    with pytest.raises(
        ConfigurationError, match=r"no schema app in PostgreSQL. .*sql/deploy/schema.sql with -v schema=app"
    ):
        arrive(own.services, manifest)
    database.execute("CREATE SCHEMA app")
    assert arrive(own.services, manifest) == ["published"]
    own.publish(1, "items", n=[1], item=["a"])
    with pytest.raises(ConfigurationError, match="no schema Shown in PostgreSQL"):
        own.refresh("users")
    database.execute('CREATE SCHEMA "Shown"')
    assert own.refresh("users") == "refreshed"
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0


def test_a_schema_in_which_the_loader_may_not_create_is_told(here, own):
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute('ALTER SCHEMA "Shown" OWNER TO administrator')
    own.publish(1, "users", n=[1], name=["ann"])
    own.publish(1, "items", n=[1], item=["a"])
    for right in ("USAGE", "CREATE"):
        with pytest.raises(
            ConfigurationError, match=r"permission denied for schema Shown\. GRANT USAGE, CREATE ON SCHEMA"
        ):
            own.refresh("users")
        with here.cloud.postgres.superuser(here.name) as admin:
            admin.execute(f'GRANT {right} ON SCHEMA "Shown" TO recosync')
    assert own.refresh("users") == "refreshed"


def test_the_loader_needs_no_right_to_public_for_what_stands_elsewhere(here, own):
    own = own.of(text(shown="app").replace('schema = "public"', 'schema = "app"'), {"shown": VIEW})
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC, recosync")
    for number, name in ((1, "ann"), (2, "bob")):
        own.publish(number, "users", n=[1], name=[name])
        own.publish(number, "items", n=[1], item=["a"])
        assert own.refresh("users") == "refreshed"
        assert own.rows("app.shown") == [(1, name, "a")]


def test_a_table_of_the_same_name_that_a_template_finds_first_is_told(own):
    own.database.execute('CREATE TABLE "Shown".users (n integer, name text)')
    own.publish(1, "users", n=[1], name=["ann"])
    own.publish(1, "items", n=[1], item=["a"])
    with pytest.raises(TargetError, match=r"finds Shown\.users before app\.users.* Rename Shown\.users, or give"):
        own.refresh("users")
    assert one(own.database, "SELECT count(*) FROM pg_matviews") == 0
    own.database.execute('ALTER TABLE "Shown".users RENAME TO others')
    own.publish(2, "users", n=[1], name=["eve"])
    assert own.refresh("users") == "refreshed"


def test_a_view_may_read_a_table_of_the_same_name_elsewhere_beside_its_own(own):
    own.database.execute("CREATE TABLE public.users AS SELECT 7 AS n, 'old' AS name")
    both = VIEW.replace("FROM users", "FROM (TABLE users UNION ALL TABLE public.users) AS users")
    both = own.of(text(), {"shown": both})
    both.publish(1, "users", n=[1], name=["ann"])
    both.publish(1, "items", n=[1, 7], item=["a", "g"])
    assert both.refresh("users") == "refreshed"
    assert both.rows('"Shown".shown') == [(1, "ann", "a"), (7, "old", "g")]


def test_a_table_that_the_catalog_moves_is_moved_by_the_statement_that_is_told(filled):
    filled.database.execute("GRANT SELECT ON app.users TO api; CREATE VIEW public.theirs AS SELECT name FROM app.users")
    moved = filled.of(text(users="public"))
    upload = Upload(moved.services, "users", day(2))
    upload.part(rows("users", moved.services, {"n": [1], "name": ["eve"]}))
    manifest = upload.manifest()
    statement = 'ALTER TABLE "app"."users" SET SCHEMA "public"'
    with pytest.raises(ConfigurationError, match=re.escape("public.users: is in another place")) as refused:
        arrive(moved.services, manifest)
    assert statement in str(refused.value)
    assert any(line.startswith("users: it is not in") and line.endswith(statement) for line in migrate(moved.services))
    assert one(filled.database, "SELECT to_regclass('public.users')") is None
    assert filled.rows("app.users") == [(1, "ann"), (2, "bob")]
    filled.database.execute(statement.encode())
    # Functions that still have the catalog of before leave it alone, too.
    with pytest.raises(ConfigurationError, match=re.escape('ALTER TABLE "public"."users" SET SCHEMA "app"')):
        arrive(filled.services, manifest)
    assert arrive(moved.services, manifest) == ["published"]
    assert moved.refresh("users") == "refreshed"
    assert (moved.rows("public.users"), moved.rows('"Shown".shown')) == ([(1, "eve")], [(1, "eve", "a")])
    assert filled.database.execute("SELECT name FROM public.theirs").fetchall() == [("eve",)]
    assert one(filled.database, "SELECT has_table_privilege('api', 'public.users', 'SELECT')")
    assert one(filled.database, "SELECT count(*) FROM recosync.failure") == 0
    assert migrate(moved.services) == []


def test_a_table_that_somebody_renamed_is_not_made_anew(filled):
    filled.database.execute("ALTER TABLE app.users RENAME TO people")
    upload = Upload(filled.services, "users", day(2))
    upload.part(rows("users", filled.services, {"n": [1], "name": ["eve"]}))
    with pytest.raises(ConfigurationError, match=re.escape('ALTER TABLE "app"."people" RENAME TO "users"')):
        arrive(filled.services, upload.manifest())
    assert one(filled.database, "SELECT to_regclass('app.users')") is None


def test_a_view_that_the_catalog_moves_is_moved_by_the_statement_that_is_told(filled):
    filled.database.execute('GRANT SELECT ON "Shown".shown TO api')
    moved = filled.of(text(shown="app"))
    moved.publish(2, "users", n=[1], name=["eve"])
    statement = 'ALTER MATERIALIZED VIEW "Shown"."shown" SET SCHEMA "app"'
    with pytest.raises(ConfigurationError, match=re.escape(statement)):
        moved.refresh("users")
    assert any(line.startswith("shown: it is not in") and line.endswith(statement) for line in migrate(moved.services))
    filled.database.execute(statement.encode())
    assert moved.refresh("users") == "refreshed"
    assert moved.rows("app.shown") == [(1, "eve", "a")]
    assert one(filled.database, "SELECT has_table_privilege('api', 'app.shown', 'SELECT')")
    assert one(filled.database, "SELECT count(*) FROM pg_matviews") == 1


def test_what_a_killed_build_left_in_another_schema_is_dropped(filled):
    left = "20260101T000000000000_shown"
    filled.database.execute(f'CREATE MATERIALIZED VIEW "Shown"."{left}" AS SELECT 1 AS n'.encode())
    filled.database.execute("INSERT INTO recosync.building VALUES (%s, 'shown')", [left])
    without = filled.of(text().partition("[views")[0])
    dropped = housekeeping.run(without.services, datetime.now(UTC))
    assert dropped is not None
    assert dropped["builds"] == 1
    assert one(filled.database, "SELECT count(*) FROM pg_matviews WHERE matviewname = %s", left) == 0


def test_a_schema_of_the_deployments_sql_serves_the_loader_and_the_api(here, services, database, tmp_path):
    statements = deployment(here.name, file="schema", schema="app")
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "administrator"), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(statement.encode())
    own = Own(services, database, tmp_path).of(text(shown="app"), {"shown": VIEW})
    own.publish(1, "users", n=[1], name=["ann"])
    own.publish(1, "items", n=[1], item=["a"])
    assert own.refresh("users") == "refreshed"
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as api:
        assert [one(api, f"SELECT name FROM app.{name}") for name in ("users", "shown")] == ["ann", "ann"]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute("CREATE TABLE app.mine ()")
