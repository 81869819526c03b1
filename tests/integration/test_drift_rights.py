"""A catalog whose columns change: what becomes of the grants and the owner of a view, and of one that is no more."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from shared.upkeep import housekeeping
from tests.kit.drifting_tables import TABLE, VIEW, Drift
from tests.kit.sessions import one


@pytest.fixture
def drift(services, database, tmp_path):
    return Drift(services, database, tmp_path)


@pytest.mark.parametrize("drops", ["the table", "the view"])
def test_a_grant_of_a_column_that_goes_is_told_and_goes_with_it(drift, caplog, drops):
    columns = {"name": "varchar", "price": "decimal"}
    values = {"name": ["a", "b"], "price": [1, 2]}
    before = drift.of(columns)
    drift.publish(before, 1, **values)
    drift.refresh(before)
    drift.database.execute(f"REVOKE ALL ON {VIEW} FROM api; GRANT SELECT (n, price) ON {VIEW} TO api")
    if drops == "the table":
        after = drift.of({"name": "varchar"})
        drift.publish(after, 2, name=["c", "d"])
    else:
        after = drift.of(columns, view="n, name")
        drift.publish(after, 2, name=["c", "d"], price=[1, 2])
        drift.refresh(after)
    assert drift.rows(VIEW) == [(0, "c"), (1, "d")]
    may = [one(drift.database, f"SELECT has_column_privilege('api', '{VIEW}', '{c}', 'SELECT')") for c in ("n", "name")]
    assert may == [True, False]
    (told,) = [record for record in caplog.records if "a grant went with its column" in record.getMessage()]
    assert (told.levelname, told.fields["view"]) == ("WARNING", VIEW)
    assert (told.fields["grantee"], told.fields["column"], told.fields["privilege"]) == ("api", "price", "SELECT")


@pytest.fixture
def owner(here, drift):
    """A role that may not use the ledger, and that the loader may act for."""
    name = f"dba_{here.name}"
    with psycopg.connect(here.cloud.postgres.dsn(here.name, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'; GRANT {name} TO recosync".encode())
        admin.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}".encode())
        yield name
        admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def test_the_owner_of_a_view_can_still_refresh_it_after_its_columns_changed(here, drift, owner):
    before, after = drift.of({"value": "integer"}), drift.of({"value": "bigint"})
    drift.publish(before, 1, value=[1, 2])
    drift.refresh(before)
    drift.database.execute(f"GRANT SELECT ON {TABLE} TO {owner}; ALTER MATERIALIZED VIEW {VIEW} OWNER TO {owner}")
    drift.publish(after, 2, value=[3, 4])
    with psycopg.connect(here.cloud.postgres.dsn(here.name, owner), autocommit=True) as dba:
        dba.execute(f"REFRESH MATERIALIZED VIEW {VIEW}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dba.execute(f"SELECT * FROM {drift.parts()[0]}")
    assert drift.rows(VIEW) == [(0, 3), (1, 4)]
    drift.publish(after, 3, value=[5, 6])
    assert drift.refresh(after) == "refreshed"
    assert one(drift.database, "SELECT matviewowner FROM pg_matviews WHERE matviewname = %s", VIEW) == owner


def test_a_view_that_left_the_catalog_and_keeps_old_parts_is_named_until_it_is_dropped(drift, caplog):
    before, after = drift.of({"value": "integer"}), drift.of({"value": "bigint"})
    drift.publish(before, 1, value=[1, 2])
    drift.refresh(before)
    drift.publish(after, 2, value=[3, 4])
    without = replace(after, catalog=replace(after.catalog, views={}))
    for number in (3, 4, 5):
        drift.publish(without, number, value=[5, 6])
    later = datetime.now(UTC) + timedelta(days=4)

    def named(services):
        """How many parts are dropped, and the views that are told to keep some."""
        caplog.clear()
        dropped = housekeeping.run(services, later)
        told = [record for record in caplog.records if "keeps old parts from being dropped" in record.getMessage()]
        return dropped["parts"], [(record.fields["view"], record.getMessage().partition(": ")[2]) for record in told]

    elsewhere = {name: replace(view, schema="other") for name, view in after.catalog.views.items()}
    assert named(after) == (2, [])
    assert named(without) == (0, [(VIEW, f"recosync drop {VIEW}")])
    moved = replace(after, catalog=replace(after.catalog, views=elsewhere))
    assert named(moved) == (0, [(VIEW, "recosync migrate")])
    drift.database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    assert named(without) == (2, [])
