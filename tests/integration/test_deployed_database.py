"""A database made by the deployment's own SQL, by an administrator who is no superuser, serves all its roles."""

from __future__ import annotations

import re

import psycopg
import pytest

from local import ROOT, context
from shared.daily.refresh import refresh
from shared.errors import ConfigurationError
from shared.operate import migrate
from shared.settings import DatabaseUrl
from tests.kit import deployed_database
from tests.kit.deployed_database import Database, statements
from tests.kit.logs import named, open_log
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, publish

VIEW = "non_recommendable_items_mv"


@pytest.fixture
def made(here, services):
    """A database before the deployment's SQL."""
    with deployed_database.made(here, services) as database:
        yield database


def page(made: Database, start: str) -> str:
    """The statement of docs/deploy.md that begins so."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    (found,) = re.findall(rf"^({re.escape(start)}[^;]*);", text, re.MULTILINE)
    return found.replace("loader", made.loader).replace("former", "administrator")


def open_page(made: Database) -> None:
    """What follows the SQL: the ledger, and who may read it."""
    migrate.migrate(made.services, reader=f"{made.name}_status")


def newest(made: Database) -> object:
    with psycopg.connect(made.dsn(made.loader)) as connection:
        return one(connection, "SELECT max(publication) FROM recosync.publication")


def run_daily(made: Database, day: int = 1) -> None:
    publish(made.services, day, ["ann"])
    assert refresh(made.services, TABLE, newest(made)) == "refreshed"


def run_hourly(made: Database, *left_out: str) -> object:
    """The answer of a call that exports an hour and deletes its rows."""
    made.execute("administrator", [context.TABLE])
    for statement in ("GRANT SELECT ON past_offer_context", "GRANT DELETE ON past_offer_context"):
        if statement not in left_out:
            made.execute("administrator", [page(made, statement)])
    with (
        psycopg.connect(made.dsn("administrator"), autocommit=True) as owner,
        open_log(made.here, owner, create=False) as log,
    ):
        log.change(database=DatabaseUrl(made.dsn(made.loader)))
        log.add(10, 2)
        return log.ask(11, **named(10), delete_from_source=True)[0]


def test_tables_views_and_hours_come_and_go_and_everyone_reads_their_own(made):
    made.execute("administrator", statements(made))
    run_daily(made)
    with psycopg.connect(made.dsn("api"), autocommit=True) as api:
        assert (users(api), users(api, VIEW)) == (["ann"], ["ann"])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute("CREATE TABLE public.mine ()")
    open_page(made)
    with psycopg.connect(made.dsn(f"{made.name}_status"), autocommit=True) as status:
        assert one(status, "SELECT count(*) FROM recosync.publication") == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            users(status)
    answer = run_hourly(made)
    assert [(hour["state"], hour["deleted"]) for hour in answer["hours"]] == [("deleted", 2)]


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("GRANT CREATE ON DATABASE", r"permission denied for database.*GRANT CREATE ON DATABASE"),
        ("GRANT USAGE, CREATE ON SCHEMA", r"permission denied for schema public.*GRANT USAGE, CREATE ON SCHEMA"),
    ],
)
def test_a_right_of_the_loader_that_was_left_out_is_named(made, left_out, told):
    made.execute("administrator", [one for one in statements(made) if not one.startswith(left_out)])
    with pytest.raises(ConfigurationError, match=told):
        run_daily(made)
    made.execute("administrator", [one for one in statements(made) if one.startswith(left_out)])
    run_daily(made, 2)


@pytest.mark.parametrize("right", ["SELECT", "DELETE"])
def test_a_right_to_a_log_that_was_left_out_is_named(made, right):
    made.execute("administrator", statements(made))
    answer = run_hourly(made, f"GRANT {right} ON past_offer_context")
    ((error),) = {failure["error"] for failure in answer["failed"]}
    assert re.search(f"permission denied for table past_offer_context.*{right}", error)


def test_without_its_defaults_the_api_reads_nothing(made):
    made.execute("administrator", [one for one in statements(made) if not one.startswith("ALTER DEFAULT")])
    run_daily(made)
    with psycopg.connect(made.dsn("api")) as api, pytest.raises(psycopg.errors.InsufficientPrivilege, match=TABLE):
        users(api)


def test_an_administrator_who_is_not_the_loaders_member_is_told(made):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        made.execute("administrator", [one for one in statements(made) if not one.endswith("TO CURRENT_USER")])


def test_a_refresh_goes_without_seeing_others_transactions(made):
    made.execute("administrator", [one for one in statements(made) if "pg_read_all_stats" not in one])
    run_daily(made)


def test_tables_and_views_of_before_are_given_to_the_loader_and_the_views_over_them_go_on(made):
    made.execute("administrator", statements(made))
    made.execute("administrator", [
        "CREATE TABLE enriched_user (user_id varchar)",
        "INSERT INTO enriched_user VALUES ('ann')",
        "CREATE MATERIALIZED VIEW enriched_user_mv AS SELECT * FROM enriched_user",
        "GRANT SELECT ON enriched_user TO api",
        "CREATE VIEW theirs AS SELECT user_id FROM enriched_user",
        page(made, "ALTER TABLE enriched_user"),
        page(made, "ALTER MATERIALIZED VIEW"),
        page(made, "GRANT SELECT ON enriched_user"),
    ])  # fmt: skip
    for role in ("administrator", "api"):
        with psycopg.connect(made.dsn(role)) as reader:
            assert users(reader, "enriched_user") == ["ann"]
    with psycopg.connect(made.dsn("administrator")) as former:
        assert users(former, "theirs") == ["ann"]
    with psycopg.connect(made.dsn(made.loader)) as loader:
        loader.execute("DROP MATERIALIZED VIEW enriched_user_mv; ALTER TABLE enriched_user ADD mine integer")
