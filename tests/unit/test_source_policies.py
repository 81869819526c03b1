"""A column that BigQuery may mask for the account that exports it is refused by its name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from google.cloud.bigquery import SchemaField

from shared.catalog import load
from shared.daily import source
from shared.errors import SourceError
from shared.gcp.bigquery import TableInfo, _field
from shared.names import DatasetRef

TAG = {"policyTags": {"names": ["projects/p/locations/eu/taxonomies/1/policyTags/2"]}}
POLICY = {"dataPolicies": [{"name": "projects/p/locations/eu/dataPolicies/mask"}]}


def services(**policies):
    """BigQuery has the source of bookings, with these policies of its columns."""
    fields = [
        _field(
            SchemaField.from_api_repr({"name": name, "type": "STRING", "mode": "NULLABLE", **policies.get(name, {})})
        )
        for name in ("user_id", "item_id", "more")
    ]

    def table(ref):
        return TableInfo(ref, "TABLE", "europe-west1", 1, tuple(fields))

    datasets = {name: DatasetRef(None, "sources") for name in load().dataset_variables}
    settings = SimpleNamespace(project="project", datasets=datasets)
    return SimpleNamespace(settings=settings, bigquery=SimpleNamespace(table=table))


@pytest.fixture
def bookings():
    return load().tables["non_recommendable_items_data"]


@pytest.mark.parametrize("policy", [TAG, POLICY], ids=["tag", "policy"])
def test_a_column_that_may_be_masked(bookings, policy):
    with pytest.raises(SourceError, match="may mask item_id for this account"):
        source.check(services(item_id=policy), bookings)


def test_one_that_does_not_travel(bookings):
    assert source.check(services(more=TAG), bookings).rows == 1
