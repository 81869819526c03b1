"""The snapshot manifest."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.daily.manifest import Manifest, ManifestPart, Origin, parse
from shared.db.profile import Profile
from shared.errors import CatalogError, DataError
from shared.names import ObjectVersion, SnapshotFolder, SnapshotId

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

counts = st.integers(0, 2**63 - 1)


def parsed(**changes: object) -> Manifest:
    return parse(json.dumps(DOCUMENT | changes).encode(), FOLDER, COLUMNS)


@given(st.lists(st.tuples(counts, counts, counts), max_size=5), st.booleans())
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


def test_generations_may_be_text_as_the_storage_api_prints_them():
    assert parsed(parts=[PART | {"generation": "1700000000000001"}]).parts[0].generation == 1700000000000001


def test_an_uploader_need_not_count_the_source():
    assert parsed(source_rows=None).source_rows is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"null", "is not a manifest of version 1"),
        (b"[]", "is not a manifest of version 1"),
        (b"{}", "'version'"),
    ],
)
def test_what_is_no_manifest_is_refused(content, what):
    with pytest.raises(DataError, match=what) as e:
        parse(content, FOLDER, COLUMNS)
    assert e.value.where == FOLDER.manifest


@pytest.mark.parametrize("key", list(DOCUMENT))
def test_a_missing_field_is_named(key):
    content = json.dumps({name: value for name, value in DOCUMENT.items() if name != key})
    with pytest.raises(DataError, match=f"'{key}'"):
        parse(content.encode(), FOLDER, COLUMNS)


@pytest.mark.parametrize("key", list(PART))
def test_a_missing_field_of_a_part_is_named(key):
    with pytest.raises(DataError, match=f"'{key}'"):
        parsed(parts=[{name: value for name, value in PART.items() if name != key}])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"version": 0}, "version"),
        ({"version": "1"}, "version"),
        ({"version": "2"}, "version"),
        ({"table": 3}, "table"),
        ({"snapshot_id": "yesterday"}, "YYYYMMDDTHHMMSSZ"),
        ({"snapshot_id": None}, "snapshot_id"),
        ({"source_rows": -1}, "source_rows"),
        ({"source_rows": True}, "source_rows"),
        ({"source_rows": 2.0}, "source_rows"),
        ({"columns": "user_id"}, "TypeError"),
        ({"columns": [{"name": "user_id", "type": None}]}, "type"),
        ({"parts": None}, "TypeError"),
        ({"parts": ["part-0.parquet"]}, "TypeError"),
        ({"parts": [PART | {"generation": "new"}]}, "generation"),
        ({"parts": [PART | {"generation": "²"}]}, "generation"),
        ({"parts": [PART | {"rows": None}]}, "rows"),
        ({"parts": [PART | {"bytes": -5}]}, "bytes"),
        ({"parts": [PART | {"crc32c": 1}]}, "crc32c"),
        ({"parts": [PART | {"name": f"{FOLDER}/1/part-\ud800.parquet"}]}, "surrogates not allowed"),
        ({"parts": [PART | {"name": f"{FOLDER}/manifest.json"}]}, "no part of this snapshot"),
        ({"parts": [PART | {"name": "exports/users/20250101T000000Z/1/part-0.parquet"}]}, "no part of this snapshot"),
        ({"parts": [PART | {"name": "exports/other/20260101T000000Z/1/part-0.parquet"}]}, "no part of this snapshot"),
        ({"parts": [PART | {"name": "part-0.parquet"}]}, "no part of this snapshot"),
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
