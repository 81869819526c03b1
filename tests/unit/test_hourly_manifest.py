"""The hour manifest: what it says of an hour, and how one that was tampered with is known."""

import hashlib
import itertools
import json
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local import ROOT
from shared.errors import ConfigurationError, DataError
from shared.hourly.manifest import (
    NOTHING,
    Audit,
    Batch,
    BatchReceipt,
    Content,
    DamagedError,
    DayManifest,
    Deletion,
    Difference,
    Export,
    Exported,
    Exporting,
    Failure,
    HourRecord,
    Loaded,
    OtherVersionError,
    Owed,
    Part,
    StoredFile,
    batch_id,
    parse,
)
from shared.names import Hour, ObjectVersion
from tests.kit.mutations import answered, bytes_of, mutated

AT = datetime(2026, 1, 2, 4, 5, 6, 789012, tzinfo=UTC)
DAY = date(2026, 1, 2)
START = Hour.parse("20260101T05")
CONTENT = Content(2, "30", "26")

int64 = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 10**15)
keys = st.lists(int64, max_size=20)
contents = st.builds(Content, st.integers(0, 2**40), int64.map(str), int64.map(str))
instants = st.datetimes(timezones=st.just(UTC))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
attempts = st.text("0123456789abcdef", min_size=1, max_size=8)
files = st.builds(StoredFile, texts, st.integers(1, 2**62), st.integers(0, 2**40), texts)
parts = st.builds(Part, st.integers(0, 2**40), files, files)
exports = st.builds(
    Export,
    st.integers(1, 9),
    attempts,
    st.lists(parts, min_size=1, max_size=2).map(tuple),
    contents,
    contents,
    st.none() | st.dictionaries(texts, st.integers(1, 9), max_size=2),
    instants,
    st.integers(1, 3),
    st.lists(attempts, max_size=2).map(tuple),
)
receipts = st.builds(BatchReceipt, st.none() | contents, contents, contents)
batches = st.builds(Batch, exports, texts, receipts, instants, instants)
works = st.one_of(
    st.none(),
    st.builds(Exporting, st.integers(1, 9), attempts, instants, st.just(("0b", "0c"))),
    st.builds(Exported, exports),
    st.builds(Loaded, exports, texts, instants),
)
records = st.builds(
    lambda *fields: HourRecord(*fields),
    st.lists(batches, min_size=2, max_size=2).map(tuple) | st.just(()),
    works,
    st.none() | st.builds(Deletion, instants, st.just(0), st.integers(0, 9), contents),
    st.none() | st.builds(Failure, instants, texts),
)
audits = st.none() | st.builds(
    Audit,
    instants,
    st.lists(st.builds(Difference, st.just("20260101T05"), counts, counts), max_size=2).map(tuple),
    later_rows=st.none() | st.integers(0, 9),
)


def content_of(keys):
    total = NOTHING
    for key in keys:
        total += Content.of(1, key, key)
    return total


PART = Part(2, StoredFile("part", 1, 9, "AAAAAA=="), StoredFile("keys", 2, 8, "AAAAAA=="))


def batch(number=1, content=CONTENT):
    export = Export(number, "0a1b2c3d", (PART,), content, NOTHING, {}, AT)
    return Batch(export, "job", BatchReceipt(content, content, content), AT, AT)


def sealed(**changes):
    """A manifest whose fields another writer changed, with the checksum of what it then says."""
    document = json.loads(DayManifest.new("log", DAY, START).to_json())
    del document["checksum"]
    return seal(json.dumps(document | changes).encode())


def seal(document):
    body = document.removeprefix(b"{")
    return b'{\n "checksum": "sha256:%s",\n' % hashlib.sha256(body).hexdigest().encode() + body


@given(keys, keys)
def test_the_contents_of_two_sets_of_rows_add_up_to_those_of_both(some, others):
    assert content_of(some) + content_of(others) == content_of([*some, *others])
    assert content_of([*some, *others]) - content_of(some) == content_of(others)


@given(st.permutations([3, -5, 2**63 - 1, -(2**63), 7]))
def test_a_content_is_the_same_in_any_order(keys):
    assert content_of(keys) == content_of([3, -5, 2**63 - 1, -(2**63), 7])


@given(keys, int64, int64)
def test_a_row_that_took_anothers_place_shows(keys, one, other):
    assert (content_of([*keys, one]) == content_of([*keys, other])) is (one == other)


@pytest.mark.parametrize("aggregates", [(0, None, None), ("0", "0", "0"), (0, 0, 0)])
def test_the_aggregates_of_no_rows_are_nothing(aggregates):
    assert Content.of(*aggregates) == NOTHING


@given(st.dictionaries(st.integers(0, 23), records, max_size=3), audits)
def test_a_manifest_reads_back_as_it_was_written(hours, audit):
    manifest = DayManifest.new("log", DAY, START)
    for number, record in hours.items():
        manifest = manifest.with_record(Hour.of_day(DAY, number), record)
    if audit is not None:
        manifest = manifest.with_audit(audit)
    read = parse(manifest.to_json(), "log", DAY, "where")
    assert read == manifest
    assert [read.record(Hour.of_day(DAY, number)) for number in hours] == list(hours.values())
    assert read.to_json() == manifest.to_json()


def test_a_manifest_is_a_document_of_this_shape():
    record = HourRecord((batch(),), deletion=Deletion(AT, 1, 2))
    manifest = DayManifest.new("log", DAY, START).with_record(Hour.of_day(DAY, 3), record)
    content = {"rows": 2, "key_sum": "30", "key_xor": "26"}
    document = json.loads(manifest.to_json())
    assert document.pop("checksum").startswith("sha256:")
    assert document == {
        "version": 1,
        "table": "log",
        "date": "20260102",
        "start": "20260101T05",
        "audit": None,
        "hours": {
            "03": {
                "state": "deleted",
                "work": None,
                "failure": None,
                "deletion": {
                    "asked_at": "2026-01-02T04:05:06.789012Z",
                    "batches": 1,
                    "rows": 2,
                    "kept": {"rows": 0, "key_sum": "0", "key_xor": "0"},
                },
                "batches": [
                    {
                        "job": "job",
                        "loaded_at": "2026-01-02T04:05:06.789012Z",
                        "verified_at": "2026-01-02T04:05:06.789012Z",
                        "receipt": {"postgresql": content, "parquet": content, "bigquery": content},
                        "export": {
                            "number": 1,
                            "attempt": "0a1b2c3d",
                            "parts": [
                                {
                                    "rows": 2,
                                    "data": {"name": "part", "generation": 1, "bytes": 9, "crc32c": "AAAAAA=="},
                                    "keys": {"name": "keys", "generation": 2, "bytes": 8, "crc32c": "AAAAAA=="},
                                }
                            ],
                            "content": content,
                            "before": {"rows": 0, "key_sum": "0", "key_xor": "0"},
                            "rounded": {},
                            "exported_at": "2026-01-02T04:05:06.789012Z",
                            "load_attempt": 1,
                            "superseded": [],
                        },
                    }
                ],
            }
        },
    }


def test_the_checksum_comes_first_and_is_that_of_all_that_follows_it():
    content = DayManifest.new("log", DAY, START).with_record(Hour.of_day(DAY, 3), HourRecord((batch(),))).to_json()
    assert next(iter(json.loads(content))) == "checksum"
    assert seal(b"{" + content.split(b"\n", 2)[2]) == content
    assert parse(sealed(), "log", DAY, "where") == DayManifest.new("log", DAY, START)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000),
        *(sealed()[:-20], sealed()[:30], b" " + sealed(), sealed() + b"\n"),
        json.dumps(json.loads(sealed())).encode(),
    ],
)
def test_what_is_cut_off_or_was_written_by_hand_is_damaged(content):
    with pytest.raises(DamagedError, match="was cut off or edited by hand: its checksum is not that") as e:
        parse(content, "log", DAY, "gs://bucket/name")
    assert e.value.where == "gs://bucket/name"


@pytest.mark.parametrize("changes", [{"table": "other"}, {"date": "20260103"}])
def test_another_tables_or_days_manifest_is_damaged(changes):
    with pytest.raises(DamagedError, match="is another table's or day's"):
        parse(sealed(**changes), "log", DAY, "where")


GOOD = (
    DayManifest.new("log", DAY, START)
    .with_record(
        Hour.of_day(DAY, 3),
        HourRecord((batch(),), Loaded(batch(2).export, "job", AT), Deletion(AT), Failure(AT, "why")),
    )
    .with_audit(Audit(AT, (Difference("20260101T05", 1, 2),)))
)
DOCUMENT = {name: value for name, value in json.loads(GOOD.to_json()).items() if name != "checksum"}
INSTANT = "2026-01-01T00:00:00Z"


def with_export(**changes):
    """A record of an hour, in JSON, with a batch whose export has these fields."""
    record = json.loads(GOOD.to_json())["hours"]["03"]
    record["batches"][0]["export"] |= changes
    return record


HUGE = {"rows": 2**63, "key_sum": "0", "key_xor": "0"}
MALFORMED_BATCHES = [
    (
        with_export(content={"rows": 2, "key_sum": "x", "key_xor": "0"}),
        "batches[0].export.content.key_sum is not spelt",
    ),
    (with_export(content={"rows": 2, "key_sum": "0" * 99, "key_xor": "0"}), ".export.content.key_sum is not spelt"),
    (with_export(before={"rows": 2, "key_sum": "1", "key_xor": "٣"}), "batches[0].export.before.key_xor is not spelt"),
    (with_export(content=HUGE), "batches[0].export.content.rows should be a whole number <= 1000000000000000"),
    (with_export(parts=[]), "batches[0].export.parts should be a list of length >= 1"),
    (with_export(attempt="../x"), "batches[0].export.attempt is not spelt as it should be"),
    (with_export(number=0), "batches[0].export.number should be a whole number >= 1"),
    (with_export(exported_at="2026-01-01T00:00:00"), "batches[0].export.exported_at should be a time with a timezone"),
]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"version": 2}, "version has a value that is not known here"),
        ({"version": "1"}, "version should be a whole number, and is text"),
        ({"version": True}, "version should be a whole number, and is true or false"),
        ({"colour": "red"}, "the document has a field that is not known here, colour"),
        ({"no name": "red"}, "the document has a field that is not known here. Deploy"),
        ({"start": "yesterday"}, "start is not spelt as it should be"),
        ({"start": "20260230T00"}, "start is no hour written YYYYMMDDTHH"),
        ({"start": "00010101T00"}, "start is before 1970"),
        ({"hours": []}, "hours should be an object, and is a list"),
        ({"hours": {"24": {}}}, "a key of hours is not spelt as it should be"),
        ({"hours": {"aa": {}}}, "a key of hours is not spelt as it should be"),
        ({"hours": {"٠٣": {}}}, "a key of hours is not spelt as it should be"),
        ({"hours": {"03": {"state": "done"}}}, "hours[...] the state should be empty"),
        ({"hours": {"03": {"state": "asleep"}}}, "hours[...].state has a value that is not known here"),
        ({"hours": {"03": {"work": {"step": "dreaming"}}}}, "hours[...].work.step has a value that is not known here"),
        (
            {"hours": {"03": {"deletion": {"asked_at": INSTANT, "batches": 1}}}},
            "hours.03.deletion.batches is more than",
        ),
        *(({"hours": {"03": record}}, what) for record, what in MALFORMED_BATCHES),
    ],
)
def test_what_another_version_of_this_code_wrote_is_left_to_that_one(changes, what):
    with pytest.raises(ConfigurationError, match="was written by another version of this system") as e:
        parse(sealed(**changes), "log", DAY, "where")
    assert what in str(e.value)
    assert e.value.retryable


@settings(max_examples=300)
@given(bytes_of(DOCUMENT))
def test_whatever_is_sealed_is_read_or_has_an_answer(content):
    with answered(OtherVersionError, DamagedError, where="where: "):
        parse(seal(content), "log", DAY, "where")


@given(mutated(DOCUMENT))
def test_whatever_is_sealed_can_be_told_of_and_written_again(document):
    with answered(OtherVersionError, DamagedError, where="where: "):
        manifest = parse(seal(json.dumps(document).encode()), "log", DAY, "where")
        assert parse(manifest.to_json(), "log", DAY, "where") == manifest
        for number, record in manifest.hours.items():
            assert manifest.record(Hour.of_day(DAY, int(number))) == record
            assert record.content - record.content == Content(0, "0", "0")
            assert record.settled in (True, False)
        assert manifest.settled in (True, False)


def test_what_is_sealed_and_no_json_is_another_versions():
    with pytest.raises(ConfigurationError, match="another version of this system: is not JSON in UTF-8"):
        parse(seal(b"{ never }"), "log", DAY, "where")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"20260101T05"', b'"20260101T06"'),
        (b'"key_sum": "30"', b'"key_sum": "31"'),
        (b'"03"', b'"04"'),
        (b'"0a1b2c3d"', b'"0a1b2c3e"'),
        (b"sha256:", b"sha256:0"),
        (b'"rounded": {}', b'"rounded": null'),
        (b"06.789012Z", b"06.789013Z"),
        (b" ", b"  "),
    ],
)
def test_an_edit_by_hand_shows(old, new):
    content = DayManifest.new("log", DAY, START).with_record(Hour.of_day(DAY, 3), HourRecord((batch(),))).to_json()
    assert old in content
    with pytest.raises(DamagedError, match="edited by hand"):
        parse(content.replace(old, new), "log", DAY, "where")


WORKS = {
    None: None,
    "exporting": Exporting(1, "0a", AT),
    "exported": Exported(batch().export),
    "loaded": Loaded(batch().export, "job", AT),
}


@pytest.mark.parametrize(
    ("batches", "work", "deletion", "failed"),
    list(itertools.product([0, 1, 2], WORKS, [None, 0, 1, 2], [False, True])),
)
def test_the_state_follows_from_the_record(batches, work, deletion, failed):
    if failed:
        expected = "failed"
    elif work is not None:
        expected = work
    elif not batches:
        expected = "empty"
    elif deletion is None:
        expected = "done"
    else:
        expected = "deleted" if deletion == batches else "deleting"
    record = HourRecord(
        tuple(batch(number + 1) for number in range(batches)),
        WORKS[work],
        None if deletion is None else Deletion(AT, deletion),
        Failure(AT, "why") if failed else None,
    )
    assert record.state == expected
    assert record.settled is (expected in ("failed", "empty", "done", "deleted"))
    assert record.content.rows == 2 * batches


def test_a_record_that_changes_has_the_state_of_what_it_has_become():
    record = HourRecord(work=WORKS["loaded"])
    done = record.change(work=None, batches=(batch(),))
    assert (record.state, done.state, done.change(deletion=Deletion(AT)).state) == ("loaded", "done", "deleting")


def test_a_record_that_moves_on_has_not_failed():
    failed = HourRecord(work=WORKS["exported"], failure=Failure(AT, "why"))
    assert (failed.state, failed.change(work=WORKS["loaded"]).state) == ("failed", "loaded")


def test_a_failure_is_told_as_it_can_be_shown_whoever_wrote_it():
    failure = Failure(AT, "\u202e\0" + "x" * 10**6)
    assert failure.error.startswith(r"\u202e\u0000xx")
    assert len(failure.error.encode()) < 8_000
    longest = DataError("w" * 10**4, where="p" * 10**4, remedy="r" * 10**4)
    assert Failure(AT, str(longest)).error == str(longest)


def test_the_source_should_hold_what_was_exported_until_it_is_deleted():
    both = (batch(1), batch(2, Content(1, "7", "7")))
    assert HourRecord().source_content == NOTHING
    assert HourRecord(both).source_content == Content(3, "37", "29")
    assert HourRecord(both, deletion=Deletion(AT)).source_content is None
    assert HourRecord(work=WORKS["exporting"]).source_content == NOTHING
    assert HourRecord(both, deletion=Deletion(AT, 1, 2)).source_content is None
    kept = Content(1, "9", "9")
    assert HourRecord(both, deletion=Deletion(AT, 2, 2, kept)).source_content == kept


def settled_day(start=START, day=DAY, missing=(), **hours):
    manifest = DayManifest.new("log", day, start)
    for number in set(range(24)) - set(missing):
        manifest = manifest.with_record(Hour.of_day(day, number), hours.get(f"h{number:02d}", HourRecord()))
    return manifest.settled


def test_a_day_is_settled_when_no_run_needs_to_come_back_to_it():
    assert settled_day(h03=HourRecord((batch(),)), h04=HourRecord(failure=Failure(AT, "why")))
    assert not settled_day(missing=[23])
    assert not settled_day(h03=HourRecord(work=WORKS["exporting"]))
    assert not settled_day(h03=HourRecord((batch(),), deletion=Deletion(AT)))
    assert not settled_day(h03=HourRecord((batch(),)).owing(1, AT))
    assert settled_day(h03=HourRecord((batch(),)).owing(1, AT).told())


def test_what_is_owed_outlives_each_step_of_an_hour_and_leaves_nothing_once_it_is_sent():
    record = HourRecord((batch(),), failure=Failure(AT, "why")).owing(1, AT)
    assert record.change(work=WORKS["exporting"]).owing(2, AT).owes == (Owed(1, AT), Owed(2, AT))
    assert record.told() == HourRecord((batch(),), failure=Failure(AT, "why"))
    for number, known in ((3, HourRecord((batch(),))), (4, HourRecord())):
        fields = json.loads(settled(number, known))["hours"][f"{number:02d}"]
        assert fields.keys() == {"batches", "work", "deletion", "failure", "state"}


def settled(number, record):
    return DayManifest.new("log", DAY, START).with_record(Hour.of_day(DAY, number), record).to_json()


def test_hours_before_the_first_owned_one_are_nobodys():
    assert settled_day(Hour.of_day(DAY, 5), missing=range(5))
    assert not settled_day(Hour.of_day(DAY, 5), missing=range(6))
    assert not settled_day(Hour.of_day(date(2026, 1, 1), 5), missing=range(5))


def test_stored_files_and_batches_are_found_by_their_names():
    assert StoredFile("name", 7, 1, "").version("bucket") == ObjectVersion("bucket", "name", 7)
    hour = Hour.of_day(DAY, 3)
    assert str(batch_id(hour, batch().export)) == str(batch_id(hour, Exporting(1, "0a1b2c3d", AT)))
    assert str(batch_id(hour, batch(2).export)) == "20260102T03-2-0a1b2c3d"


FIRST_READ = """
import sys, threading
from datetime import UTC, date, datetime
from shared.hourly.manifest import DayManifest, parse
from shared.names import Hour

sys.setswitchinterval(1e-6)
day = date(2026, 3, 10)
document = DayManifest.new("log", day, Hour(datetime(2026, 3, 10, tzinfo=UTC))).to_json()
together = threading.Barrier(4)

def read():
    together.wait()
    parse(document, "log", day, "test")

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_be_the_first_to_read_manifests():
    """What a process does once can crash it once, so it takes processes: every second one died."""
    ended = [subprocess.run([sys.executable, "-c", FIRST_READ], cwd=ROOT).returncode for _ in range(8)]
    assert ended == [0] * 8
