"""Reconcile: a snapshot whose import was never asked for is asked for again, once it has stood still for a time."""

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from functions_framework import create_app

from shared import services as made
from shared.catalog import FOLDER_VARIABLE, ROOT
from shared.daily.manifest import Origin
from shared.db.locks import Lock
from shared.errors import DataError, IncompleteError, RetryableError
from shared.gcp.storage import Storage
from shared.ledger import holds
from shared.names import ObjectVersion
from shared.operate.decisions import reject, rollback, unpin
from shared.rows.profile import ColumnProfile, Profile
from shared.upkeep import reconcile
from tests.kit.sessions import held, one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import arrive


@pytest.fixture
def services(services):
    """Without views: they have events of their own."""
    return replace(services, catalog=replace(services.catalog, views={}))


def later(minutes=31):
    return datetime.now(UTC) + timedelta(minutes=minutes)


def manifests(services):
    """The live version of every manifest, by its day."""
    prefix = f"{services.settings.prefix}/{TABLE}/"
    stored = services.storage.objects(services.settings.bucket, prefix)
    return {s.version.name.split("/")[-2]: s.version for s in stored if s.version.name.endswith("manifest.json")}


def sent(services, now=None):
    """The versions of manifests that a run wrote."""
    before = manifests(services)
    finished = reconcile.run(services, now or later())
    written = [version for name, version in manifests(services).items() if before[name] != version]
    assert len(finished) == len(written)
    json.dumps(finished)
    return written


def origin(snapshot, source_modified):
    """What our own export says of its snapshot of one row."""
    columns = snapshot.services.catalog.tables[TABLE].columns
    profile = Profile(1, {column.name: ColumnProfile(1, None) for column in columns})
    return Origin(snapshot.snapshot.at, snapshot.snapshot.at, source_modified, profile)


@pytest.fixture
def lines(monkeypatch):
    """The severity and text of what is logged from WARNING up."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append((record.levelname, record.getMessage()))

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("recosync")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_a_snapshot_whose_events_were_all_lost_is_imported(services, database, lines):
    publish(services, 1, ["ann"])
    lost = upload(services, 2, ["bob"], ["cleo"])
    content = services.storage.read(lost.manifest())
    (manifest,) = sent(services)
    assert services.storage.read(manifest) == content
    assert lines == [("WARNING", "lost event: exported but not published, so its manifest is written again")]
    assert arrive(services, manifest) == ["published"]
    assert users(database) == ["bob", "cleo"]


def test_the_first_snapshot_of_a_table_is_imported(services, database):
    arrive(services, upload(services, 2, ["bob"]).part(bookings(services, ["bob"])))  # makes the ledger
    upload(services, 1, ["ann"]).manifest()
    assert arrive(services, *sent(services)) == ["published"]
    assert users(database) == ["ann"]


def test_a_snapshot_whose_manifest_came_but_whose_part_never_did_is_completed(here, services, database):
    snapshot = upload(services, 1, ["ann"])
    lost = snapshot.part(bookings(services, ["bob"]))
    with held(here.dsn, Lock.part(lost)), pytest.raises(IncompleteError):
        arrive(services, snapshot.manifest())
    assert arrive(services, *sent(services)) == ["published"]
    assert users(database) == ["ann", "bob"]
    assert sent(services) == []


def test_a_stray_file_in_its_folder_does_not_keep_a_snapshot_from_being_imported(services, database):
    publish(services, 1, ["ann"])
    lost = upload(services, 2, ["bob"])
    stray = lost.part(b"no Parquet at all", attempt=2)
    lost.parts.pop()
    with pytest.raises(DataError, match="Parquet"):
        arrive(services, stray)
    lost.manifest()
    assert database.execute("SELECT table_name, subject FROM recosync.failure").fetchall() == [(TABLE, str(stray))]
    assert arrive(services, *sent(services)) == ["published"]
    assert users(database) == ["bob"]


def test_a_part_that_fails_before_its_manifest_came_fails_once_more_and_stops_the_snapshot(services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2, ["bob"])
    broken = snapshot.part(b"no Parquet at all")
    with pytest.raises(DataError, match="Parquet"):
        arrive(services, broken)
    snapshot.manifest()
    (manifest,) = sent(services)
    with pytest.raises(DataError, match="Parquet"):
        arrive(services, manifest)
    assert sent(services, later(minutes=60 * 24)) == []
    with pytest.raises(DataError, match="Parquet"):
        arrive(services, broken)
    subjects = database.execute("SELECT subject, snapshot_id FROM recosync.failure ORDER BY id").fetchall()
    assert subjects == [(str(broken), None), (str(manifest), str(day(2))), (str(broken), str(day(2)))]


def test_of_several_snapshots_only_the_newest_is_imported(services, database):
    publish(services, 1, ["ann"])
    for number in (2, 3):
        upload(services, number, ["bob"]).manifest()
    upload(services, 4, ["never completed"])
    (manifest,) = sent(services)
    assert str(day(3)) in manifest.name


def test_a_young_manifest_is_left_alone(services):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).manifest()
    assert sent(services, later(minutes=29)) == []
    patient = replace(services, settings=replace(services.settings, reconcile_after=timedelta(hours=2)))
    assert sent(patient, later(minutes=119)) == []
    assert len(sent(patient, later(minutes=121))) == 1


def test_an_older_snapshot_is_not_imported_while_the_import_of_a_newer_one_may_be_under_way(services):
    publish(services, 1, ["ann"])
    upload(services, 3, ["cleo"]).manifest()
    assert len(sent(services)) == 1
    upload(services, 2, ["bob"]).manifest()
    assert sent(services) == []


def test_the_pause_doubles_while_the_import_does_not_come_through_and_then_a_human_is_called(services, lines):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).manifest()
    for tries, pause in enumerate([30, 60, 120, 240], 1):
        assert sent(services, later(pause - 1)) == []
        assert len(sent(services, later(pause + 1))) == 1
        assert [level for level, _ in lines] == ["WARNING", "WARNING", "ERROR", "ERROR"][:tries]


@pytest.mark.parametrize("tries", ["", "many", "-1", "9" * 40, "\u0663"])
def test_what_an_uploader_writes_beside_its_manifest_does_no_harm(here, services, tries):
    publish(services, 1, ["ann"])
    version = upload(services, 2, ["bob"]).manifest()
    blob = here.storage_client.bucket(version.bucket).blob(version.name)
    blob.metadata = {reconcile.TRIES: tries, "by": "somebody"}
    blob.upload_from_string(services.storage.read(version))
    (manifest,) = sent(services)
    metadata = services.storage.find(manifest.bucket, manifest.name).metadata
    assert metadata.items() >= {reconcile.TRIES: "1", "by": "somebody"}.items()


def test_an_empty_manifest_is_none(services):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).raw_manifest(b"")
    assert sent(services) == []


def test_what_is_held_waits_for_its_human_and_what_was_rejected_stays_so(services, database):
    publish(services, 1, ["ann"])
    doubtful = upload(services, 2, ["bob"])
    age = {"origin": origin(doubtful, source_modified=datetime(2020, 1, 1, tzinfo=UTC))}
    limits = replace(services.catalog.tables[TABLE].limits, source_age=1)
    strict = {TABLE: replace(services.catalog.tables[TABLE], limits=limits)}
    services = replace(services, catalog=replace(services.catalog, tables=strict))
    assert arrive(services, doubtful.manifest(source_rows=1, **age)) == ["held"]
    assert sent(services) == []
    reject(services, TABLE, None, "an operator")
    assert sent(services) == []


def test_what_failed_for_good_is_left_to_its_human(services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2, ["bob"])
    snapshot.parts = [replace(part, rows=3) for part in snapshot.parts]
    with pytest.raises(DataError):
        arrive(services, snapshot.manifest())
    assert sent(services) == []


def test_a_pinned_table_is_left_alone_until_it_is_unpinned(services, database):
    publish(services, 1, ["ann"])
    holds.pin(database, TABLE, day(1), "an operator")
    manifest = upload(services, 2, ["bob"]).manifest()
    assert arrive(services, manifest) == ["pinned"]
    assert sent(services) == []
    holds.unpin(database, TABLE)
    assert arrive(services, *sent(services)) == ["published"]


def test_what_an_operator_went_back_from_does_not_return(services, database):
    for number in (1, 2):
        publish(services, number, ["ann"])
    rollback(services, TABLE, None, "an operator")
    unpin(services, TABLE, "an operator")
    assert sent(services) == []
    upload(services, 3, ["cleo"]).manifest()
    assert arrive(services, *sent(services)) == ["published"]


def test_where_all_is_well_nothing_is_touched(services):
    for number in (1, 2):
        publish(services, number, ["ann"])
    assert sent(services, later(100_000)) == []


def test_where_nothing_was_ever_imported_nothing_is_made(services, database):
    upload(services, 1, ["ann"]).manifest()
    assert sent(services) == []
    assert one(database, "SELECT to_regnamespace('recosync')") is None


def test_a_bucket_with_other_folders_and_snapshots_that_never_completed_is_read(here, services):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).manifest()
    bucket = here.storage_client.bucket(services.settings.bucket)
    for name in ("notes/manifest.json", "00010101T000000Z/manifest.json", "20270101T000000Z/1/part-0.parquet"):
        bucket.blob(f"{services.settings.prefix}/{TABLE}/{name}").upload_from_string(b"{}")
    (manifest,) = sent(services)
    assert str(day(2)) in manifest.name


def test_two_runs_at_once_write_a_manifest_once(services, monkeypatch):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).manifest()
    replace_, versions = Storage.replace, []

    def overtaken(self, version: ObjectVersion, *rest):
        monkeypatch.setattr(Storage, "replace", replace_)
        versions.extend(sent(services))
        return replace_(self, version, *rest)

    monkeypatch.setattr(Storage, "replace", overtaken)
    assert reconcile.run(services, later()) == []
    assert list(manifests(services).values())[-1:] == versions


def test_a_table_that_fails_leaves_the_others_alone(services, monkeypatch, lines):
    publish(services, 1, ["ann"])
    upload(services, 2, ["bob"]).manifest()
    folders = Storage.folders

    def broken(self, bucket, prefix):
        if TABLE not in prefix:
            raise RetryableError("Google Cloud did not answer well", where=prefix)
        return folders(self, bucket, prefix)

    monkeypatch.setattr(Storage, "folders", broken)
    assert len(sent(services)) == 1
    others = len(services.catalog.tables) - 1
    assert [level for level, text in lines if "did not answer well" in text] == ["WARNING"] * others


@pytest.fixture
def hourly_export(here, services, tmp_path, monkeypatch):
    """The function as it is deployed with a catalog of tables alone, called when events have been lost for long."""
    block = f"""
        schema = "public"
        [tables.{TABLE}]
        source = "{TABLE}"
        dataset = "BIGQUERY_SEED_DATASET"
        columns = {{ user_id = "varchar", item_id = "varchar" }}
    """
    (tmp_path / "catalog.toml").write_text(block)
    (tmp_path / "views").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    look = reconcile.run
    monkeypatch.setattr(reconcile, "run", lambda services, now: look(services, now + timedelta(minutes=31)))
    for make in (made.daily, made.hourly):
        make.cache_clear()
    yield create_app("hourly_export", str(ROOT / "functions" / "hourly_export" / "main.py"), "http").test_client()
    for make in (made.daily, made.hourly):
        make.cache_clear()


def test_where_there_is_no_log_the_hourly_call_still_finds_what_was_lost(services, hourly_export):
    publish(services, 1, ["ann"])
    lost = upload(services, 2, ["bob"]).manifest()
    answer = hourly_export.post("/", json={})
    assert answer.status_code == 200, answer.text
    told = answer.get_json()
    assert (told["table"], told["hours"], told["failed"], told["remaining"]) == (None, [], [], 0)
    assert [(sent["table"], sent["sent"]) for sent in told["reconciled"]] == [(TABLE, "manifest")]
    assert manifests(services)[lost.name.split("/")[-2]] != lost


@pytest.mark.parametrize("body", [{"table_name": "past_offer_context"}, {"date": "20260101"}, {"hour": 1}])
def test_where_there_is_no_log_a_call_for_one_is_refused(hourly_export, body):
    answer = hourly_export.post("/", json=body)
    assert (answer.status_code, answer.get_json()) == (400, {"error": "the catalog has no log"})
