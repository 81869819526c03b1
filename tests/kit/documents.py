"""What the documents say of the command line: each command that they show, and the sections of docs/cli.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.catalog import ROOT

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def documented_commands() -> list[tuple[str, str]]:
    """Every `recosync …` command in the documents with the name of its document, each once."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        for command in _commands(document.read_text()):
            found.setdefault(command, document.name)
    return [(document, command) for command, document in found.items()]


def _commands(text: str) -> Iterator[str]:
    """Those that stand on a line of a code block, or in the text as code."""
    # What a command said is none.
    text = re.sub(r"^```text\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for block in blocks:
        whole = re.sub(r" *\\\n *", " ", block)
        yield from re.findall(r"^\s*(?:\$ )?(recosync [^#\n]*[^#\s])", whole, re.MULTILINE)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (" ".join(command.split()) for command in re.findall(r"`(recosync [^`]+)`", rest))


@dataclass(frozen=True)
class Section:
    """What docs/cli.md says of one command."""

    text: str

    @property
    def options(self) -> set[str]:
        """Every option in its table, `-v` and the like left out."""
        cells = re.findall(r"^\| (`-.*?) \|", self.text, re.MULTILINE)
        return {option for cell in cells for option in re.findall(r"--[a-z-]+", cell)}

    @property
    def json(self) -> Any:
        """The sample of its JSON; None where it has another's."""
        found = re.search(r"^```json\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        return json.loads(found[1]) if found else None


def sections() -> dict[str, Section]:
    """The sections of docs/cli.md by their headings."""
    text = (ROOT / "docs" / "cli.md").read_text()
    _, *parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {heading: Section(body) for heading, body in zip(parts[::2], parts[1::2], strict=True)}
