"""While a deployment is in progress, functions of two catalogs work side by side: no event is lost to the older one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.daily.manifest import Origin
from shared.daily.refresh import refresh
from shared.errors import CatalogError, DataError
from shared.rows.profile import ColumnProfile, Profile
from shared.upkeep import reconcile
from tests.kit.drifting_tables import TABLE, VIEW, Drift
from tests.kit.sessions import one
from tests.kit.snapshots import day
from tests.kit.uploads import Upload, arrive, rows

BEFORE, AFTER = {"name": "varchar"}, {"name": "varchar", "price": "numeric"}


@pytest.fixture
def drift(services, database, tmp_path):
    drift = Drift(services, database, tmp_path)
    before = drift.of(BEFORE)
    drift.publish(before, 1, name=["a", "b"])
    drift.refresh(before)
    return drift


def failures(drift):
    return one(drift.database, "SELECT count(*) FROM recosync.failure")


def uploaded(services, number, *, origin=False, **values):
    """The versions of a part and of the manifest of a day's snapshot; with what our own export says besides."""
    snapshot = Upload(services, TABLE, day(number))
    part = snapshot.part(rows(TABLE, services, {"n": [0], **values}))
    known = services.catalog.tables[TABLE].columns
    if not origin:
        return part, snapshot.manifest()
    counted = {"n", *values}
    profile = Profile(1, {column.name: ColumnProfile(int(column.name in counted), None) for column in known})
    types = {column.name: column.type.sql for column in known}
    return part, snapshot.manifest(origin=Origin(day(number).at, day(number).at, None, profile, types))


def outlives_the_redeploy(drift, before, after, part, manifest):
    """The events are kept while the older functions get them, and done once the newer ones do."""
    for version in (part, manifest, part):
        with pytest.raises(CatalogError):
            arrive(before, version)
    assert failures(drift) == 0
    assert drift.rows() == [(0, "a"), (1, "b")]
    assert arrive(after, part, manifest)[-1] in ("published", "repeated")


@pytest.mark.parametrize("origin", [True, False], ids=["our own export", "another uploader"])
def test_a_new_column(drift, origin):
    before, after = drift.of(BEFORE), drift.of(AFTER)
    part, manifest = uploaded(after, 2, origin=origin, name=["c"])
    outlives_the_redeploy(drift, before, after, part, manifest)
    assert drift.rows() == [(0, "c", None)]


def test_a_column_that_is_gone(drift):
    before, after = drift.of(BEFORE), drift.of({})
    part, manifest = uploaded(after, 2, origin=True)
    outlives_the_redeploy(drift, before, after, part, manifest)
    assert drift.rows() == [(0,)]


def test_a_column_of_a_type_that_the_older_catalog_does_not_take(drift):
    before, after = drift.of(BEFORE), drift.of({"name": "integer"})
    part, manifest = uploaded(after, 2, origin=True, name=[7])
    outlives_the_redeploy(drift, before, after, part, manifest)
    assert drift.rows() == [(0, 7)]


def test_a_value_that_only_the_newer_catalogs_type_holds(drift):
    before, after = drift.of({"name": "varchar", "count": "integer"}), drift.of({"name": "varchar", "count": "bigint"})
    part, manifest = uploaded(after, 2, origin=True, name=["c"], count=[2**40])
    for version in (manifest, part):
        with pytest.raises(CatalogError, match="a value does not fit"):
            arrive(before, version)
    assert failures(drift) == 0
    assert arrive(after, manifest) == ["published"]
    assert drift.rows() == [(0, "c", 2**40)]


def test_a_value_that_this_catalogs_own_export_brought_is_still_a_failure_for_good(drift):
    services = drift.of({"name": "varchar", "count": "integer"})
    _, manifest = uploaded(services, 2, origin=True, name=["c"], count=[2**40])
    with pytest.raises(DataError, match="a value does not fit"):
        arrive(services, manifest)
    assert one(drift.database, "SELECT snapshot_id FROM recosync.failure") == str(day(2))


def test_a_new_table(services, database, tmp_path):
    after = Drift(services, database, tmp_path).of(BEFORE)
    part, manifest = uploaded(after, 1, origin=True, name=["a"])
    for version in (part, manifest):
        with pytest.raises(CatalogError, match="belongs to a table that the catalog of this deployment does not have"):
            arrive(services, version)
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
    now = datetime.now(UTC) + timedelta(hours=1)
    assert [sent["sent"] for sent in reconcile.run(after, now)] == ["manifest"]
    assert arrive(after, part, manifest)[0] == "staged"


def test_the_message_of_a_new_table(drift, services):
    number = one(drift.database, "SELECT publication FROM recosync.publication")
    with pytest.raises(CatalogError, match=f"{TABLE}: the catalog of this deployment does not have it"):
        refresh(services, TABLE, number)
    assert failures(drift) == 0
    assert refresh(drift.of(BEFORE), TABLE, number) == "fresh"


def test_a_template_that_needs_a_column_that_no_publish_has_brought_yet(drift):
    """A newer mv_refresh beside an older gcs_import."""
    before = drift.of(BEFORE)
    assert arrive(before, *uploaded(before, 2, name=["b"]))[-1] == "published"
    after = drift.of(AFTER)
    number = one(drift.database, "SELECT max(publication) FROM recosync.publication")
    with pytest.raises(CatalogError, match=f"its columns are not those of this deployment's catalog: {TABLE}"):
        refresh(after, TABLE, number)
    assert failures(drift) == 0
    now = datetime.now(UTC) + timedelta(hours=1)
    assert [sent["views"] for sent in reconcile.run(after, now)] == [[VIEW]]
    assert arrive(after, *uploaded(after, 3, name=["c"]))[-1] == "published"
    number = one(drift.database, "SELECT max(publication) FROM recosync.publication")
    assert refresh(after, TABLE, number) in ("refreshed", "fresh")
    assert drift.rows(VIEW) == [(0, "c", None)]


def test_a_template_that_is_wrong_is_still_a_failure_for_good(drift):
    services = drift.of(BEFORE, view="n, strange")
    drift.database.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    with pytest.raises(Exception, match="strange") as e:
        refresh(services, TABLE, 1)
    assert not e.value.retryable
    assert failures(drift) == 1
