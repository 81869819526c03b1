"""What others made a table demand of its rows: new parts are staged so, and earlier ones are made so before a swap."""

import psycopg
import pytest

from shared.daily import swap_table as swapping
from shared.errors import DataError, TargetError
from shared.operate import decisions
from shared.operate.migrate import migrate
from tests.kit.drifting_tables import TABLE, VIEW, Drift
from tests.kit.sessions import one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows


@pytest.fixture
def drift(services, database, tmp_path):
    return Drift(services, database, tmp_path)


@pytest.fixture
def published(drift):
    """The services, with two snapshots published; names a and b, then c and nothing."""
    services = drift.of({"name": "varchar"})
    drift.publish(services, 1, name=["a", "b"])
    drift.publish(services, 2, name=["c", None])
    return services


def back(services, number):
    decisions.rollback(services, TABLE, day(number), "test")


# A column that others added


def test_a_column_of_others_that_is_not_null_is_filled_by_its_default(drift, published):
    drift.database.execute(f"ALTER TABLE {TABLE} ADD made_at timestamptz NOT NULL DEFAULT now(), ADD id bigserial")
    drift.publish(published, 3, name=["e", "f"])
    drift.publish(published, 4, name=["g", "h"])
    query = f"SELECT count(DISTINCT id), count(made_at) FROM {TABLE} WHERE made_at <= clock_timestamp()"
    assert drift.database.execute(query).fetchone() == (2, 2)
    with pytest.raises(TargetError, match="id, made_at is NOT NULL, and the snapshot was staged without it"):
        back(published, 1)
    back(published, 3)
    assert [row[1] for row in drift.rows()] == ["e", "f"]
    # Parts that were staged since don't keep anybody from dropping it; those that were attached when it came do.
    query = "SELECT DISTINCT attrelid FROM pg_attribute WHERE atthasdef AND attrelid = ANY(%s::regclass[])"
    found = {oid for (oid,) in drift.database.execute(query, [drift.parts()])}
    assert found == {one(drift.database, "SELECT %s::regclass::oid", part) for part in drift.parts()[2:4]}
    drift.database.execute(f"ALTER TABLE {TABLE} DROP id CASCADE, DROP made_at")
    back(published, 1)
    assert [row[1] for row in drift.rows()] == ["a", "b"]


def test_it_keeps_the_values_of_rows_that_others_wrote(drift, published):
    drift.database.execute(f"ALTER TABLE {TABLE} ADD theirs integer NOT NULL DEFAULT 5")
    drift.database.execute(f"INSERT INTO {TABLE} VALUES (7, 'x', 8)")
    with pytest.raises(DataError, match="holds rows of its own"):
        drift.publish(published, 3, name=["e", "f"])
    assert drift.rows() == [(0, "c", 5), (1, None, 5), (7, "x", 8)]
    drift.database.execute(f"TRUNCATE ONLY {TABLE}")
    drift.publish(published, 4, name=["e", "f"])
    assert drift.rows() == [(0, "e", 5), (1, "f", 5)]


def test_one_that_came_while_a_snapshot_was_staged_is_named_and_nothing_changes(drift, published):
    snapshot = Upload(published, TABLE, day(3))
    assert arrive(published, snapshot.part(rows(TABLE, published, {"n": [0], "name": ["e"]}))) == ["staged"]
    drift.database.execute(f"ALTER TABLE {TABLE} ADD theirs integer NOT NULL DEFAULT 5")
    before = drift.rows()
    manifest = snapshot.manifest()
    with pytest.raises(TargetError, match="theirs is NOT NULL, and the snapshot was staged without it"):
        arrive(published, manifest)
    assert drift.rows() == before
    drift.database.execute(f"ALTER TABLE {TABLE} ALTER theirs DROP NOT NULL")
    assert arrive(published, manifest) == ["published"]
    assert drift.rows() == [(0, "e", None)]


IMPOSSIBLE = {
    "NOT NULL and no default": (
        "ADD theirs integer NOT NULL DEFAULT 5, ALTER theirs DROP DEFAULT",
        "theirs, which the catalog does not have, is NOT NULL and has no default",
        "ALTER theirs SET DEFAULT 6",
    ),
    "generated": (
        "ADD theirs integer GENERATED ALWAYS AS (n + 1) STORED",
        "theirs is generated, which no part has",
        "ALTER theirs DROP EXPRESSION",
    ),
}


def test_a_column_that_is_computed_when_it_is_read_is_refused_with_what_can_be_done(drift, published):
    """As PostgreSQL 18 and later make a generated column, unless they are told to store it."""
    if drift.database.info.server_version < 180_000:
        pytest.skip("PostgreSQL before 18 stores every generated column")
    drift.database.execute(f"ALTER TABLE {TABLE} ADD theirs integer GENERATED ALWAYS AS (n + 1)")
    with pytest.raises(
        TargetError, match=r"theirs is generated, which no part has\. ALTER TABLE … DROP theirs: a view"
    ):
        drift.publish(published, 3, name=["e", "f"])
    drift.database.execute(f"ALTER TABLE {TABLE} DROP theirs")
    drift.publish(published, 4, name=["g", "h"])


@pytest.mark.parametrize(("add", "what", "remedy"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_one_that_nothing_would_fill_is_refused_by_name_before_anything_is_staged(drift, published, add, what, remedy):
    database = drift.database
    for change in add.split(", "):
        database.execute(f"ALTER TABLE {TABLE} {change}")
    before = (drift.rows(), drift.parts())
    with pytest.raises(TargetError, match=what):
        drift.publish(published, 3, name=["e", "f"])
    with pytest.raises(TargetError, match=what):
        migrate(published)
    assert (drift.rows(), drift.parts()) == before
    assert what in one(database, "SELECT message FROM recosync.failure")
    database.execute(f"ALTER TABLE {TABLE} {remedy}")
    drift.publish(published, 4, name=["g", "h"])
    assert [row[:2] for row in drift.rows()] == [(0, "g"), (1, "h")]


# What a column came to demand


def test_a_snapshot_from_before_a_constraint_can_be_brought_back_if_its_rows_are_so(drift, published):
    database = drift.database
    drift.publish(published, 3, name=["e", "f"])
    database.execute(f"ALTER TABLE {TABLE} ALTER name SET NOT NULL, ADD CONSTRAINT early CHECK (name < 'y')")
    back(published, 1)
    assert drift.rows() == [(0, "a"), (1, "b")]
    with pytest.raises(TargetError, match="name is NOT NULL, and rows of the snapshot have nothing in it"):
        back(published, 2)
    without(drift, "early")
    database.execute(f"ALTER TABLE {TABLE} ALTER name DROP NOT NULL")
    database.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT early CHECK (name < 'c')")
    with pytest.raises(TargetError, match="not as its constraint early demands") as refused:
        back(published, 3)
    assert "(0, e)" not in str(refused.value)
    assert drift.rows() == [(0, "a"), (1, "b")]
    without(drift, "early")
    database.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT early CHECK (name < 'x') NOT VALID")
    for number in (2, 3, 1):
        back(published, number)
    assert drift.rows() == [(0, "a"), (1, "b")]
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(f"INSERT INTO {drift.parts()[0]} VALUES (1, 'z')")


def without(drift, constraint):
    """Drop a constraint from the table and from the parts that have it of their own while they are attached."""
    attached = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"
    for (relation,) in [(TABLE,), *drift.database.execute(attached, [TABLE]).fetchall()]:
        drift.database.execute(f"ALTER TABLE {relation} DROP CONSTRAINT IF EXISTS {constraint}")


def test_a_snapshot_without_a_column_can_be_brought_back_under_a_check_of_it(drift, monkeypatch):
    drift.publish(drift.of({"name": "varchar"}), 1, name=["a", "b"])
    after = drift.of({"name": "varchar", "price": "decimal"})
    with monkeypatch.context() as others:
        others.setattr(swapping, "extend_parts", lambda *_: None)  # as if they had held the part
        drift.publish(after, 2, name=["c", "d"], price=[1, 2])
    drift.database.execute(f"ALTER TABLE {TABLE} ADD CHECK (price > 0 AND n >= 0)")
    back(after, 1)
    assert drift.rows() == [(0, "a", None), (1, "b", None)]


def test_a_constraint_survives_the_retype_of_its_column_and_the_way_back(drift):
    before, after = drift.of({"name": "varchar"}), drift.of({"name": "text"})
    drift.publish(before, 1, name=["a", "b"])
    drift.refresh(before)
    drift.database.execute(f"ALTER TABLE {TABLE} ALTER name SET NOT NULL, ADD CONSTRAINT known CHECK (name <> '')")
    drift.publish(after, 2, name=["c", "d"])
    back(after, 1)
    back(after, 2)
    assert drift.rows() == drift.rows(VIEW) == [(0, "c"), (1, "d")]
    assert one(drift.database, "SELECT count(*) FROM pg_constraint WHERE conname = 'known'") == 5


def test_a_constraint_that_the_server_reads_as_another_one_is_named_with_what_it_takes(drift, published):
    database = drift.database
    database.execute(f"UPDATE {TABLE} SET name = 'c'")
    database.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT few CHECK (name IN ('c', 'd'))")
    with pytest.raises(TargetError, match=r"its constraint few, .* is another constraint") as refused:
        drift.publish(published, 3, name=["c", "d"])
    database.execute(refused.value.remedy.replace("…", TABLE))
    drift.publish(published, 4, name=["d", "c"])
    assert drift.rows() == [(0, "d"), (1, "c")]
