"""A catalog whose columns change: the publish that follows changes the table's, and a rollback changes them back."""

from dataclasses import replace

import psycopg
import pytest

from shared.catalog import PgType
from shared.daily.refresh import refresh
from shared.operate import decisions
from tests.kit.background import wait_for
from tests.kit.drifting_tables import TABLE, VIEW, Drift, reading
from tests.kit.sessions import one
from tests.kit.snapshots import day, publish_rows

OFFERS = "recommendable_offers_raw"


@pytest.fixture
def drift(services, database, tmp_path):
    return Drift(services, database, tmp_path)


@pytest.fixture
def api(here):
    return here.cloud.postgres.dsn(here.name, "api")


def rollback(services, number):
    return decisions.rollback(services, TABLE, day(number), "test")


# An added column


def test_an_added_column_comes_with_the_next_publish_and_the_view_gets_it_by_its_refresh(drift, api):
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["a", "b"])
    drift.refresh(before)
    after = drift.of({"name": "varchar", "price": "decimal"})
    with reading(api, TABLE, VIEW) as seen:
        wait_for(lambda: len(seen) > 50)
        drift.publish(after, 2, name=["a", "b"], price=[1, 2])
        assert drift.refresh(after) == "refreshed"
        so_far = len(seen)
        wait_for(lambda: len(seen) > so_far + 50)
    assert set(seen) == {(TABLE, 2), (VIEW, 2)}
    assert drift.rows() == drift.rows(VIEW) == [(0, "a", 1), (1, "b", 2)]


def test_a_snapshot_from_before_a_column_was_added_can_be_brought_back_and_left_again(drift, api):
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["a", "b"])
    after = drift.of({"name": "varchar", "price": "decimal"})
    drift.publish(after, 2, name=["c", "d"], price=[1, 2])
    drift.refresh(after)
    with reading(api, TABLE, VIEW) as seen:
        rollback(after, 1)
        assert drift.rows() == [(0, "a", None), (1, "b", None)]
        drift.refresh(after)
        assert drift.rows(VIEW) == drift.rows()
        rollback(after, 2)
    assert set(seen) <= {(TABLE, 2), (VIEW, 2)}
    assert drift.rows() == [(0, "c", 1), (1, "d", 2)]


def test_the_parts_that_are_kept_get_an_added_column_with_the_publish(drift):
    drift.publish(drift.of({"name": "varchar"}), 1, name=["a", "b"])
    drift.publish(drift.of({"name": "varchar", "price": "decimal"}), 2, name=["a", "b"], price=[1, 2])
    assert [drift.types(part) for part in drift.parts()] == [drift.types()] * 4


def test_a_column_added_by_a_catalog_that_was_taken_back_does_not_stop_a_rollback(drift):
    first, second = {"name": "varchar"}, {"name": "varchar", "price": "decimal"}
    for number, columns in enumerate([first, second, first], 1):
        drift.publish(drift.of(columns), number, name=["a", "b"])
    services = drift.of(first)
    for number in (1, 2, 3, 1):
        rollback(services, number)
        assert {row[:2] for row in drift.rows()} == {(0, "a"), (1, "b")}


def test_a_table_that_lacks_a_column_and_has_rows_of_its_own_is_adopted(drift):
    drift.database.execute(f"CREATE TABLE {TABLE} (n integer)")
    drift.database.execute(f"INSERT INTO {TABLE} VALUES (7)")
    services = drift.of({"name": "varchar"})
    drift.publish(services, 1, name=["a", "b"])
    assert drift.rows() == [(0, "a"), (1, "b")]
    decisions.rollback(services, TABLE, None, "test")
    assert drift.rows() == [(7, None)]


# A dropped or retyped column


def test_a_dropped_column_goes_from_the_table_and_the_view_at_once(drift, api):
    before = drift.of({"name": "varchar", "price": "decimal"})
    drift.publish(before, 1, name=["a", "b"], price=[1, 2])
    drift.refresh(before)
    after = drift.of({"name": "varchar"})
    with reading(api, TABLE, VIEW) as seen:
        wait_for(lambda: len(seen) > 50)
        drift.publish(after, 2, name=["c", "d"])
    assert set(seen) == {(TABLE, 2), (VIEW, 2)}
    assert drift.rows() == drift.rows(VIEW) == [(0, "c"), (1, "d")]
    assert drift.refresh(after) == "fresh"


def test_a_rollback_brings_a_dropped_column_back_with_its_values(drift):
    before = drift.of({"name": "varchar", "price": "decimal"})
    drift.publish(before, 1, name=["a", "b"], price=[1, 2])
    after = drift.of({"name": "varchar"})
    drift.publish(after, 2, name=["c", "d"])
    drift.refresh(after)
    rollback(after, 1)
    assert drift.rows() == [(0, "a", 1), (1, "b", 2)]
    decisions.unpin(after, TABLE, "test")
    drift.publish(after, 3, name=["e", "f"])
    assert drift.rows() == [(0, "e"), (1, "f")]


RETYPED = {
    "integer to bigint": ("integer", [1, None], "bigint", [2**40, None]),
    "varchar to integer": ("varchar", ["x", None], "integer", [5, 6]),
    "integer to varchar": ("integer", [1, 2], "varchar", ["x", None]),
    "json to jsonb": ("json", ["[1]", "[2]"], "jsonb", ['{"a": 1}', None]),
}


@pytest.mark.parametrize(("old", "old_values", "new", "new_values"), RETYPED.values(), ids=RETYPED)
def test_a_retyped_column_changes_in_the_table_and_the_view_at_once_and_back(
    drift, api, old, old_values, new, new_values
):
    # No index on json: it has no order.
    before, after = (drift.of({"value": type_}, view="n, value") for type_ in (old, new))
    drift.publish(before, 1, value=old_values)
    drift.refresh(before)
    first = (drift.types(), drift.rows(), drift.types(VIEW))
    with reading(api, TABLE, VIEW) as seen:
        wait_for(lambda: len(seen) > 50)
        drift.publish(after, 2, value=new_values)
        second = (drift.types(), drift.rows(), drift.types(VIEW))
        assert (drift.rows(VIEW), drift.types(VIEW)) == (drift.rows(), drift.types())
        rollback(after, 1)
        assert (drift.types(), drift.rows(), drift.types(VIEW)) == first
        assert drift.rows(VIEW) == drift.rows()
        rollback(after, 2)
    assert set(seen) == {(TABLE, 2), (VIEW, 2)}
    assert (drift.types(), drift.rows(), drift.types(VIEW)) == second
    assert drift.types()["value"] == one(drift.database, "SELECT %s::regtype::text", new)


def test_a_view_that_was_put_in_place_with_the_columns_is_like_any_other(drift, api):
    before, after = drift.of({"value": "integer"}), drift.of({"value": "bigint"})
    drift.publish(before, 1, value=[1, 2])
    drift.refresh(before)
    database = drift.database
    database.execute(f"GRANT SELECT (n), UPDATE ON {VIEW} TO api WITH GRANT OPTION")
    kept = (
        "SELECT (SELECT array_agg(acl::text ORDER BY acl::text) FROM unnest(relacl) AS acl)::text"
        " || array_agg(attacl::text)::text"
        " FROM pg_class JOIN pg_attribute ON oid = attrelid"
        f" WHERE oid = '{VIEW}'::regclass AND attnum > 0 GROUP BY relacl::text, relacl"
    )
    grants, indexes = one(database, kept), drift.indexes()
    drift.publish(after, 2, value=[3, 4])
    assert (one(database, kept), drift.indexes()) == (grants, indexes)
    assert drift.refresh(after) == "fresh"
    database.execute(f"REFRESH MATERIALIZED VIEW {VIEW}")
    assert drift.rows(VIEW) == drift.rows()
    drift.publish(after, 3, value=[5, 6])
    assert drift.refresh(after) == "refreshed"
    assert drift.rows(VIEW) == drift.rows() == [(0, 5), (1, 6)]
    left = "SELECT count(*) FROM pg_views WHERE schemaname = 'recosync' AND viewname <> 'freshness'"
    assert (one(database, left), one(database, "SELECT count(*) FROM recosync.building")) == (0, 0)
    with psycopg.connect(api) as reader:
        assert one(reader, f"SELECT count(*) FROM {VIEW}") == 2


def test_not_null_and_checks_of_the_columns_that_stay_hold_for_the_new_parts(drift):
    before, after = drift.of({"value": "integer"}), drift.of({"value": "bigint"})
    drift.publish(before, 1, value=[1, 2])
    drift.database.execute(f"ALTER TABLE {TABLE} ALTER n SET NOT NULL, ADD CHECK (n >= 0), ADD CHECK (value > 0)")
    drift.publish(after, 2, value=[3, 4])
    drift.publish(after, 3, value=[5, 2**40])
    assert drift.rows() == [(0, 5), (1, 2**40)]


def test_all_views_of_a_table_change_with_it(services, database):
    table = services.catalog.tables[OFFERS]
    keys = {"item_id": ["i", "j"], "offer_id": ["o", "p"], "unique_id": ["u", "v"]}
    values = {**keys, "venue_id": [1, 2], "is_geolocated": [True, True], "is_sensitive": [False, False]}
    publish_rows(services, 1, OFFERS, values)
    refresh(services, OFFERS, 1)
    columns = tuple(replace(c, type=PgType.BIGINT) if c.name == "venue_id" else c for c in table.columns)
    retyped = {**services.catalog.tables, OFFERS: replace(table, columns=columns)}
    after = replace(services, catalog=replace(services.catalog, tables=retyped))
    publish_rows(after, 2, OFFERS, {**values, "offer_id": ["q", "r"], "venue_id": [2**40, None]})
    for relation in (OFFERS, "recommendable_offers_raw_mv", "item_ids_mv"):
        found = database.execute(f"SELECT offer_id FROM {relation} ORDER BY 1").fetchall()
        assert found == [("q",), ("r",)]
    assert one(database, "SELECT max(venue_id) FROM recommendable_offers_raw_mv") == 2**40
    assert refresh(after, OFFERS, 2) == "fresh"
