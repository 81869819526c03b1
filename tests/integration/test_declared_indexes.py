"""Indexes that the catalog declares: readers of the table use them after each publish, whatever part has their row."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from shared.catalog import Index
from shared.errors import ConfigurationError, TargetError
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.services import Services
from tests.kit.drifting_tables import TABLE as DRIFTING
from tests.kit.drifting_tables import Drift
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive


def declaring(services: Services, *definitions: str) -> Services:
    """The services as deployed with these indexes of their first table."""
    name, table = next((name, table) for name, table in services.catalog.tables.items() if name in (TABLE, DRIFTING))
    table = replace(table, indexes=tuple(map(Index, definitions)))
    return replace(services, catalog=replace(services.catalog, tables={**services.catalog.tables, name: table}))


@pytest.fixture
def drift(services, database, tmp_path):
    return Drift(services, database, tmp_path)


#: How many indexes the parts have that readers see.
INDEXES = "SELECT count(*) FROM pg_index INNER JOIN pg_inherits ON indrelid = inhrelid"


def plan(database, where):
    """How the server reads the table where it is not let read all of it."""
    database.execute("SET enable_seqscan = off")
    rows = database.execute(f"EXPLAIN SELECT * FROM {TABLE} WHERE {where}".encode()).fetchall()
    database.execute("RESET enable_seqscan")
    return "\n".join(line for (line,) in rows)


def children_by_index(database, where="user_id = 'ann'"):
    return len(re.findall(r"Index (Only )?Scan", plan(database, where)))


def test_each_part_has_a_declared_index_after_every_publish_and_rollback(services, database):
    declared = declaring(services, '("user_id")')
    publish(declared, 1, ["ann"], ["bob"])
    assert children_by_index(database) == 2
    publish(declared, 2, ["cleo"])
    assert children_by_index(database) == 1
    decisions.rollback(declared, TABLE, day(1), "an operator")
    assert children_by_index(database) == 2
    assert users(database) == ["ann", "bob"]


def test_an_index_declared_later_comes_to_the_parts_that_are_kept_with_their_rollback(services, database):
    publish(services, 1, ["ann"])
    publish(services, 2, ["bob"])
    declared = declaring(services, "(user_id DESC)", "USING hash (user_id)")
    decisions.rollback(declared, TABLE, day(1), "an operator")
    assert one(database, INDEXES) == 2
    assert children_by_index(database) == 1


def test_an_index_that_leaves_the_catalog_is_on_no_later_part_and_others_keep_theirs(services, database):
    publish(declaring(services, "(user_id)"), 1, ["ann"])
    database.execute(f"CREATE INDEX ix_income_declared ON {TABLE} (user_id)")
    publish(services, 2, ["bob"])
    assert one(database, INDEXES) == 1
    assert one(database, f"SELECT count(*) FROM pg_index WHERE indrelid = '{TABLE}'::regclass") == 1


@pytest.mark.parametrize("indexes", [["(price)"], ["(price, n)", "(upper(name))"]])
def test_a_column_and_its_index_come_and_go_together(drift, database, indexes):
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["a", "b"])
    after = declaring(drift.of({"name": "varchar", "price": "decimal"}), *indexes)
    migrate(after)
    # There is a way back before and after the publish that brings the column.
    decisions.rollback(after, DRIFTING, day(1), "an operator")
    decisions.unpin(after, DRIFTING, "an operator")
    drift.publish(after, 2, name=["c"], price=[1])
    assert one(database, INDEXES) == len(indexes) * 2
    decisions.rollback(after, DRIFTING, day(1), "an operator")
    decisions.unpin(after, DRIFTING, "an operator")
    drift.publish(drift.of({"name": "varchar"}), 3, name=["d"])
    assert one(database, INDEXES) == 0


def test_an_index_that_a_kept_part_can_not_have_does_not_keep_it_from_readers(drift, database):
    before = drift.of({"name": "varchar"})
    drift.publish(before, 1, name=["a"])
    after = drift.of({"price": "decimal"})
    drift.publish(after, 2, price=[1])
    decisions.rollback(declaring(after, "(price)"), DRIFTING, day(1), "an operator")
    assert one(database, f"SELECT count(*) FROM {DRIFTING}") == 1


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("(nothing)", 'column "nothing" does not exist'),
        ("(user_id", "syntax error"),
        ("(user_id) x y", "syntax error"),
        ("(lower(now()::text))", "functions in index expression must be marked IMMUTABLE"),
        ("((user_id::integer))", "InvalidTextRepresentation"),
    ],
)
def test_an_index_that_can_not_be_made_is_named_and_nothing_is_changed(services, database, definition, said):
    publish(services, 1, ["ann"])
    with pytest.raises(TargetError) as refused:
        arrive(declaring(services, definition), upload(services, 2, ["bob"]).manifest())
    assert f"its index {definition} can't be made: " in str(refused.value)
    assert said in str(refused.value)
    assert "bob" not in str(refused.value)
    assert users(database) == ["ann"]
    decisions.rollback(declaring(services, definition), TABLE, day(1), "an operator")


def test_an_index_by_a_method_that_is_not_installed_waits_for_it(services, database):
    with pytest.raises(ConfigurationError, match="does not exist"):
        arrive(declaring(services, "USING nothing (user_id)"), upload(services, 1, ["ann"]).manifest())
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
