"""The book of disasters in docs/runbook.md, played: what an operator types stands there, and is run as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kit.commands import Ran, recosync

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"

#: The part of the runbook that has an entry for each disaster.
BOOK = "Disasters"


@dataclass(frozen=True)
class Entry:
    """One disaster. `commands` are those of its fenced blocks, in order, each on a line of its own."""

    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        blocks = re.findall(r"^```bash\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        return [" ".join(line.split()) for line in lines if line.strip() and not line.startswith("#")]

    def play(self, others: Mapping[str, Callable[[], object]] | None = None) -> list[Ran]:
        """Run the commands as they stand; what each command of ours said. Those of other programs are played by
        `others`: each must be there, and each must be used.
        """
        unused = dict(others or {})
        said = []
        for command in self.commands:
            program, *arguments = shlex.split(command)
            if program == "recosync":
                ran = recosync(*arguments)
                assert ran.code == 0, f"{command}: exit code {ran.code}\n{ran.out}{ran.err}"
                said.append(ran)
            else:
                assert command in unused, f"nobody plays: {command}"
                unused.pop(command)()
        assert not unused, f"the entry does not have: {', '.join(unused)}"
        return said


def entries() -> dict[str, Entry]:
    """The disasters by their titles, in the order of the book."""
    _, _, after = RUNBOOK.read_text().partition(f"\n## {BOOK}\n")
    book = re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.split(r"^### (.+)\n", book, flags=re.MULTILINE)[1:]
    return {title: Entry(title, text) for title, text in zip(found[::2], found[1::2], strict=True)}


def entry(title: str) -> Entry:
    """The entry of a disaster. `tests/unit/test_book.py` looks for these calls: no entry goes without its test."""
    return entries()[title]
