"""Arrival: what each finished object in the bucket leads to, whoever wrote it."""

from dataclasses import replace

import pytest

from shared.daily import arrival
from shared.db.postgres import connect
from shared.errors import ConfigurationError, DataError, IncompleteError, RetryableError
from shared.names import ObjectVersion
from shared.settings import DatabaseUrl
from tests.kit.sessions import one, users
from tests.kit.snapshots import TABLE, bookings, day, publish, upload
from tests.kit.uploads import arrive

FOREIGN = [
    "strange/readme.txt",
    "recommendation_exports/readme.txt",
    f"recommendation_exports/{TABLE}/20260101T000000Z/part-0.parquet",
    f"recommendation_exports/{TABLE}/yesterday/1/part-0.parquet",
    f"recommendation_exports_old/{TABLE}/20260101T000000Z/1/part-0.parquet",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_an_object_that_is_not_ours_is_left_alone(services, database, name):
    assert arrive(services, ObjectVersion(services.settings.bucket, name, 1)) == ["foreign"]
    assert one(database, "SELECT to_regnamespace('recosync')") is None


def test_another_bucket_is_not_ours(services):
    manifest = upload(services, 1, ["ann"]).manifest()
    assert arrive(services, replace(manifest, bucket="another")) == ["foreign"]


def test_an_empty_object_announces_a_file_that_is_still_to_come(services, database):
    manifest = upload(services, 1, ["ann"]).manifest()
    assert arrive(services, manifest, size=0) == ["zero-byte"]
    assert arrive(services, manifest) == ["published"]


def test_a_version_that_is_gone_leads_to_nothing(services, database):
    snapshot = upload(services, 1)
    part, manifest = snapshot.part(bookings(services, ["ann"])), snapshot.manifest()
    assert arrive(services, *(replace(version, generation=1) for version in (part, manifest))) == ["gone", "gone"]
    assert one(database, "SELECT count(*) FROM recosync.part") == 0


def test_a_failure_for_good_is_recorded_with_what_it_is_of(services, database):
    version = upload(services, 1, ["ann"]).raw_manifest(b"{}")
    with pytest.raises(DataError, match="is not a manifest"):
        arrive(services, version)
    failure = database.execute("SELECT kind, table_name, snapshot_id, subject FROM recosync.failure").fetchall()
    assert failure == [("DataError", TABLE, str(day(1)), str(version))]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"version": 0}', b"null"])
def test_a_manifest_that_is_none_fails_for_good(services, database, content):
    with pytest.raises(DataError, match="manifest"):
        arrive(services, upload(services, 1, ["ann"]).raw_manifest(content))
    assert one(database, "SELECT count(*) FROM recosync.failure") == 1
    assert one(database, "SELECT count(*) FROM recosync.snapshot") == 0


def test_a_manifest_that_changes_its_mind_fails_and_the_first_one_stands(services, database, monkeypatch):
    snapshot = upload(services, 1, ["ann"])
    with monkeypatch.context() as short_of_time:
        short_of_time.setattr(arrival, "STAGING_SHARE", 0)
        with pytest.raises(IncompleteError):
            arrive(services, snapshot.manifest())
    added = snapshot.part(bookings(services, ["bob"]))
    with pytest.raises(DataError, match="differs from the manifest"):
        arrive(services, snapshot.manifest())
    assert arrive(services, added) == ["staged"]


def test_a_named_part_that_is_gone_from_the_bucket_fails_for_good(services, database):
    publish(services, 1, ["ann"])
    snapshot = upload(services, 2, ["bob"], ["cleo"])
    gone = snapshot.parts[1]
    snapshot.parts[1] = replace(gone, generation=1)
    with pytest.raises(DataError, match=r"part-000000000001\.parquet#1.*gone"):
        arrive(services, snapshot.manifest())
    assert users(database) == ["ann"]


def test_a_manifest_of_more_parts_than_one_call_can_stage_goes_on_with_the_next_call(services, database, monkeypatch):
    manifest = upload(services, 1, ["ann"], ["bob"]).manifest()
    with monkeypatch.context() as short_of_time:
        short_of_time.setattr(arrival, "STAGING_SHARE", 0)
        with pytest.raises(IncompleteError, match="more parts"):
            arrive(services, manifest)
    assert arrive(services, manifest) == ["published"]
    assert users(database) == ["ann", "bob"]


def test_an_event_outlives_a_database_that_is_away(services):
    manifest = upload(services, 1, ["ann"]).manifest()
    away = DatabaseUrl("postgresql://recosync:secret@127.0.0.1:9/recosync")
    with pytest.raises(RetryableError) as retried:
        arrive(replace(services, settings=replace(services.settings, database=away)), manifest)
    assert "secret" not in str(retried.value)
    assert arrive(services, manifest) == ["published"]


def test_an_event_outlives_a_server_that_is_read_only_for_a_while(services, here):
    publish(services, 1, ["ann"])
    manifest = upload(services, 2, ["bob"]).manifest()
    with here.cloud.postgres.superuser("postgres") as admin:
        admin.execute(f"ALTER DATABASE {here.name} SET default_transaction_read_only = on")
        with pytest.raises(RetryableError, match="read-only"):
            arrive(services, manifest)
        admin.execute(f"ALTER DATABASE {here.name} RESET default_transaction_read_only")
    assert arrive(services, manifest) == ["published"]


def test_an_event_outlives_a_wrong_database_url(services, here):
    manifest = upload(services, 1, ["ann"]).manifest()
    wrong = DatabaseUrl(here.cloud.postgres.dsn("strange"))
    with pytest.raises(ConfigurationError):
        arrive(replace(services, settings=replace(services.settings, database=wrong)), manifest)


def test_a_rotated_database_url_is_used_from_the_next_event_on(services, here, tmp_path):
    file = tmp_path / "database_url"
    rotated = replace(services, settings=replace(services.settings, database=DatabaseUrl(file=file)))
    manifest = upload(services, 1, ["ann"]).manifest()
    file.write_text(here.cloud.postgres.dsn("before"))
    with pytest.raises(ConfigurationError):
        arrive(rotated, manifest)
    file.write_text(f"{here.dsn}\n")
    assert arrive(rotated, manifest) == ["published"]


def test_connections_say_who_they_are_and_have_bounded_patience(services):
    with connect(services.settings, "test") as connection:
        shown = [one(connection, f"SHOW {name}") for name in ("application_name", "statement_timeout", "lock_timeout")]
    assert shown == ["recosync 540s test", "9min", "18ms"]
