"""What comes between the preparation of a swap and the moment when readers are locked out, and after it."""

import re

import pytest
from psycopg import sql

from shared.daily import live, swap_table, swap_views
from shared.daily.refresh import refresh
from shared.db.session import LOCK_TIMEOUT_MS, Session
from shared.errors import BusyError, TargetError
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, publish, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
LEFT = "SELECT count(*) FROM pg_class WHERE relkind = 'm' AND relname ~ '^[0-9]'"


@pytest.fixture(autouse=True)
def replaceable(services):
    """A live view, and a newer snapshot of its table."""
    publish(services, 1, ["ann"])
    assert refresh(services, TABLE, 1) == "refreshed"
    publish(services, 2, ["bob"])


@pytest.fixture
def prepared(database, monkeypatch):
    """Has statements executed when a swap is prepared, the first time."""
    prepare = live.prepare

    def then(statement):
        def prepare_and_execute(*given):
            found = prepare(*given)
            monkeypatch.setattr(live, "prepare", prepare)
            database.execute(statement)
            return found

        monkeypatch.setattr(live, "prepare", prepare_and_execute)

    return then


def test_a_grant_made_when_the_swap_is_prepared_survives_it(services, database, prepared):
    prepared(f"GRANT SELECT ON {VIEW} TO pg_monitor")
    assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert one(database, f"SELECT has_table_privilege('pg_monitor', '{VIEW}', 'SELECT')")


def test_what_comes_to_depend_on_a_view_when_the_swap_is_prepared_keeps_it(services, database, prepared):
    prepared(f"CREATE VIEW public.mine AS SELECT user_id FROM {VIEW}")
    with pytest.raises(TargetError, match=r"other objects depend on it: public\.mine"):
        refresh(services, TABLE, 2)
    assert users(database, "mine") == ["ann"]
    assert one(database, LEFT) == 0


def test_an_old_view_that_nobody_came_to_drop_is_dropped_by_the_next_refresh(services, database, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(swap_views, "_drop_old", lambda *_: None)
        assert refresh(services, TABLE, 2) == "refreshed"
    assert users(database, VIEW) == ["bob"]
    assert one(database, LEFT) == 1
    publish(services, 3, ["eve"])
    assert refresh(services, TABLE, 3) == "refreshed"
    assert one(database, LEFT) == 0
    assert one(database, "SELECT count(*) FROM recosync.building") == 0


def test_readers_never_queue_for_longer_than_the_limit(services, database, monkeypatch):
    """However often the tries fail: what is waited for a lock is one ms, or what readers may stall for."""
    said, execute = set[str](), Session.execute

    def heard(session, query, params=None, **how):
        text = query.as_string(session) if isinstance(query, sql.Composable) else str(query)
        said.update(re.findall(r"SET LOCAL lock_timeout = '(\w+)'", text))
        said.update(params if "set_config('lock_timeout'" in text else ())
        return execute(session, query, params, **how)

    monkeypatch.setattr(Session, "execute", heard)
    for swap in (swap_table, swap_views):
        monkeypatch.setattr(swap, "READERS_PATIENCE", 0.5)
    monkeypatch.setattr(swap_table, "TRIES_WITHOUT_QUEUE", 1)
    monkeypatch.setattr(swap_views, "SHORT_TRIES", 1)
    with database.transaction():
        database.execute(f"SELECT FROM {TABLE}, {VIEW}")
        with pytest.raises(BusyError):
            arrive(services, upload(services, 4, ["dan"]).manifest())
        with pytest.raises(BusyError):
            refresh(services, TABLE, 2)
    # The others are for locks that no reader queues behind.
    assert said - {"10s", "30s", "5s", "60s"} == {"1ms", f"{LOCK_TIMEOUT_MS}ms"}
