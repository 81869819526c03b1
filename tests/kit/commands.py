"""Command lines: those of the job replaced, and what a run of one says."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from shared.catalog import FOLDER_VARIABLE
from shared.operate.cli import build

#: The command lines of the old READMEs, as they stood there.
OLD_COMMANDS = Path(__file__).parents[1] / "unit" / "old_commands.txt"


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def recosync(*arguments: object, columns: int | None = None) -> Ran:
    """Run a command in this process, with its environment; what it says goes to a pipe, or is as wide as asked.

    A command may say which catalog its process reads. The next command is one of another process.
    """
    its_own = {
        "COLUMNS": None if columns is None else str(columns),
        FOLDER_VARIABLE: os.environ.get(FOLDER_VARIABLE),
    }
    result = CliRunner().invoke(build(), list(map(str, arguments)), prog_name="recosync", env=its_own)
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


def _variants(line: str) -> Iterator[str]:
    """The line with and without each flag in brackets."""
    parts = re.split(r"(\[[^\]]*\])", line)
    choices = [("", part[1:-1]) if part.startswith("[") else (part,) for part in parts]
    yield from ("".join(chosen) for chosen in itertools.product(*choices))
