"""The schemas in docs/schemas are those of the answers' types. Real answers are checked where they are made."""

from __future__ import annotations

import jsonschema
import pytest

from tests.kit.answer_schemas import ANSWERS, FOLDER, checked, schema, text

TABLE = {"table": "users", "error": "no such table", "retryable": False}
DONE = {"tables": [], "failed": [TABLE], "housekeeping": None}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_schema_in_the_docs_is_that_of_the_answers(name):
    committed = (FOLDER / f"{name}.schema.json").read_text()
    assert committed == text(name), "run: python -m tests.kit.answer_schemas"
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert [each for each, of in schema(name)["$defs"].items() if not of["description"]] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {**DONE, "tables": None},
        {**DONE, "failed": [{**TABLE, "retryable": "no"}]},
        {**DONE, "failed": [{**TABLE, "at": "noon"}]},
        {"tables": [], "failed": []},
        {"error": 1},
        {},
        [],
    ],
)
def test_an_answer_of_another_form_is_told(wrong):
    assert checked("bq_export", DONE)
    with pytest.raises(jsonschema.ValidationError):
        checked("bq_export", wrong)


def test_a_reader_of_a_schema_lives_with_fields_to_come():
    jsonschema.Draft202012Validator(schema("bq_export")).validate({**DONE, "to_come": 1})
