"""docs/data.md has the tables of types that the catalog takes."""

import os

import pytest

from shared.catalog import log_type_table, type_table
from tests.kit.commands import recosync
from tests.kit.documents import ROOT


@pytest.mark.parametrize(("head", "known"), [("PostgreSQL", type_table), ("A log's PostgreSQL", log_type_table)])
def test_the_documented_types_are_those_of_the_catalog(head, known):
    text = (ROOT / "docs" / "data.md").read_text()
    _, _, after = text.partition(f"\n| {head} | BigQuery |\n| --- | --- |\n")
    rows, _, _ = after.partition("\n\n")
    assert rows.splitlines() == [f"| {type_} | {others} |" for type_, others in known()]


def test_the_types_are_told_without_an_environment(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    ran = recosync("catalog", "types", "--json")
    assert ran.code == 0
    for kind, known in (("types", type_table()), ("log_types", log_type_table())):
        assert [(row["postgresql"], row["bigquery"]) for row in ran.json[kind]] == known
    assert "timestamptz" in recosync("catalog", "types").out
