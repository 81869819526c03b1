"""The BigQuery schema of a log, which Terraform reads from a file."""

import json

import pytest

from shared import catalog
from shared.hourly import schema

LOGS = catalog.load().hourly
FOLDER = catalog.Place.here().schemas


@pytest.mark.parametrize("name", LOGS)
def test_the_file_that_terraform_reads_is_what_the_function_makes(name):
    assert (FOLDER / f"{name}.json").read_text() == schema.to_json(LOGS[name])


def test_there_is_a_file_for_every_log_and_no_other():
    assert {file.stem for file in FOLDER.glob("*.json")} == set(LOGS)


def test_a_schema_has_the_logs_columns_and_the_two_of_its_hours():
    fields = json.loads(schema.to_json(LOGS["past_offer_context"]))
    assert [field["name"] for field in fields] == [
        *(column.name for column in LOGS["past_offer_context"].columns),
        "import_date",
        "import_hour",
    ]
    types = {field["name"]: field["type"] for field in fields}
    assert {name: types[name] for name in ("id", "date", "context", "offer_item_score", "offer_creation_date")} == {
        "id": "INTEGER",
        "date": "TIMESTAMP",
        "context": "STRING",
        "offer_item_score": "FLOAT",
        "offer_creation_date": "DATETIME",
    }
    assert (types["import_date"], types["import_hour"]) == ("DATE", "INTEGER")
    assert {field["mode"] for field in fields} == {"NULLABLE"}
