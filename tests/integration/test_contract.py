"""What docs/contract.md promises those who read tables and views, where no other test has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import IsolationLevel

from shared.daily import swap_table, swap_views
from shared.daily.refresh import refresh
from shared.errors import BusyError
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.target import views
from tests.kit import promises
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
BOTH = (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ)

#: The columns of each version of the contract: who takes one away, or gives it another type, makes a new version.
COLUMNS = {
    1: {
        "contract": "integer", "name": "text", "kind": "text", "schema_name": "text", "reads": "text[]",
        "state": "text", "snapshot": "text", "publication": "bigint",
        "source_changed_at": "timestamp with time zone", "fresh_at": "timestamp with time zone",
        "published_at": "timestamp with time zone", "refreshed_at": "timestamp with time zone", "age": "interval",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def first(services, database) -> None:
    """A first snapshot, in the table and its view."""
    migrate(services, reader="api")
    publish(services, 1, ["ann"])
    assert refresh(services, TABLE, 1) == "refreshed"


@pytest.fixture
def transaction(here) -> Callable[..., object]:
    """A transaction of the API's role, which has looked at something else."""

    @contextmanager
    def begun(level: IsolationLevel) -> Iterator[psycopg.Connection]:
        with psycopg.connect(here.cloud.postgres.dsn(here.name, "api")) as api:
            api.isolation_level = level
            api.execute("SELECT count(*) FROM pg_class")
            yield api

    return begun


def newest(database) -> int:
    return one(database, "SELECT max(publication) FROM recosync.publication")


def told(api: psycopg.Connection, name: str) -> object:
    return one(api, "SELECT snapshot FROM recosync.freshness WHERE name = %s", name)


@pytest.mark.parametrize("level", BOTH)
def test_the_first_read_of_a_transaction_finds_what_is_published_last(services, database, transaction, level):
    with transaction(level) as api:
        publish(services, 2, ["bob", "cleo"])
        assert refresh(services, TABLE, newest(database)) == "refreshed"
        assert users(api) == users(api, VIEW) == ["bob", "cleo"]


@pytest.mark.parametrize("level", BOTH)
def test_what_a_transaction_has_read_stays_as_it_is_to_its_end(services, database, transaction, level, monkeypatch):
    monkeypatch.setattr(swap_table, "READERS_PATIENCE", 1)
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 1)
    monkeypatch.setattr(views, "has_old_readers", lambda *_: False)  # it comes after the look
    manifest = upload(services, 2, ["bob"]).manifest()
    with transaction(level) as api:
        assert users(api) == ["ann"]
        with pytest.raises(BusyError, match="readers"):
            arrive(services, manifest)
        assert users(api) == ["ann"]
    assert arrive(services, manifest) == ["published"]
    with transaction(level) as api:
        assert users(api, VIEW) == ["ann"]
        with pytest.raises(BusyError, match="readers"):
            refresh(services, TABLE, newest(database))
        assert users(api, VIEW) == ["ann"]
    assert refresh(services, TABLE, newest(database)) == "refreshed"
    with transaction(level) as api:
        assert users(api, VIEW) == users(api) == ["bob"]


@pytest.mark.parametrize("level", BOTH)
def test_what_was_not_read_yet_may_become_newer_than_what_was(services, database, transaction, level):
    with transaction(level) as api:
        assert users(api, VIEW) == ["ann"]
        publish(services, 2, ["bob"])
        # Nor would a statement of its own find anything else: the view waits for its refresh.
        assert (users(api), users(api, VIEW), users(database, VIEW)) == (["bob"], ["ann"], ["ann"])
    assert refresh(services, TABLE, newest(database)) == "refreshed"
    with transaction(level) as api:
        assert users(api) == users(api, VIEW) == ["bob"]


def test_freshness_tells_of_the_very_rows_that_a_transaction_has_read(services, database, transaction, monkeypatch):
    monkeypatch.setattr(swap_views, "READERS_PATIENCE", 1)
    monkeypatch.setattr(views, "has_old_readers", lambda *_: False)
    with transaction(IsolationLevel.READ_COMMITTED) as api:
        assert users(api, VIEW) == ["ann"]
        publish(services, 2, ["bob"])
        with pytest.raises(BusyError, match="readers"):
            refresh(services, TABLE, newest(database))
        assert (told(api, VIEW), users(api, VIEW)) == (str(day(1)), ["ann"])
        assert (users(api), told(api, TABLE)) == (["bob"], str(day(2)))


def test_under_repeatable_read_freshness_is_as_old_as_the_transaction(services, database, transaction):
    with transaction(IsolationLevel.REPEATABLE_READ) as api:
        publish(services, 2, ["bob"])
        assert refresh(services, TABLE, newest(database)) == "refreshed"
        assert (users(api, VIEW), told(api, VIEW), told(api, TABLE)) == (["bob"], str(day(1)), str(day(1)))


def test_a_table_keeps_its_oid_and_a_view_does_not(services, database):
    def oids() -> tuple[object, ...]:
        return tuple(one(database, "SELECT to_regclass(%s)::oid", name) for name in (TABLE, VIEW))

    table, view = oids()
    publish(services, 2, ["bob"])
    assert refresh(services, TABLE, newest(database)) == "refreshed"
    assert oids()[0] == table
    assert oids()[1] != view


def test_a_rollback_is_a_publish_with_a_higher_number(services, database):
    publish(services, 2, ["bob"])
    before = newest(database)
    assert decisions.rollback(services, TABLE, None, "test").publication > before
    assert (
        one(database, "SELECT publication FROM recosync.freshness WHERE name = %s", TABLE) == newest(database) > before
    )
    assert users(database) == ["ann"]


def test_the_columns_and_words_of_freshness_are_those_of_its_contract(database):
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'recosync.freshness'::regclass AND attnum > 0 ORDER BY attnum
    """
    columns = dict(database.execute(query).fetchall())
    version = one(database, "SELECT max(contract) FROM recosync.freshness")
    assert version == max(COLUMNS)
    assert COLUMNS[version].items() <= columns.items()
    documented = {
        name: type_.replace("timestamptz", "timestamp with time zone") for name, type_, _ in promises.table("column")
    }
    assert documented == columns
    definition = one(database, "SELECT pg_get_viewdef('recosync.freshness'::regclass)")
    given = re.search(r"CASE(.*)END AS state", definition, re.DOTALL)[1]
    words = set(re.findall(r"(?:THEN|ELSE|ARRAY\[|,) ?'(\w+)'::text", given)) - {"BusyError", "IncompleteError"}
    assert words == {word for word, _ in promises.table("state")}
