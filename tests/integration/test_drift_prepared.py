"""A catalog whose columns change: what becomes of statements that a client prepared before, and how it is told."""

import psycopg
import pytest

from tests.kit.drifting_tables import TABLE, VIEW, Drift

#: "cached plan must not change result type".
REFUSED = "0A000"

EXPLICIT, OTHER = f"SELECT n, value FROM {VIEW} ORDER BY n", f"SELECT n FROM {VIEW} ORDER BY n"
ALL_OF_VIEW, ALL_OF_TABLE = f"SELECT * FROM {VIEW} ORDER BY n", f"SELECT * FROM {TABLE} ORDER BY n"
QUERIES = EXPLICIT, OTHER, ALL_OF_VIEW, ALL_OF_TABLE


@pytest.fixture
def drift(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of({"value": "integer"})
    drift.publish(before, 1, value=[1, 2])
    drift.refresh(before)
    return drift


@pytest.fixture
def api(here):
    """A reader as its driver makes it: it prepares a statement when it has executed it five times."""
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as api:
        assert all(outcomes(api, query) == {2} for query in QUERIES)
        prepared = api.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert prepared == (len(QUERIES),)
        yield api


def outcomes(api, query):
    """What eight executions came to: the number of rows, or how the server refused."""
    found = set()
    for _ in range(8):
        try:
            found.add(len(api.execute(query).fetchall()))
        except psycopg.Error as e:
            found.add(e.sqlstate)
    return found


def test_after_a_retype_what_was_prepared_on_the_column_fails_until_the_connection_is_a_new_one(here, drift, api):
    drift.publish(drift.of({"value": "bigint"}), 2, value=[3, 2**40])
    assert [outcomes(api, query) for query in QUERIES] == [{REFUSED}, {2}, {REFUSED}, {REFUSED}]
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api"), autocommit=True) as new:
        assert [outcomes(new, query) for query in QUERIES] == [{2}] * 4
    api.execute("DEALLOCATE ALL")
    assert [outcomes(api, query) for query in QUERIES] == [{2}] * 4


def test_in_a_transaction_it_fails_once_because_the_driver_prepares_anew_after_its_rollback(here, drift):
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "api")) as api:
        assert outcomes(api, EXPLICIT) == {2}
        api.rollback()
        assert outcomes(api, EXPLICIT) == {2}
        api.commit()
        drift.publish(drift.of({"value": "bigint"}), 2, value=[3, 2**40])
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            api.execute(EXPLICIT)
        api.rollback()
        assert outcomes(api, EXPLICIT) == {2}


def test_an_added_column_and_ordinary_refreshes_leave_what_names_its_columns_alone(drift, api):
    after = drift.of({"value": "integer", "price": "decimal"})
    drift.publish(after, 2, value=[3, 4], price=[1, 2])
    assert [outcomes(api, query) for query in QUERIES] == [{2}, {2}, {2}, {REFUSED}]
    assert drift.refresh(after) == "refreshed"
    assert [outcomes(api, query) for query in QUERIES] == [{2}, {2}, {REFUSED}, {REFUSED}]
    drift.publish(after, 3, value=[5, 6], price=[1, 2])
    assert drift.refresh(after) == "refreshed"
    assert api.execute(EXPLICIT).fetchall() == [(0, 5), (1, 6)]
    assert [outcomes(api, query) for query in QUERIES] == [{2}, {2}, {REFUSED}, {REFUSED}]


def warnings(caplog):
    found = [record for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    return [(record.getMessage(), record.fields.get("view")) for record in found]


def test_a_change_of_columns_says_that_connections_are_to_be_recycled_and_nothing_else_does(drift, caplog):
    def told():
        found = warnings(caplog)
        assert all("recycle the API's connections" in message for message, _ in found)
        return [view for _, view in found]

    same = drift.of({"value": "integer"})
    drift.publish(same, 2, value=[1, 2])
    drift.refresh(same)
    assert told() == []
    added = drift.of({"value": "integer", "price": "decimal"})
    drift.publish(added, 3, value=[1, 2], price=[1, 2])
    assert told() == [None]
    drift.refresh(added)
    assert told() == [VIEW]
    drift.publish(drift.of({"value": "bigint"}), 4, value=[1, 2])
    assert told() == [VIEW, None]
