"""The BigQuery schema of a log."""

from shared import catalog
from shared.hourly import schema

LOGS = catalog.load().hourly


def test_a_schema_has_the_logs_columns_and_the_two_of_its_hours():
    fields = schema.schema(LOGS["past_offer_context"])
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
