"""docs/data.md has the table of types that the catalog takes."""

import os

from shared.catalog import type_table
from tests.kit.commands import recosync
from tests.kit.documents import ROOT


def test_the_documented_types_are_those_of_the_catalog():
    text = (ROOT / "docs" / "data.md").read_text()
    _, _, after = text.partition("| PostgreSQL | BigQuery |\n| --- | --- |\n")
    rows, _, _ = after.partition("\n\n")
    assert rows.splitlines() == [f"| {type_} | {sources} |" for type_, sources in type_table()]


def test_the_types_are_told_without_an_environment(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    ran = recosync("catalog", "types", "--json")
    assert ran.code == 0
    assert [(row["postgresql"], row["bigquery"]) for row in ran.json["types"]] == type_table()
    assert "timestamptz" in recosync("catalog", "types").out
