"""Terraform's variables as a table for docs/reference.md: `python -m tests.kit.terraform_variables` prints its rows."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from shared.catalog import ROOT


@dataclass(frozen=True)
class Variable:
    """A variable, as `variables*.tf` declare it."""

    name: str
    type: str
    default: str | None
    description: str

    @property
    def row(self) -> str:
        """Its row of the table. Of an object, the attributes stand with their defaults."""
        default = self._attributes() or (f"`{self.default}`" if self.default is not None else "needed")
        cells = (f"`{self.name}`", default, self.description)
        return f"| {' | '.join(cell.replace('|', '\\|') for cell in cells)} |"

    def _attributes(self) -> str:
        if self.default is None and "{" not in self.type:
            return ""
        group = re.compile(r"^    (\w+) = optional\(object\(\{\n(.*?)\n    \}\)[^\n]*", re.DOTALL | re.MULTILINE)
        groups, rest = group.findall(self.type), _inline(group.sub("", self.type))
        if groups:
            return "; ".join([f"`{name}`: {_inline(body)}" for name, body in groups] + ([rest] if rest else []))
        told = _inline(self.type)
        if not told:
            return ""
        # An object of which nothing is set has the defaults of its attributes.
        head = {"null": "`null`; or ", "{}": "`{}`; of each: " if self.type.startswith("map") else ""}
        return head.get(self.default or "", "") + told


def _inline(body: str) -> str:
    """The attributes that a body declares, in one line."""
    found = re.findall(r"^\s+(\w+)\s*= (?:optional\(\w+(?:\(\w+\))?(?:, (.+))?\)|\w+)$", body, re.MULTILINE)
    optional = set(re.findall(r"^\s+(\w+)\s*= optional", body, re.MULTILINE))
    return ", ".join(
        f"`{name} = {default}`" if default else f"`{name}`" + ("" if name in optional else " (needed)")
        for name, default in found
    )


def rows() -> list[str]:
    """The rows of all variables: those that are needed first, each kind by name."""
    found = [
        _variable(name, body)
        for file in sorted((ROOT / "terraform").glob("variables*.tf"))
        for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.DOTALL | re.MULTILINE)
    ]
    return [variable.row for variable in sorted(found, key=lambda one: (one.default is not None, one.name))]


def _variable(name: str, body: str) -> Variable:
    kind = re.search(r"^  type\s*= (.*?)(?=\n  \w|\n\n)", body + "\n\n", re.DOTALL | re.MULTILINE)
    default = re.search(r"^  default\s*= (.*)$", body, re.MULTILINE)
    told = re.search(r"^  description = (?:\"([^\"\n]*)\"$|<<-EOT\n(.*?)\n  EOT$)", body, re.DOTALL | re.MULTILINE)
    if kind is None or told is None:
        raise ValueError(f"the variable {name} has no type, or no description")
    return Variable(name, kind[1], default[1] if default else None, " ".join((told[1] or told[2]).split()))


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
