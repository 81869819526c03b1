"""What docs/contract.md promises, and the tests that hold it, which footnotes name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.catalog import ROOT

CONTRACT = ROOT / "docs" / "contract.md"

#: A footnote where it is used; one or more of them end a sentence.
_USED = re.compile(r"\[\^(\w+)\](?!:)")


@dataclass(frozen=True)
class Promise:
    """A sentence, or several that one test holds, with the footnotes that name the tests."""

    text: str
    notes: tuple[str, ...]


def promises() -> list[Promise]:
    """Every promise of the page, in its order; without notes, what has none."""
    return [promise for block in _blocks() for promise in _parted(block)]


def notes() -> dict[str, list[str]]:
    """The ids of the tests that each footnote names."""
    found = re.findall(r"^\[\^(\w+)\]:((?:.|\n(?!\[|\n))*)", CONTRACT.read_text(), re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", named) for name, named in found}


def table(first: str) -> list[list[str]]:
    """The rows, below its heading, of the table whose first column has that name; without the footnotes."""
    rows = re.search(rf"^\| {first} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", CONTRACT.read_text(), re.MULTILINE)
    assert rows is not None
    cells = (re.split(r" ?\| ?", _USED.sub("", line).strip("| ")) for line in rows[1].splitlines())
    return [[cell.strip("`") for cell in row] for row in cells]


def query(language: str, start: str) -> str:
    """The fenced block in that language that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", CONTRACT.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(start)]
    return found


def _blocks() -> Iterator[str]:
    """Paragraphs, items of lists and rows of tables, below the page's preface. Code, headings, the heads of tables and
    the footnotes themselves are none; nor is what only leads elsewhere, which begins with *See*.
    """
    _, _, page = CONTRACT.read_text().partition("\n## ")
    page = re.sub(r"^```.*?^```$", "", f"## {page}", flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"^\|.*\|\n\|[ |-]+\|$", "", page, flags=re.MULTILINE)
    page, *_ = re.split(r"^\[\^\w+\]:", page, maxsplit=1, flags=re.MULTILINE)
    for block in re.split(r"\n\n+|\n(?=- |\|)", page):
        text = " ".join(block.split())
        if text and not text.startswith(("#", "See ")):
            yield text


def _parted(block: str) -> Iterator[Promise]:
    """The block's sentences, each up to the footnotes that end it."""
    for text, marks in re.findall(r"(.*?)((?:\s?\[\^\w+\])+|$)", block):
        if text.strip(" |:.-"):
            yield Promise(text.strip(" |-"), tuple(_USED.findall(marks)))
