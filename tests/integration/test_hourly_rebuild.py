"""A manifest that is missing or damaged: what the objects and BigQuery tell comes back, and nothing is guessed."""

import hashlib
import json

import pytest

from shared.errors import ConfigurationError
from shared.gcp.storage import MAX_DOCUMENT_BYTES
from shared.hourly import export
from shared.names import Hour
from shared.words import quantity
from tests.kit.logs import at, named, place

REBUILT = "hour manifest was rebuilt from objects and BigQuery"


def edit(content):
    document = json.loads(content)
    document["hours"]["10"]["batches"] = []
    document["hours"]["10"]["state"] = "empty"
    return json.dumps(document, indent=1).encode()


def sealed(content, old, new):
    """A manifest of other content, with the checksum of that."""
    body = content.split(b"\n", 2)[2].replace(old, new)
    return b'{\n "checksum": "sha256:%s",\n' % hashlib.sha256(body).hexdigest().encode() + body


#: What becomes of a manifest's bytes.
DAMAGES = {
    "cut off": lambda content: content[:-100],
    "empty": lambda content: b"",
    "no JSON": lambda content: b"\x00\xff gone",
    "edited": edit,
    "a digit changed": lambda content: content.replace(b'"rows": 3', b'"rows": 4', 1),
    "too large": lambda content: content + b" " * MAX_DOCUMENT_BYTES,
    "another day's": lambda content: sealed(content, b'"20260310"', b'"20260311"'),
}


@pytest.fixture(scope="module")
def shared_log(cloud, tmp_path_factory):
    """Hour 10 in two parts, done; many tests damage its manifest, and each sees it come back."""
    with (
        place(cloud, "hourly-rebuild", tmp_path_factory.mktemp("catalog"), "") as log,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(export, "TWO_FROM", 2)
        for minute in (10, 40, 50):
            log.add(10, date=f"2026-03-10 10:{minute}:00")
        log.done(11)
        yield log


@pytest.fixture
def done(shared_log):
    shared_log.errors.clear()
    return shared_log


@pytest.mark.matrix
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_kept_and_rebuilt(done, damage):
    damaged = damage(done.manifest().download_as_bytes())
    blob = done.manifest()
    blob.upload_from_string(damaged)
    assert done.done(12)[10] == "done already"
    assert (done.state(10), done.bigquery()) == ("done", {10: [1, 2, 3]})
    assert "hour manifest is damaged and will be rebuilt" in done.errors[0]
    assert done.errors[1:] == [REBUILT]
    assert done.blob(f"damaged/20260310-{blob.generation}.json").download_as_bytes() == damaged


def test_a_missing_manifest_is_rebuilt(done):
    (before,) = done.entry(10)["batches"]
    done.manifest().delete()
    assert done.done(12)[10] == "done already"
    assert (done.state(10), done.bigquery(), done.errors) == ("done", {10: [1, 2, 3]}, [REBUILT])
    (batch,) = done.entry(10)["batches"]
    assert batch["receipt"] == before["receipt"] | {"postgresql": None}
    assert batch["export"]["parts"] == before["export"]["parts"]


def test_a_manifest_of_a_newer_version_is_left_to_the_code_that_wrote_it(done):
    blob = done.manifest()
    good = blob.download_as_bytes()
    blob.upload_from_string(sealed(good, b'"version": 1', b'"version": 2'))
    before = done.everything()
    with pytest.raises(ConfigurationError, match="was written by another version of this system"):
        done.ask(12)
    assert done.everything() == before
    done.manifest().upload_from_string(good)


def test_what_a_dead_attempt_left_is_removed(done):
    parts = done.objects("date=")
    bucket = done.here.storage_client.bucket(done.here.hourly_bucket)
    for name in (*done.parts(10), *done.parts(10, "keys")):
        for hour in ("10", "11"):
            kind, index = name.split("/")[-1].split("-")[0], name.split("-")[-1]
            orphan = f"{done.folder}date=20260310/hour={hour}/{kind}-1-deadbeef-{index}"
            bucket.copy_blob(done.blob(name), bucket, orphan)
    done.manifest().delete()
    assert done.done(12)[10] == "done already"
    assert (done.objects("date="), done.bigquery()) == (parts, {10: [1, 2, 3]})


def test_an_hour_that_its_objects_and_bigquery_tell_differently_fails_and_says_so(log):
    keys = {hour: log.add(hour) for hour in (10, 11, 12, 13)}
    log.done(14)
    log.blob(log.parts(11)[0]).delete()
    log.blob(log.parts(12, "keys")[0]).delete()
    log.load_by_hand(13, 77)
    log.manifest().delete()
    answer = log.call(15)
    told = {failure["hour"][-2:]: failure["error"] for failure in answer["failed"]}
    assert told.keys() == {"11", "12", "13"}
    for hour, held, known in (("11", 1, 0), ("12", 1, 0), ("13", 2, 1)):
        assert f"BigQuery holds {quantity(held, 'row')} of the hour, the objects account for {known}" in told[hour]
    states = {hour: log.state(hour) for hour in range(10, 15)}
    assert states == {10: "done", 11: "failed", 12: "failed", 13: "failed", 14: "empty"}
    assert log.bigquery() == keys | {13: [*keys[13], 77]}
    log.erase_in_bigquery(11)
    assert log.done(16, **named(11), recover_missed=False) == {11: "exported"}
    assert log.bigquery() == keys | {13: [*keys[13], 77]}


def test_late_rows_are_still_found_and_their_batches_come_back_too(log):
    log.add(10)
    log.done(11)
    for status in ("late rows exported", "done already"):
        log.manifest().delete()
        if status != "done already":
            log.add(10)
        assert log.done(12)[10] == status
        assert [batch["export"]["number"] for batch in log.entry(10)["batches"]] == [1, 2]
        assert log.bigquery() == {10: [1, 2]}


@pytest.fixture
def settled(log):
    """A day whose hours 22 and 23 are all that is owned of it, settled, and the first call of the next."""
    log.change(start=Hour(at(22)), late_hours=0)
    log.done(24)
    blob = log.manifest()
    blob.reload()
    assert blob.metadata["settled"] == "true"
    return log


def spoil(log):
    """Damage the settled day, and leave what its object's metadata say."""
    blob = log.manifest()
    blob.reload()
    spoilt = log.manifest()
    spoilt.metadata = blob.metadata
    spoilt.upload_from_string(b"spoilt")


def test_a_settled_day_is_not_read_again(settled):
    settled.done(25)
    spoil(settled)
    assert settled.done(26) == {25: "empty"}
    assert (settled.errors, settled.objects("damaged")) == ([], set())


def test_a_settled_day_that_the_audit_finds_damaged_spoils_no_answer(settled):
    spoil(settled)
    (key,) = settled.add(24)
    answer = settled.call(25)
    assert [hour["hour"] for hour in answer["hours"]] == ["20260311T00"]
    assert settled.bigquery() == {24: [key]}
    assert any("was cut off or edited by hand" in error for error in settled.errors)


def test_an_hour_that_has_left_the_source_comes_back_as_deleted(log):
    log.add(22, 2)
    log.done(23, delete_from_source=True)
    log.manifest().delete()
    answer = log.call(25)
    assert log.state(22) == "deleted"
    assert [of["hour"] for of in answer["audit"]] == []


def test_a_manifest_that_was_uploaded_again_still_tells_the_first_hour(log):
    log.done(11)
    log.manifest().upload_from_string(log.manifest().download_as_bytes())
    log.change(start=None)
    assert log.done(12) == {11: "empty", 10: "empty"}


def forget(log, hour):
    """BigQuery keeps jobs for six months."""
    for batch in log.entry(hour)["batches"]:
        log.here.bigquery_client.delete_job_metadata(batch["job"], location="EU")


def test_rows_that_only_objects_hold_any_more_are_neither_removed_nor_called_empty(log):
    keys = log.add(10, 3)
    log.done(11)
    objects = log.objects("date=")
    forget(log, 10)
    log.erase_in_bigquery(10)
    log.database.execute("DELETE FROM past_offer_context")
    log.manifest().delete()
    assert "3 rows in objects that no batch accounts for, and nowhere else" in log.failures(12)[10]
    assert (log.state(10), log.state(11), log.objects("date=")) == ("failed", "empty", objects)
    # Asked for again, it still isn't empty.
    assert "that no batch accounts for: the first is" in log.failures(12, **named(10))[10]
    assert (log.state(10), log.objects("date=")) == ("failed", objects)
    for key in keys:
        log.add(10, id=key)
    assert log.done(12, **named(10)) == {10: "exported"}
    assert log.bigquery() == {10: keys}


def test_objects_of_no_known_load_are_removed_once_the_source_is_seen_to_have_their_rows(log):
    keys = log.add(10, 3)
    log.done(11)
    forget(log, 10)
    log.erase_in_bigquery(10)
    log.manifest().delete()
    objects = log.objects("date=")
    assert log.done(12)[10] == "exported"
    assert (log.bigquery(), log.objects("date=") & objects) == ({10: keys}, set())


def test_an_hour_of_which_objects_stand_is_not_called_empty(log):
    log.add(10)
    log.done(11)
    bucket = log.here.storage_client.bucket(log.here.hourly_bucket)
    (name,) = log.parts(10)
    stray = log.folder + name.replace("hour=10", "hour=11")
    bucket.copy_blob(log.blob(name), bucket, stray)
    told = log.failures(12)[11]
    assert "that no batch accounts for: the first is" in told
    assert f"gs://{log.here.hourly_bucket}/{stray}" in told
    assert log.state(11) == "failed"
    bucket.blob(stray).delete()
    assert log.done(12, **named(11))[11] == "empty"
