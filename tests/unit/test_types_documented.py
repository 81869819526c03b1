"""docs/data.md has the table of types that the catalog takes."""

from shared.catalog import type_table
from tests.kit.documents import ROOT


def test_the_documented_types_are_those_of_the_catalog():
    text = (ROOT / "docs" / "data.md").read_text()
    _, _, after = text.partition("| PostgreSQL | BigQuery |\n| --- | --- |\n")
    rows, _, _ = after.partition("\n\n")
    assert rows.splitlines() == [f"| {type_} | {sources} |" for type_, sources in type_table()]
