"""The messages' schemas: what stands in docs/ is what the code sends, and what a subscriber may build on."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from shared.catalog import ROOT
from shared.operate.message_schemas import SCHEMAS, to_json

FOLDER = ROOT / "docs" / "schemas"

#: A message of each, as docs/messages.md shows its body.
EVENT = {
    "ce-id": "1",
    "ce-source": "/projects/p/recosync/dev",
    "ce-subject": "s",
    "ce-time": "2026-01-01T00:00:00Z",
    "ce-specversion": "1.0",
}
JSON = {"content-type": "application/json"}
ATTRIBUTES = {
    "published.v1.json": {
        "ce-type": "recosync.table.v1.published",
        "table": "t",
        "snapshot_id": "20260101T000000Z",
        "publication": "1767243844013",
    },
    "refreshed.v1.json": {"ce-type": "recosync.view.v1.refreshed", "view": "v", **JSON},
    "hour_done.v1.json": {"ce-type": "recosync.hour.v1.done", "table": "t", **JSON},
}


def shown():
    """The bodies that the page shows, in its order."""
    page = (ROOT / "docs" / "messages.md").read_text()
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def message(file):
    bodies = dict(zip(list(SCHEMAS)[1:], shown(), strict=True))
    whole = {"attributes": {**EVENT, **ATTRIBUTES[file]}}
    return whole | ({"data": bodies[file]} if file in bodies else {})


def valid(file, document):
    return jsonschema.Draft202012Validator(json.loads((FOLDER / file).read_bytes())).is_valid(document)


@pytest.mark.parametrize("file", SCHEMAS)
def test_the_committed_schema_is_the_one_of_the_types_that_are_sent(file):
    assert (FOLDER / file).read_bytes() == to_json(SCHEMAS[file]), (
        "run: python -m shared.operate.message_schemas docs/schemas"
    )


def test_no_other_schema_stands_there():
    assert {file.name for file in FOLDER.glob("*.v*.json")} == SCHEMAS.keys()


@pytest.mark.parametrize("file", SCHEMAS)
def test_what_the_page_shows_is_a_message_and_may_gain_fields(file):
    whole = message(file)
    assert valid(file, whole)
    assert valid(file, {**whole, "attributes": {**whole["attributes"], "new": "n"}})
    assert "data" not in whole or valid(file, {**whole, "data": {**whole["data"], "new": 1}})


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_message_that_lacks_something_is_none(file):
    whole = message(file)
    for part in whole:
        for name in whole[part]:
            less = {other: value for other, value in whole[part].items() if other != name}
            assert not valid(file, {**whole, part: less}), name
