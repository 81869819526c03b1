"""Command lines for tests: those of the job replaced, those of the documents, and what a run of one says."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from shared.catalog import ROOT
from shared.operate.cli import build

#: The command lines of the old READMEs, as they stood there.
OLD_COMMANDS = Path(__file__).parent / "unit" / "old_commands.txt"

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def recosync(*arguments: object) -> Ran:
    """Run a command in this process, with its environment."""
    result = CliRunner().invoke(build(), list(map(str, arguments)), prog_name="recosync")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def old_commands(**placeholders: str) -> list[list[str]]:
    """The arguments of every old command line, placeholders filled in, with and without each optional flag."""
    text = OLD_COMMANDS.read_text().replace("\\\n", " ")
    for placeholder, value in placeholders.items():
        text = text.replace(f"<{placeholder}>", value)
    lines = [line.removeprefix("python main.py ") for line in text.splitlines() if line.startswith("python main.py ")]
    return [shlex.split(variant) for line in lines for variant in _variants(line)]


def documented_commands() -> list[tuple[str, str]]:
    """Every `recosync …` command in the documents with the name of its document, each once."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        for command in _commands(document.read_text()):
            found.setdefault(command, document.name)
    return [(document, command) for command, document in found.items()]


def _variants(line: str) -> Iterator[str]:
    """The line with and without each flag in brackets."""
    parts = re.split(r"(\[[^\]]*\])", line)
    choices = [("", part[1:-1]) if part.startswith("[") else (part,) for part in parts]
    yield from ("".join(chosen) for chosen in itertools.product(*choices))


def _commands(text: str) -> Iterator[str]:
    """Those that stand on a line of a code block, or in the text as code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for block in blocks:
        yield from re.findall(r"^\s*(?:\$ )?(recosync [^#\n]*[^#\s])", block, re.MULTILINE)
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
