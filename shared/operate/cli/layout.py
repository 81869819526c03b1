"""How text stands on a terminal: in lines that break only between words, so that a name or an id stays whole."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.errors import printable

#: Between two columns, and before what stands below a row.
GAP, INDENT = "  ", "    "


@dataclass(frozen=True)
class Column:
    """One column of a table, with a cell for each row. Numbers stand at the right."""

    name: str
    cells: Sequence[str]
    numbers: bool

    @property
    def width(self) -> int:
        return max(map(len, (self.name, *self.cells)))

    def line(self, text: str) -> str:
        return text.rjust(self.width) if self.numbers else text.ljust(self.width)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """The lines of a table. Where the table is wider than `width` characters, the columns that find no room stand below
    each row, with their names. None is no limit.
    """
    made = [
        Column(name, [_cell(row[n]) for row in rows], all(isinstance(row[n], int | float | None) for row in rows))
        for n, name in enumerate(columns)
    ]
    beside = _beside(made, width)
    below = [column for column in made if column not in beside]
    head = GAP.join(column.line(column.name) for column in beside)
    lines = [head.rstrip(), "─" * len(head)]
    for n in range(len(rows)):
        lines.append(GAP.join(column.line(column.cells[n]) for column in beside).rstrip())
        lines += _below([f"{column.name}: {column.cells[n]}" for column in below if column.cells[n] != "-"], width)
    return lines


def wrapped(text: str, width: int | None, hanging: str = "") -> list[str]:
    """A text in lines of `width` characters, broken between words alone; those after the first begin with `hanging`."""
    text = _one_line(text)
    if width is None:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [""]


def _one_line(text: str) -> str:
    return printable(text.replace("\n", " "))


def _beside(columns: Sequence[Column], width: int | None) -> list[Column]:
    """The columns that stand beside each other: the first, and those that find room."""
    found: list[Column] = []
    used = 0
    for column in columns:
        needs = column.width + (len(GAP) if found else 0)
        if not found or width is None or used + needs <= width:
            found.append(column)
            used += needs
    return found


def _below(pieces: Sequence[str], width: int | None) -> Iterator[str]:
    """The pieces in as few lines as take them whole; one that is too long for a line is wrapped."""
    line = ""
    for piece in pieces:
        if line and width is not None and len(line) + 3 + len(piece) > width:
            yield from wrapped(line, width, INDENT * 2)
            line = ""
        line = f"{line}   {piece}" if line else INDENT + piece
    if line:
        yield from wrapped(line, width, INDENT * 2)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _one_line(str(value))
