"""What docs/reference.md says: its tables, by the heading that they stand under."""

from __future__ import annotations

import re

from shared.catalog import ROOT

PAGE = ROOT / "docs" / "reference.md"


def table(heading: str) -> list[list[str]]:
    """The cells of each row of the first table below a heading, but not of its head. A `|` in a cell is escaped."""
    (text,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    block = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert block, f"no table stands below {heading}"
    _, _, *rows = block[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def names(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


def variables() -> dict[str, list[str]]:
    """The rows of the environment variables, by each variable's name: who reads it, its default, what it takes, and
    what it means.
    """
    return {name: rest for cell, *rest in table("Environment variables") for name in names(cell)}
