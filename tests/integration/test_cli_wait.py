"""Who waits for an export is told what for, and is let go when readers of tables and views have it, or never will."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from shared import catalog
from shared.daily import extract, refresh
from shared.daily.names import SnapshotFolder
from shared.ledger import migrations
from shared.names import ObjectVersion, SnapshotId
from shared.operate import waiting
from shared.operate.cli.output import Exit
from tests.kit.background import Background, wait_for
from tests.kit.commands import Ran, recosync
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, day, publish, upload
from tests.kit.uploads import arrive

VIEW = "non_recommendable_items_mv"
SOURCE = "ml_reco_local.user_booked_item"
SNAPSHOT = SnapshotId.parse("20260105T000000Z")
NAME = f"{TABLE} {SNAPSHOT}"
EXPORT = ("export", TABLE, "--date", "20260105", "--wait")


class Waiting:
    """A command that waits for the functions, which are at work here as a test has them."""

    def __init__(self, services, looks: Sequence[object], arguments: tuple[object, ...]) -> None:
        self._looks = looks
        self._services, self._call = services, Background(lambda: recosync(*arguments))
        folder = SnapshotFolder(services.settings.prefix, TABLE, SNAPSHOT)
        self._find = lambda: services.storage.find(services.settings.bucket, folder.manifest)
        self.parts = f"{folder}/1/"

    def manifest(self) -> ObjectVersion:
        wait_for(self._find)
        return self._find().version

    def arrive(self) -> None:
        assert arrive(self._services, self.manifest()) == ["published"]

    def goes_on(self) -> None:
        """It has looked twice since, and still waits."""
        before = len(self._looks)
        wait_for(lambda: len(self._looks) > before + 2)
        assert self._call.running

    def ended(self) -> Ran:
        return self._call.result()


@pytest.fixture
def wait(here, services, monkeypatch) -> Callable[..., Waiting]:
    looks: list[float] = []

    def pause() -> None:
        looks.append(time.monotonic())
        time.sleep(0.05)

    monkeypatch.setattr(waiting, "pause", pause)
    here.bigquery_client.query(
        f"CREATE OR REPLACE TABLE {SOURCE} AS SELECT 'ann' AS user_id, 'item' AS item_id"
    ).result()
    return lambda *more: Waiting(services, looks, (*EXPORT, *more))


@pytest.fixture
def number(database) -> Callable[[], int]:
    """What readers see of the table now is published as."""
    return lambda: one(database, "SELECT max(publication) FROM recosync.publication WHERE table_name = %s", TABLE)


@pytest.fixture
def foreign(database, services) -> Iterator[None]:
    """Somebody's view over ours, which keeps ours from being replaced."""
    publish(services, 1, ["bob"])
    assert recosync("materialize", VIEW).code == 0
    database.execute(f"CREATE VIEW theirs AS SELECT * FROM {VIEW}")
    yield
    database.execute("DROP VIEW theirs")


def test_readers_of_the_views_are_waited_for_too(wait, services, database, number):
    asked = wait("--json")
    asked.arrive()
    asked.goes_on()
    refresh.refresh(services, TABLE, number())
    ran = asked.ended()
    assert ran.code == 0
    (told,) = ran.json["imported"]
    assert (told["status"], told["publication"], told["views_behind"]) == ("published", number(), [])
    assert users(database, VIEW) == ["ann"]


def test_what_is_waited_for_is_told_whenever_it_changes(wait, services, number):
    asked = wait()
    asked.goes_on()
    asked.arrive()
    asked.goes_on()
    refresh.refresh(services, TABLE, number())
    told = asked.ended().err.splitlines()
    assert told[0] == (f"{NAME}: waiting for stage: gcs_import has not recorded its manifest yet")
    assert f"{NAME}: waiting for refresh of {VIEW} (publication {number()})" in told
    assert len(told) == len(set(told))


@pytest.mark.parametrize(("function", "name"), [("gcs_import", TABLE), ("mv_refresh", VIEW)])
def test_why_a_function_tries_again_is_told_while_it_does(wait, services, database, number, function, name):
    asked = wait()
    manifest = asked.manifest()
    if function == "mv_refresh":
        asked.arrive()
    asked.goes_on()
    migrations.prepare(database, migrates=True)
    database.execute(
        "INSERT INTO recosync.failing (function, name, subject, error, message, retryable)"
        " VALUES (%s, %s, '', 'ConfigurationError', 'the bucket is closed', true)",
        [function, name],
    )
    asked.goes_on()
    if function == "gcs_import":
        arrive(services, manifest)
    refresh.refresh(services, TABLE, number())
    ran = asked.ended()
    assert ran.code == 0
    assert f": {function} tries it again: the bucket is closed" in ran.err


def test_a_part_that_is_gone_ends_the_wait(wait, here, services):
    asked = wait()
    manifest = asked.manifest()
    (part,) = services.storage.objects(here.bucket, asked.parts)
    services.storage.delete(part.version)
    with pytest.raises(Exception, match="gone from the bucket"):
        arrive(services, manifest)
    ran = asked.ended()
    assert ran.code == Exit.FAILED
    assert "is named by the manifest but gone from the bucket" in ran.err


def test_a_refresh_that_fails_for_good_ends_the_wait(wait, services, database, number, foreign):
    asked = wait("--json")
    asked.arrive()
    with pytest.raises(Exception, match="theirs"):
        refresh.refresh(services, TABLE, number())
    ran = asked.ended()
    assert ran.code == Exit.FAILED
    (failed,) = ran.json["failed"]
    assert (failed["table"], failed["retryable"]) == (TABLE, False)
    assert "published, and its views are as they were" in failed["error"]
    assert "theirs" in failed["error"]
    assert "theirs" in ran.err


@pytest.mark.parametrize("step", ["stage", f"refresh of {VIEW}"])
def test_a_wait_in_which_nothing_moves_ends_with_a_code_of_its_own_and_says_what_was_not_reached(wait, step):
    asked = wait("--json", "--timeout", "3" if step == "stage" else "10")
    if step != "stage":
        asked.arrive()
    ran = asked.ended()
    assert ran.code == Exit.LATE
    assert ran.json["failed"][0]["retryable"] is True
    assert ran.err.splitlines()[-1].startswith(f"recosync: {NAME}: not reached: {step}")


def test_a_hold_ends_the_wait_with_its_reasons_and_the_commands_that_decide(wait, services):
    publish(services, 1, [f"user-{n}" for n in range(3_000)])
    asked = wait()
    assert arrive(services, asked.manifest()) == ["held"]
    ran = asked.ended()
    assert ran.code == Exit.HELD
    *_, reasons, approve, reject = ran.err.splitlines()
    assert "1 row, 100.0% fewer than the 3,000 published; the limit is 30.0%" in reasons
    assert (approve.strip(), reject.strip()) == (f"recosync approve {NAME}", f"recosync reject {NAME}")


@pytest.mark.parametrize("more", [(), ("--wait",)])
def test_an_export_of_what_is_held_names_the_reasons_and_the_commands_that_decide(wait, services, monkeypatch, more):
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta())
    publish(services, 1, [f"user-{n}" for n in range(3_000)])
    assert recosync("export", TABLE).code == 0
    assert recosync("import", TABLE).code == Exit.HELD
    ran = recosync("export", TABLE, *more)
    assert ran.code == Exit.HELD
    reasons, approve, reject = ran.err.splitlines()
    assert "1 row, 100.0% fewer than the 3,000 published; the limit is 30.0%" in reasons
    (held,) = recosync("status", "--json").json["tables"][2]["held"]
    assert (approve.strip(), reject.strip()) == (held["approve"], held["reject"])


def test_a_pin_and_a_newer_snapshot_end_the_wait(wait, services):
    for number, user in ((1, "ann"), (2, "bob")):
        publish(services, number, [user])
    assert recosync("rollback", TABLE).code == 0
    ran = wait().ended()
    assert ran.code == Exit.HELD
    assert f"recosync rollback {TABLE} --unpin" in ran.err
    assert recosync("rollback", TABLE, "--unpin").code == 0
    assert arrive(services, upload(services, 9, ["eve"]).manifest()) == ["published"]
    ran = wait().ended()
    assert ran.code == Exit.HELD
    assert f"{day(9)} is published, which is newer" in ran.err


def test_an_unchanged_source_is_no_reason_to_call_stale_views_fresh(wait, monkeypatch):
    monkeypatch.setattr(extract, "CLOCKS_DIFFER", timedelta())
    assert recosync("export", TABLE).code == 0
    assert recosync("import", TABLE).code == 0
    ran = recosync("export", TABLE, "--wait", "--timeout", "0")
    assert ran.code == Exit.LATE
    assert f"not reached: refresh of {VIEW}" in ran.err
    assert recosync("materialize", VIEW).code == 0
    assert recosync("export", TABLE, "--wait").code == 0


def test_a_view_that_waits_for_another_table_is_told(wait, services, number, monkeypatch):
    known = services.catalog
    view = replace(known.views[VIEW], reads=(TABLE, "iris_france"))
    other = replace(known, views={**known.views, VIEW: view})
    monkeypatch.setattr(catalog, "load", lambda *_: other)
    asked = wait()
    asked.arrive()
    ran = asked.ended()
    assert ran.code == Exit.HELD
    assert f"{VIEW} can't be built before another table that it reads is published too" in ran.err


def test_where_no_event_fires_the_views_are_waited_for_as_well(wait, here):
    bucket = here.storage_client.create_bucket(f"{here.project}-elsewhere")
    try:
        ran = recosync(*EXPORT, "--bucket-path", f"gs://{bucket.name}/exports", "--timeout", "0", "--json")
        assert ran.code == Exit.LATE
        assert f"not reached: refresh of {VIEW}" in ran.json["failed"][0]["error"]
    finally:
        for blob in bucket.list_blobs():
            blob.delete()
        bucket.delete()
