"""The BigQuery table of a log: made when there is none, given what it lacks, and otherwise never touched."""

from functools import partial

import pytest
from google.cloud.bigquery import SchemaField, Table, TimePartitioning

from shared.errors import ConfigurationError, TargetError
from shared.hourly import schema
from tests.kit.logs import named

NAME = "raw_local.past_offer_context"


def fields(log, **changes):
    """The schema as it should be, but for some columns: None is not there, else a type and a mode, or what makes
    the column of its name.
    """
    made = [SchemaField.from_api_repr(dict(field)) for field in schema.schema(log.table)]
    kept = [field for field in made if field.name not in changes]
    return kept + [SchemaField(name, *of) if isinstance(of, tuple) else of(name) for name, of in changes.items() if of]


def make(log, schema, *, partition_by="import_date", type_="DAY", cluster_by=("import_hour", "user_id")):
    table = Table(f"{log.here.project}.{NAME}", schema)
    table.time_partitioning = TimePartitioning(type_=type_, field=partition_by) if type_ else None
    table.clustering_fields = list(cluster_by) or None
    log.here.bigquery_client.create_table(table)


def shape(log):
    table = log.here.bigquery_client.get_table(NAME)
    days = table.time_partitioning
    return (
        {field.name: (field.field_type, field.mode) for field in table.schema},
        (days.type_, days.field) if days else None,
        table.clustering_fields,
    )


def test_it_is_made_on_first_use_with_partitions_and_clusters(log):
    log.done(11)
    columns, partitions, clusters = shape(log)
    assert columns == {field["name"]: (field["type"], "NULLABLE") for field in schema.schema(log.table)}
    assert list(columns) == [field["name"] for field in schema.schema(log.table)]
    assert (partitions, clusters) == (("DAY", "import_date"), ["import_hour", "user_id"])


def test_one_that_is_as_terraform_made_it_is_used_as_it_is(log):
    make(log, fields(log))
    before = shape(log)
    keys = log.add(10)
    log.done(11)
    assert (shape(log), log.bigquery()) == (before, {10: keys})


def test_columns_that_it_lacks_are_added_and_its_rows_stay(log):
    make(log, fields(log, offer_order=None, offer_extra_data=None))
    log.load_by_hand(3, 77)
    log.add(10, offer_order=5, offer_extra_data="{}")
    log.done(11)
    assert shape(log)[0] == {field["name"]: (field["type"], "NULLABLE") for field in schema.schema(log.table)}
    assert [(row["id"], row["offer_order"], row["offer_extra_data"]) for row in log.rows()] == [
        (1, 5, "{}"),
        (77, None, None),
    ]


#: Columns and a layout that differ, and how the difference is told.
WRONG = {
    "another type": ({"id": ("STRING",)}, {}, "column id is STRING, the catalog says INT64"),
    "a time without zone": ({"date": ("DATETIME",)}, {}, "column date is DATETIME, the catalog says TIMESTAMP"),
    "a double": ({"offer_stock_price": ("FLOAT",)}, {}, "column offer_stock_price is FLOAT64, the catalog says NUM"),
    "required": ({"call_id": ("STRING", "REQUIRED")}, {}, "column call_id is STRING REQUIRED, the catalog says STRING"),
    "repeated": ({"call_id": ("STRING", "REPEATED")}, {}, "column call_id is ARRAY<STRING>, the catalog says STRING"),
    "digits": (
        {"offer_stock_price": partial(SchemaField, field_type="NUMERIC", precision=10, scale=2)},
        {},
        "column offer_stock_price is limited to NUMERIC(10, 2), the catalog's is not: ALTER COLUMN offer_stock",
    ),
    "a length": (
        {"call_id": partial(SchemaField, field_type="STRING", max_length=20)},
        {},
        "column call_id is limited to STRING(20), the catalog's is not: ALTER COLUMN call_id SET DATA TYPE STRING",
    ),
    "a foreign column": ({"loaded_at": ("DATE",)}, {}, "column loaded_at is DATE, the catalog says nothing of it"),
    "no partitions": ({}, {"type_": None}, "it is partitioned by nothing, not by the day of import_date"),
    "another partition": ({}, {"partition_by": "date"}, "by the day of date, not by the day of import_date"),
    "longer partitions": ({}, {"type_": "MONTH"}, "by the month of import_date, not by the day of import_date"),
    "other clusters": ({}, {"cluster_by": ["user_id"]}, "it is clustered by user_id, the catalog says import_hour, us"),
    "clusters in another order": ({}, {"cluster_by": ["user_id", "import_hour"]}, "it is clustered by user_id, import"),
    "no clusters": ({}, {"cluster_by": []}, "it is clustered by nothing, the catalog says import_hour, user_id"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "layout", "what"), WRONG.values(), ids=WRONG)
def test_one_that_differs_is_named_and_left_alone(log, columns, layout, what):
    log.add(10)
    make(log, fields(log, offer_order=None, **columns), **layout)
    before = shape(log), log.everything()
    with pytest.raises(TargetError) as e:
        log.ask(11)
    assert what in str(e.value)
    assert f"{log.here.project}.{NAME}" in str(e.value)
    assert (shape(log), log.everything()) == before


def test_all_differences_are_named_at_once(log):
    make(log, fields(log, id=("STRING",), loaded_at=("DATE",)), type_=None, cluster_by=[])
    with pytest.raises(TargetError) as e:
        log.ask(11)
    for part in ("column id", "column loaded_at", "partitioned by", "clustered by"):
        assert part in str(e.value)


def test_without_its_data_set_the_deployment_is_wrong(log):
    log.here.bigquery_client.delete_dataset("raw_local")
    with pytest.raises(ConfigurationError, match="raw_local") as e:
        log.ask(11)
    assert e.value.retryable
    log.here.bigquery_client.create_dataset("raw_local")


def test_one_that_vanished_is_told_and_not_made_anew_while_manifests_know_of_its_rows(log):
    keys = log.add(10)
    log.done(11)
    log.here.bigquery_client.delete_table(NAME)
    before = log.everything()
    for body in ({}, {**named(10), "delete_from_source": True}):
        with pytest.raises(ConfigurationError, match=r"is gone, though hours were loaded into it\. Restore it") as e:
            log.ask(12, **body)
        assert e.value.retryable
    assert (log.everything(), log.source()) == (before, keys)
    make(log, fields(log))
    assert log.done(12) == {11: "empty", 10: "done already"}


def test_one_that_vanished_with_nothing_in_it_is_made_anew(log):
    log.done(11)
    log.here.bigquery_client.delete_table(NAME)
    log.done(12)
    assert shape(log)[1] == ("DAY", "import_date")
