"""Indexes that the catalog declares: readers of the table use them after each publish, whatever part has their row."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from shared.catalog import Index
from shared.daily.refresh import refresh
from shared.errors import TargetError
from shared.operate import decisions
from shared.operate.migrate import migrate
from shared.services import Services
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive


def declaring(services: Services, *definitions: str) -> Services:
    """The services as deployed with these indexes of the table."""
    table = replace(services.catalog.tables[TABLE], indexes=tuple(map(Index, definitions)))
    return replace(services, catalog=replace(services.catalog, tables={**services.catalog.tables, TABLE: table}))


def plan(database, where):
    """How the server reads the table where it is not let read all of it."""
    database.execute("SET enable_seqscan = off")
    rows = database.execute(f"EXPLAIN SELECT * FROM {TABLE} WHERE {where}".encode()).fetchall()
    database.execute("RESET enable_seqscan")
    return "\n".join(line for (line,) in rows)


def children_by_index(database, where="user_id = 'ann'"):
    return len(re.findall(r"Index (Only )?Scan", plan(database, where)))


def test_each_part_has_a_declared_index_after_every_publish_and_rollback(services, database):
    declared = declaring(services, "(user_id)")
    publish(declared, 1, ["ann"], ["bob"])
    assert children_by_index(database) == 3  # the parts', and the table's own
    publish(declared, 2, ["cleo"])
    assert children_by_index(database) == 2
    decisions.rollback(declared, TABLE, day(1), "an operator")
    assert children_by_index(database) == 3
    assert users(database) == ["ann", "bob"]
    refresh(declared, TABLE, 3)


def test_an_index_declared_later_comes_to_the_parts_that_are_kept_too(services, database):
    publish(services, 1, ["ann"])
    publish(services, 2, ["bob"])
    declared = declaring(services, "(user_id DESC)", "USING hash (user_id)")
    migrate(declared)
    decisions.rollback(declared, TABLE, day(1), "an operator")
    query = "SELECT count(*) FROM pg_index WHERE indrelid = (SELECT inhrelid FROM pg_inherits)"
    assert one(database, query) == 2
    assert children_by_index(database) == 2


def test_an_index_that_leaves_the_catalog_leaves_the_table_and_its_next_parts(services, database):
    publish(declaring(services, "(user_id)"), 1, ["ann"])
    database.execute(f"CREATE INDEX mine ON {TABLE} (user_id)")
    publish(services, 2, ["bob"])
    query = f"SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = '{TABLE}'::regclass"
    assert one(database, query) == ["mine"]
    assert one(database, "SELECT count(*) FROM pg_index WHERE indrelid = (SELECT inhrelid FROM pg_inherits)") == 1


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("(nothing)", 'column "nothing" does not exist'),
        ("USING nothing (user_id)", 'access method "nothing" does not exist'),
        ("(user_id", "syntax error"),
        ("(user_id) x y", "syntax error"),
        ("(lower(now()::text))", "functions in index expression must be marked IMMUTABLE"),
    ],
)
def test_an_index_that_can_not_be_made_is_named_and_nothing_is_changed(services, database, definition, said):
    publish(services, 1, ["ann"])
    with pytest.raises(TargetError) as refused:
        arrive(declaring(services, definition), upload(services, 2, ["bob"]).manifest())
    assert definition in str(refused.value)
    assert said in str(refused.value)
    assert users(database) == ["ann"]
