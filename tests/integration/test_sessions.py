"""Sessions are what the code relies on, whatever a role, a database, the URL or the environment sets."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from urllib.parse import quote

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from local import context
from shared.daily import build
from shared.daily.refresh import refresh
from shared.db import locks
from shared.db.locks import Lock
from shared.db.postgres import connect, translated
from shared.errors import BusyError, ConfigurationError
from shared.operate.cli import commands
from shared.settings import DatabaseUrl
from shared.target import tables
from tests.kit.background import wait_for
from tests.kit.logs import named, open_log
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, day, publish, publish_rows, upload
from tests.kit.typed_tables import numbered, place
from tests.kit.uploads import Upload, arrive, rows

#: Whatever a database's owner may have set, and what it would do.
HOSTILE = {
    "client_encoding": "LATIN1",
    "timezone": "Pacific/Kiritimati",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "xmloption": "document",
    "xmlbinary": "hex",
    "row_security": "on",
    "gin_fuzzy_search_limit": "1",
    "client_min_messages": "error",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "synchronous_commit": "off",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "client_connection_check_interval": "0",
    "search_path": "hostile, pg_catalog",
    "jit": "on",
    "jit_above_cost": "0",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "work_mem": "64kB",
    "maintenance_work_mem": "1MB",
    "default_statistics_target": "1",
    "plan_cache_mode": "force_generic_plan",
    "max_parallel_workers_per_gather": "0",
    "tcp_keepalives_idle": "1",
}


@contextmanager
def set_for_the_role(here, settings):
    """Settings of the loader's role, in its database."""
    with here.cloud.postgres.superuser(here.name) as admin:
        for name, value in settings.items():
            # Of a list, the elements are quoted one by one.
            values = sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
            admin.execute(
                sql.SQL("ALTER ROLE recosync IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(here.name), sql.SQL(name), values if name in ("search_path", "datestyle")
                    else sql.Literal(value)
                )
            )  # fmt: skip
    yield


def newest(database):
    """The number of the newest publication."""
    return one(database, "SELECT max(publication) FROM recosync.publication")


def at_url(services, url):
    return replace(services, settings=replace(services.settings, database=DatabaseUrl(url)))


def test_both_flows_do_the_same_under_thirty_hostile_settings_of_the_role(here, services, database):
    offers = {"item_id": ["Zoë", "東京"], "user_id": ["ann", "bob"]}
    since_17 = {"transaction_timeout": "50ms"} if database.info.server_version >= 170_000 else {}
    with open_log(here, database) as log, set_for_the_role(here, HOSTILE | since_17):
        keys = log.add(10, 3, context_extra_data='{"name": "Zoë"}')
        publish_rows(services, 1, TABLE, offers)
        publish_rows(services, 2, TABLE, {**offers, "user_id": ["ann", "eve"]})
        assert refresh(services, TABLE, newest(database)) == "refreshed"
        assert log.done(11) == {10: "exported"}
        late = log.add(10)
        assert log.done(12, **named(10), delete_from_source=True)[10] == "late rows exported"
        stored = [row["context_extra_data"] for row in log.rows()]
    assert users(database) == ["ann", "eve"]
    assert log.bigquery() == {10: [*keys, *late]}
    assert stored[0] == '{"name": "Zoë"}'
    assert log.source() == []
    assert log.errors == []


def test_what_is_not_ascii_is_stored_as_it_is_whatever_the_client_is_said_to_write(services, database, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    publish(services, 1, ["Zoë", "東京"])
    assert users(database) == ["Zoë", "東京"]


@pytest.mark.parametrize("type_", ["json", "jsonb"])
def test_json_arrives_as_it_is_under_a_client_encoding_of_the_url(cloud, tmp_path, type_):
    with place(cloud, f"latin-{type_}", tmp_path) as typed:
        typed.services = at_url(typed.services, f"{typed.services.settings.database.read()}?client_encoding=LATIN1")
        typed.publish({"c": type_}, numbered(c=['{"name": "Zoë"}']))
        assert typed.stored("c") == [{"name": "Zoë"}]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_hour_leaves_a_database_of_another_encoding(here, database, encoding):
    name = f"{here.name}_{encoding.lower()}"
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER recosync TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    try:
        dsn = here.cloud.postgres.dsn(name)
        with (
            psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as other,
            open_log(here, other, create=False) as log,
        ):
            context.create(dsn)
            log.change(database=DatabaseUrl(dsn))
            keys = log.add(10, context_extra_data='{"name": "Zoë"}')
            assert log.done(11) == {10: "exported"}
            assert log.bigquery() == {10: keys}
            assert log.rows()[0]["context_extra_data"] == '{"name": "Zoë"}'
    finally:
        here.cloud.postgres.drop(name)


def test_a_function_of_somebody_else_is_never_called_in_the_loaders_name(here, services, database):
    with here.cloud.postgres.superuser(here.name) as admin:
        # As in every cluster that was first made with PostgreSQL 14 or before.
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as anybody:
        for function in ("octet_length", "length", "char_length"):
            anybody.execute(
                f"CREATE FUNCTION public.{function}(varchar) RETURNS integer LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE 'called as %', current_user; END $$"
            )
    publish(services, 1, ["ann"])
    assert users(database) == ["ann"]


@pytest.fixture
def elsewhere(here, services):
    """The services on a database whose PostGIS is in a schema that no path has; its owner's connection."""
    name = f"{here.name}_elsewhere"
    postgres_ = here.cloud.postgres
    with postgres_.superuser("postgres") as admin:
        database = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER recosync TEMPLATE template1").format(database))
    try:
        with postgres_.superuser(name) as admin:
            admin.execute('CREATE SCHEMA "Geo data"; CREATE EXTENSION postgis SCHEMA "Geo data"')
            admin.execute('GRANT USAGE ON SCHEMA "Geo data" TO PUBLIC')
        with psycopg.connect(postgres_.dsn(name), autocommit=True) as connection:
            yield at_url(services, postgres_.dsn(name)), connection, name
    finally:
        postgres_.drop(name)


def test_postgis_may_be_installed_in_any_schema(elsewhere):
    services, database, _ = elsewhere
    point = pa.array(["POINT(2.3 48.8)"])
    iris = {"id": ["1"], "irisCode": ["750010101"], "centroid": point, "shape": point}
    for number in (1, 2):
        publish_rows(services, number, "iris_france", iris)
        assert refresh(services, "iris_france", number) == "refreshed"
    assert one(database, """SELECT "Geo data".st_astext(centroid) FROM iris_france""") == "POINT(2.3 48.8)"
    assert one(database, """SELECT "Geo data".st_astext(centroid) FROM iris_france_mv""") == "POINT(2.3 48.8)"


def test_a_type_that_is_not_there_is_a_wrong_deployment_and_the_event_outlives_it(here, elsewhere):
    services, _, name = elsewhere
    with here.cloud.postgres.superuser(name) as admin:
        admin.execute("DROP EXTENSION postgis")
    manifest = Upload(services, "iris_france", day(1))
    manifest.part(rows("iris_france", services, {"id": ["1"]}))
    with pytest.raises(
        ConfigurationError, match=r"does not have the extension postgis, for centroid.*CREATE EXTENSION"
    ):
        arrive(services, manifest.manifest())
    with here.cloud.postgres.superuser(name) as admin:
        admin.execute('CREATE EXTENSION postgis SCHEMA "Geo data"')
    assert arrive(services, manifest.manifest()) == ["published"]


def test_what_the_url_asks_for_comes_first_and_what_the_code_relies_on_after(here, services, database):
    """The options of the URL choose a role and what templates find; a timeout of theirs is not ours."""
    owner = f"{here.name}_owner"
    options = f"-c%20role%3D{owner}%20-c%20search_path%3Dpublic,gis%20-c%20statement_timeout%3D1"
    url = f"{here.dsn}?options={options}&connect_timeout=3&keepalives_idle=7"
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f"CREATE ROLE {owner}; GRANT {owner} TO recosync")
        try:
            with connect(at_url(services, url).settings, "test") as connection:
                names = ("role", "recosync.search_path", "statement_timeout")
                shown = [one(connection, f"SHOW {name}") for name in names]
                asked = {keyword.keyword: keyword.val for keyword in connection.pgconn.info}
        finally:
            admin.execute(f"DROP ROLE {owner}")
    assert shown == [owner, "public,gis", "9min"]
    assert (asked[b"connect_timeout"], asked[b"keepalives_idle"]) == (b"3", b"7")


def test_a_template_finds_what_the_urls_path_leads_to(here, services, database):
    database.execute("CREATE SCHEMA mine; CREATE FUNCTION mine.twice(integer) RETURNS integer RETURN $1 * 2")
    publish(services, 1, ["ann"])
    with_path = at_url(services, f"{here.dsn}?options=-csearch_path%3Dmine")
    with build._builder(with_path, next(iter(services.catalog.views.values()))) as builder:
        assert one(builder.run.connection, "SELECT twice(2)") == 4


def test_a_holder_is_ended_after_its_own_life_and_not_after_the_waiters(here, services):
    """An hour of a holder that has long to live, though whoever waits has not; and the other way."""
    lock = Lock.hourly("past_offer_context")

    def living(seconds):
        return replace(services.settings, life=seconds)

    with connect(living(1_800), "hourly export") as healthy, connect(living(1), "recosync") as waiter:
        locks.lock_or_busy(healthy, lock, session=True)
        one(waiter, "SELECT pg_sleep(1.5)")
        with pytest.raises(BusyError):
            locks.lock_or_busy(waiter, lock, session=True)
        assert one(healthy, "SELECT 1") == 1
    with connect(living(1), "hourly export") as frozen, connect(living(1_800), "recosync") as waiter:
        locks.lock_or_busy(frozen, lock, session=True)
        one(waiter, "SELECT pg_sleep(1.5)")
        with pytest.raises(BusyError):
            locks.lock_or_busy(waiter, lock, session=True)
        wait_for(lambda: locks.try_lock(waiter, lock, session=True))
        with pytest.raises(psycopg.OperationalError):
            one(frozen, "SELECT 1")


def test_a_frozen_holder_of_another_account_is_ended_by_whoever_may(here, services):
    """As with IAM database authentication: each function logs in as itself, and becomes the loader."""
    lock = Lock.hourly("past_offer_context")
    accounts = [f"{here.name}_{name}@project.iam" for name in ("import", "export")]

    def living(account, seconds):
        url = f"{here.cloud.postgres.dsn(here.name, quote(account))}?options=-c%20role%3Drecosync"
        return replace(services.settings, database=DatabaseUrl(url), life=seconds)

    with here.cloud.postgres.superuser(here.name) as admin:
        for account in accounts:
            admin.execute(f'CREATE ROLE "{account}" LOGIN; GRANT recosync TO "{account}"')
        try:
            with (
                connect(living(accounts[0], 1), "import") as frozen,
                connect(living(accounts[1], 1_800), "export") as waiter,
            ):
                locks.lock_or_busy(frozen, lock, session=True)
                one(waiter, "SELECT pg_sleep(1.5)")
                with pytest.raises(ConfigurationError, match="GRANT pg_signal_backend"), translated("test"):
                    locks.lock_or_busy(waiter, lock, session=True)
                admin.execute("GRANT pg_signal_backend TO recosync")
                with pytest.raises(BusyError):
                    locks.lock_or_busy(waiter, lock, session=True)
                wait_for(lambda: locks.try_lock(waiter, lock, session=True))
        finally:
            admin.execute("REVOKE pg_signal_backend FROM recosync")
            for account in accounts:
                admin.execute(f'DROP ROLE "{account}"')


def test_a_role_without_rights_over_others_sessions_names_the_holder_as_far_as_it_may(here, services, database):
    lock = Lock.view("a_mv")
    holder = database.info.user
    with (
        psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as waiter,
        held(here.dsn, lock),
    ):
        assert one(waiter, "SELECT pg_has_role('pg_read_all_stats', 'MEMBER')") is False
        with pytest.raises(BusyError) as busy:
            locks.lock_or_busy(waiter, lock, session=True)
    told = str(busy.value)
    assert re.fullmatch(rf"recosync view a_mv: another worker is at it: pid \d+, role {holder}", told)
    assert busy.value.doing == ""


def test_readers_and_builds_that_hold_a_table_are_named_and_the_rest_counted(here, services, database):
    publish(services, 1, ["ann"])
    relation = tables.relation("public", TABLE)
    with ExitStack() as opened:
        readers = [opened.enter_context(psycopg.connect(here.dsn)) for _ in range(5)]
        for reader in readers:
            assert users(reader) == ["ann"]
        busy = locks.busy(database, "readers held it", TABLE, relations=[relation])
    one_of_them = r"pid \d+, role \w+, since [-\d]+ [:\d]+ UTC; "
    assert re.fullmatch(rf"{TABLE}: readers held it: ({one_of_them}){{3}}and 2 more", str(busy))
    assert busy.doing.count("is idle in transaction") == 3


def test_a_command_outlives_every_function(here, monkeypatch):
    """No platform ends a command: `materialize` may take longer than a function may."""
    monkeypatch.setenv("FUNCTION_TIMEOUT_SECONDS", "10")
    for services in (commands.daily_services(), commands.hourly_services()):
        with connect(services.settings, "materialize") as connection:
            assert one(connection, "SHOW application_name") == "recosync 86400s materialize"


def test_a_policy_that_hides_rows_of_a_log_is_named_and_no_hour_is_empty(here, database):
    with open_log(here, database) as log:
        log.add(10, 4)
        log.add(10, 3, user_id="mine")
        with here.cloud.postgres.superuser(here.name) as admin:
            admin.execute("ALTER TABLE past_offer_context ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        with pytest.raises(ConfigurationError, match=r"past_offer_context: row-level security hides .*BYPASSRLS"):
            log.ask(11)
        with here.cloud.postgres.superuser(here.name) as admin:
            admin.execute("CREATE POLICY only_mine ON past_offer_context USING (user_id = 'mine')")
        with pytest.raises(ConfigurationError, match="only_mine"):
            log.ask(11)
        assert log.state(10) is None
        with here.cloud.postgres.superuser(here.name) as admin:
            admin.execute("ALTER TABLE past_offer_context DISABLE ROW LEVEL SECURITY")
        assert log.done(11) == {10: "exported"}
        assert len(log.bigquery()[10]) == 7


def test_a_policy_that_hides_rows_of_a_table_is_named_before_anything_is_staged(here, services, database):
    publish(services, 1, ["ann"])
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        admin.execute(f"CREATE POLICY only_bob ON {TABLE} USING (user_id = 'bob')")
    manifest = upload(services, 2, ["ann", "bob"]).manifest()
    with pytest.raises(ConfigurationError, match=f"{TABLE}: row-level security hides .*only_bob.*BYPASSRLS"):
        arrive(services, manifest)
    with pytest.raises(ConfigurationError, match="row-level security"):
        refresh(services, TABLE, 1)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f"ALTER TABLE {TABLE} NO FORCE ROW LEVEL SECURITY")
    assert arrive(services, manifest) == ["published"]


def test_a_policy_that_keeps_readers_from_rows_of_a_table_is_theirs(here, services, database):
    """Policies do not bind the owner: views hold every row."""
    publish(services, 1, ["ann"])
    database.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    database.execute(f"CREATE POLICY only_bob ON {TABLE} TO api USING (user_id = 'bob')")
    publish(services, 2, ["ann", "bob"])
    assert refresh(services, TABLE, 2) == "refreshed"
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api")) as api:
        assert users(api) == ["bob"]


def test_constraints_that_a_role_switches_off_are_a_wrong_deployment(here, services):
    with here.cloud.postgres.superuser(here.name) as admin:
        admin.execute(f'ALTER ROLE recosync IN DATABASE "{here.name}" SET session_replication_role = replica')
    refused = pytest.raises(ConfigurationError, match="session_replication_role is replica")
    with refused, connect(services.settings, "test"):
        pass


def test_a_function_on_a_table_that_finds_no_other_is_a_wrong_deployment_and_no_wrong_value(services, database):
    """A constraint's function is called in the loader's session, and the value is not at fault."""
    publish(services, 1, ["ann"])
    database.execute("CREATE FUNCTION public.inner_one(varchar) RETURNS varchar IMMUTABLE LANGUAGE sql AS 'SELECT $1'")
    database.execute(
        "CREATE FUNCTION public.outer_one(varchar) RETURNS varchar IMMUTABLE LANGUAGE plpgsql AS"
        " 'BEGIN RETURN inner_one($1); END'"
    )
    database.execute(f"ALTER TABLE {TABLE} ADD CHECK (public.outer_one(user_id) <> 'x')")
    manifest = upload(services, 2, ["bob"]).manifest()
    with pytest.raises(ConfigurationError, match=r"inner_one.* does not exist.*ALTER FUNCTION … SET search_path"):
        arrive(services, manifest)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
    database.execute("ALTER FUNCTION public.outer_one SET search_path = public")
    assert arrive(services, manifest) == ["published"]
