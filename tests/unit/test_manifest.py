"""The snapshot manifest."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.daily.manifest import Manifest, ManifestPart, Origin, parse
from shared.daily.names import SnapshotFolder
from shared.errors import CatalogError, DataError
from shared.names import ObjectVersion, SnapshotId
from shared.rows.profile import Profile
from tests.kit.mutations import answered, bytes_of

FOLDER = SnapshotFolder("exports", "users", SnapshotId.parse("20260101T000000Z"))
COLUMNS = ["user_id", "booking_cnt"]
PART = {"name": f"{FOLDER}/1/part-0.parquet", "generation": 7, "rows": 2, "bytes": 99, "crc32c": "AAAAAA=="}
DOCUMENT = {
    "version": 1,
    "table": "users",
    "snapshot_id": "20260101T000000Z",
    "source_rows": 2,
    "columns": [{"name": "user_id", "type": "STRING"}, {"name": "booking_cnt", "type": "INT64"}],
    "parts": [PART],
}
PROFILE = {"rows": 2, "columns": {"user_id": {"values": 2, "sum": 8}}, "keys": 2}
AT = "2026-01-01T00:00:00+00:00"
ORIGIN = {"started": AT, "exported": AT, "source_modified": AT, "profile": PROFILE, "types": {"user_id": "text"}}

counts = st.integers(0, 2**63 - 1)


def parsed(**changes: object) -> Manifest:
    return parse(json.dumps(DOCUMENT | changes).encode(), FOLDER, COLUMNS)


@given(st.lists(st.tuples(counts, st.integers(0, 2**60), counts), max_size=5), st.booleans())
def test_a_manifest_reads_back_as_it_was_written(numbers, counted):
    parts = tuple(
        ManifestPart(f"{FOLDER.attempt(1)}part-{i}.parquet", generation, rows, size, "AAAAAA==")
        for i, (generation, rows, size) in enumerate(numbers)
    )
    rows = sum(part.rows for part in parts)
    columns = (("user_id", "STRING"), ("booking_cnt", "INT64"))
    manifest = Manifest("users", FOLDER.snapshot, rows if counted else None, columns, parts)
    assert parse(manifest.to_json(), FOLDER, COLUMNS) == manifest


def test_a_manifest_is_the_documents_contract():
    manifest = parsed()
    assert json.loads(manifest.to_json()) == DOCUMENT
    assert manifest.rows == 2
    assert manifest.versions("b") == [(ObjectVersion("b", PART["name"], 7), 2)]


def test_the_mark_that_some_editors_write_first_is_none_of_the_documents():
    assert parse(b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode(), FOLDER, COLUMNS) == parsed()


@settings(max_examples=400)
@given(bytes_of(DOCUMENT | {"origin": ORIGIN}))
def test_whatever_a_manifest_holds_is_read_or_has_an_answer(content):
    with answered(DataError, CatalogError, where=FOLDER.manifest):
        manifest = parse(content, FOLDER, COLUMNS)
        assert all(part.rows < 2**63 for part in manifest.parts)
        assert parse(manifest.to_json(), FOLDER, COLUMNS) == manifest


def test_generations_may_be_text_as_the_storage_api_prints_them():
    assert parsed(parts=[PART | {"generation": "1700000000000001"}]).parts[0].generation == 1700000000000001


def test_an_uploader_need_not_count_the_source():
    assert parsed(source_rows=None).source_rows is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON in UTF-8"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "the document should be an object, and is a list"),
        (b'{"version": 1, "x": ' + b"[" * 100_000, "is not JSON"),
        (b"null", "is not a manifest of version 1"),
        (b"[]", "is not a manifest of version 1"),
        (b"{}", "the document lacks version"),
        ("{}".encode("utf-16"), "is not JSON in UTF-8"),
    ],
)
def test_what_is_no_manifest_is_refused(content, what):
    with pytest.raises(DataError, match=what) as e:
        parse(content, FOLDER, COLUMNS)
    assert e.value.where == FOLDER.manifest


@pytest.mark.parametrize("key", list(DOCUMENT))
def test_a_missing_field_is_named(key):
    content = json.dumps({name: value for name, value in DOCUMENT.items() if name != key})
    with pytest.raises(DataError, match=f"the document lacks {key}"):
        parse(content.encode(), FOLDER, COLUMNS)


@pytest.mark.parametrize("key", list(PART))
def test_a_missing_field_of_a_part_is_named(key):
    with pytest.raises(DataError, match=rf"parts\[1\] lacks {key}"):
        parsed(parts=[PART, {name: value for name, value in PART.items() if name != key}])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"version": 0}, "version should be a whole number >= 1"),
        ({"version": "1"}, "version should be a whole number, and is text"),
        ({"version": "2"}, "version should be a whole number, and is text"),
        ({"version": True}, "version should be a whole number, and is true or false"),
        ({"version": 2**40}, "version should be a whole number <= 999"),
        ({"table": 3}, "table should be text"),
        ({"table": "u\0"}, "table is not spelt as it should be"),
        ({"snapshot_id": "yesterday"}, "snapshot_id is not written YYYYMMDDTHHMMSSZ"),
        ({"snapshot_id": None}, "snapshot_id should be text, and is null"),
        ({"source_rows": -1}, "source_rows should be a whole number >= 0"),
        ({"source_rows": True}, "source_rows should be a whole number or text or null, and is true or false"),
        ({"source_rows": 2.0}, "source_rows should be"),
        ({"source_rows": 2**63}, "source_rows should be a whole number <= 9223372036854775807"),
        ({"columns": "user_id"}, "columns should be a list, and is text"),
        ({"columns": [{"name": "user_id", "type": None}]}, "columns[0].type should be text, and is null"),
        ({"parts": None}, "parts should be a list, and is null"),
        ({"parts": {}}, "parts should be a list, and is an object"),
        ({"parts": ["part-0.parquet"]}, "parts[0] should be an object, and is text"),
        ({"parts": [PART, PART | {"generation": "new"}]}, "parts[1].generation is not spelt as it should be"),
        ({"parts": [PART | {"generation": "²"}]}, "parts[0].generation is not spelt"),
        ({"parts": [PART | {"generation": "9" * 19}]}, "parts[0].generation is not spelt"),
        ({"parts": [PART | {"rows": None}]}, "parts[0].rows should be a whole number or text, and is null"),
        ({"parts": [PART | {"rows": 2**64}]}, "parts[0].rows should be a whole number <= 9223372036854775807"),
        ({"parts": [PART | {"rows": 10**4_000}]}, "parts[0].rows"),
        ({"parts": [PART | {"bytes": -5}]}, "parts[0].bytes should be a whole number >= 0"),
        ({"parts": [PART | {"crc32c": 1}]}, "parts[0].crc32c should be text"),
        ({"parts": [PART | {"name": f"{FOLDER}/1/part-\ud800.parquet"}]}, "is not JSON in UTF-8"),
        ({"parts": [PART | {"name": f"{FOLDER}/1/part-{'x' * 2_000}.parquet"}]}, "parts[0].name should be text of len"),
        ({"parts": [PART | {"name": f"{FOLDER}/manifest.json"}]}, "parts[0].name is no part of this snapshot"),
        ({"parts": [PART | {"name": "exports/users/20250101T000000Z/1/part-0.parquet"}]}, "no part of this snapshot"),
        ({"parts": [PART | {"name": "exports/other/20260101T000000Z/1/part-0.parquet"}]}, "no part of this snapshot"),
        ({"parts": [PART | {"name": "part-0.parquet"}]}, "no part of this snapshot"),
        ({"origin": []}, "origin should be an object or null, and is a list"),
        ({"origin": ORIGIN | {"started": "secret"}}, "origin.started should be a time as RFC 3339 writes it"),
        ({"origin": ORIGIN | {"started": "2026-01-01T00:00:00"}}, "origin.started should be a time with a timezone"),
        ({"origin": ORIGIN | {"exported": "0001-01-01T00:00:00+09:00"}}, "origin has a time of before 1970"),
        ({"origin": ORIGIN | {"profile": {"rows": 2, "columns": {"a": 1}}}}, "origin.profile.columns[...] should be"),
        (
            {"origin": ORIGIN | {"profile": PROFILE | {"keys": 3}}},
            "origin.profile counts more values or keys than rows",
        ),
        ({"origin": ORIGIN | {"types": {"user_id": 1}}}, "origin.types[...] should be text"),
    ],
)
def test_a_malformed_field_is_named(changes, what):
    with pytest.raises(DataError, match="is not a manifest of version 1") as e:
        parsed(**changes)
    assert what in e.value.what


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"table": "others"}, "another table or snapshot"),
        ({"snapshot_id": "20260102T000000Z"}, "another table or snapshot"),
        (
            {"columns": DOCUMENT["columns"][::-1]},
            "the columns booking_cnt, user_id, the catalog says user_id, booking_cnt",
        ),
        ({"columns": []}, "the catalog says user_id, booking_cnt"),
        ({"parts": [PART, PART | {"generation": 8}], "source_rows": 4}, "names a part twice"),
        ({"parts": [PART | {"rows": 2**62}] * 2, "source_rows": None}, "counts more than 9223372036854775807 rows"),
        ({"source_rows": 3}, "counts 2 rows in its parts but 3 in the source"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_the_catalog_is_refused(changes, what):
    with pytest.raises(DataError, match=what):
        parsed(**changes)


def columns(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "type": "STRING"} for name in names]


@pytest.mark.parametrize("names", [["user_id"], ["user_id", "booking_cnt", "age"], ["user_id", "bookings"]])
def test_columns_that_another_version_of_the_catalog_may_have_are_no_failure_for_good(names):
    with pytest.raises(CatalogError, match="the catalog says user_id, booking_cnt"):
        parsed(columns=columns(*names))


@pytest.mark.parametrize("names", [["user_id", "user_id"], ["user_id", "booking cnt"]])
def test_columns_that_no_catalog_has_are_a_mistake(names):
    with pytest.raises(DataError, match="the catalog says user_id, booking_cnt"):
        parsed(columns=columns(*names))


def test_our_own_export_for_another_catalog_is_told_from_a_mistake():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    origin = Origin(at, at, None, Profile(2), {"user_id": "text", "booking_cnt": "bigint"})
    manifest = replace(parsed(), origin=origin)
    assert parse(manifest.to_json(), FOLDER, COLUMNS) == manifest
    with pytest.raises(CatalogError, match="the catalog says booking_cnt, user_id"):
        parse(manifest.to_json(), FOLDER, COLUMNS[::-1])


def test_a_manifest_of_a_later_version_waits_for_the_functions_that_know_it():
    with pytest.raises(CatalogError, match="of version 2, and this code knows 1"):
        parsed(version=2, parts="other fields")
