"""The picture of a run: what each result took of what its bar allows, for a light page and for a dark one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from tests.bench.measure import Result
from tests.bench.record import Run
from tests.bench.report import PICTURES, bar, barred, figure, share, stamp, verdict

#: Inches.
_WIDTH, _HEAD, _FOOT, _ROW = 10.0, 0.98, 0.42, 0.235
#: In rows: between panels, between groups of one panel, and from line to line of a long name.
_PANEL, _GROUP, _LINE = 2.4, 0.3, 0.72
#: Where columns stand, as shares of the width, and how many characters the first two hold.
_WHAT, _AGAINST, _LEFT, _RIGHT, _MEDIAN, _BAR = 0.012, 0.4, 0.575, 0.815, 0.898, 0.988
_WHAT_HOLDS, _AGAINST_HOLDS = 57, 24
#: The longest bar drawn. What is longer is cut, and its figure says how long it is.
_MOST = 2.0

#: As GitHub's own text; matplotlib measures with the font that it brings, which is wider.
_FONTS = "-apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Colours:
    """GitHub's own, of one theme."""

    ground: str
    text: str
    muted: str
    grid: str
    met: str
    missed: str


SCHEMES = {
    "light": Colours("#ffffff", "#1f2328", "#59636e", "#d1d9e0", "#54aeff", "#e16f24"),
    "dark": Colours("#0d1117", "#f0f6fc", "#9198a1", "#3d444d", "#1f6feb", "#db6d28"),
}


@dataclass(frozen=True)
class _Row:
    """One result, so many rows down its panel; `what` is empty where it is that of the row above."""

    result: Result
    what: Sequence[str]
    against: Sequence[str]
    down: float


@dataclass(frozen=True)
class _Panel:
    title: str
    rows: Sequence[_Row]
    height: float


def draw(run: Run, text: str, folder: Path) -> list[Path]:
    """Write the pictures of a run, whose JSON is `text`, below the folder of docs/benchmarks.md."""
    files = [folder / name for name in PICTURES.values()]
    for file, scheme in zip(files, PICTURES, strict=True):
        drawn = StringIO()
        metadata = {"Date": None, "Creator": None, "Title": "Benchmarks", "Description": stamp(text)}
        # The salt makes the names of things inside the file, which else are chance.
        with mpl.rc_context(
            {"font.family": "DejaVu Sans", "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "benchmarks"}
        ):
            _figure(run, SCHEMES[scheme]).savefig(drawn, format="svg", metadata=metadata)
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (line.rstrip() for line in drawn.getvalue().replace("'DejaVu Sans'", _FONTS).splitlines())
        file.write_text("\n".join(lines) + "\n")
    return files


def _figure(run: Run, colours: Colours) -> Figure:
    results = barred(run)
    sides = [("Beside a reference", [of for of in results if of.against])]
    sides += [("Absolute figures", [of for of in results if not of.against])]
    panels = [_panel(title, found) for title, found in sides if found]
    whole = _HEAD + _ROW * (sum(panel.height for panel in panels) + _PANEL * (len(panels) - 1)) + _FOOT
    drawn = Figure(figsize=(_WIDTH, whole), facecolor=colours.ground)
    _headline(drawn, run, colours)
    longest = max(share(of, value) for of in results for value in of.better)
    below = whole - _HEAD
    for panel in panels:
        below -= panel.height * _ROW
        axes = drawn.add_axes((_LEFT, below / whole, _RIGHT - _LEFT, panel.height * _ROW / whole), facecolor="none")
        axes.set(xlim=(0, min(max(1.25, longest * 1.04), _MOST)), ylim=(panel.height, 0), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        _scale(axes, panel.title, colours)
        for row in panel.rows:
            _draw(axes, row, colours)
        below -= _PANEL * _ROW
    return drawn


def _panel(title: str, results: Sequence[Result]) -> _Panel:
    """Results one below the other; a group of one name is at least as high as that."""
    rows = list[_Row]()
    end = 0.0
    holds = _WHAT_HOLDS if any(of.against for of in results) else _WHAT_HOLDS + _AGAINST_HOLDS
    for name, group in groupby(results, key=lambda of: of.what):
        named = textwrap.wrap(name, holds)
        what, top = named, end
        for of in group:
            against = textwrap.wrap(of.against, _AGAINST_HOLDS)
            rows.append(_Row(of, what, against, end + 0.5))
            end += _height(against)
            what = []
        end = max(end, top + _height(named)) + _GROUP
    return _Panel(title, rows, end - _GROUP)


def _height(lines: Sequence[str]) -> float:
    return 1 + _LINE * max(0, len(lines) - 1)


def _headline(drawn: Figure, run: Run, colours: Colours) -> None:
    _, whole = drawn.get_size_inches()
    title = "What each result took of what its bar allows"
    facts = f"{verdict(run)} {run.rows:,} rows, {run.log_rows:,} of the log, {run.date:%Y-%m-%d}."
    notes = "The line is the bar, shorter is better. Whiskers: the lowest and the highest."
    notes += " The mark: apart, or on shared cores, whichever is worse."
    drawn.text(_WHAT, 1 - 0.22 / whole, title, size=12.5, weight="bold", color=colours.text, va="center")
    drawn.text(_WHAT, 1 - 0.46 / whole, facts, color=colours.muted, va="center")
    drawn.text(_WHAT, 0.17 / whole, notes, size=7.5, color=colours.muted, va="center")
    for x, word, colour in ((0.855, "met", colours.met), (0.92, "missed", colours.missed)):
        drawn.text(x, 1 - 0.46 / whole, "■", color=colour, va="center")
        drawn.text(x + 0.015, 1 - 0.46 / whole, word, color=colours.muted, va="center")


def _scale(axes: Axes, title: str, colours: Colours) -> None:
    """The lines behind the bars, and what stands above the columns."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    _, right = axes.get_xlim()
    step = 0.25 if right < 1.5 else 0.5
    for mark in (step * number for number in range(int(right / step) + 1)):
        colour, line, width, order = (
            (colours.text, colours.text, 1.1, 4) if mark == 1 else (colours.muted, colours.grid, 0.6, 1)
        )
        axes.axvline(mark, color=line, linewidth=width, zorder=order)
        axes.text(mark, -0.6, f"{mark:.0%}", size=7.5, ha="center", va="center", color=colour)
    axes.text(_WHAT, -0.6, title, transform=across, va="center", color=colours.text, weight="bold")
    for x, text in ((_MEDIAN, "median"), (_BAR, "bar")):
        axes.text(x, -0.6, text, transform=across, ha="right", va="center", size=7.5, color=colours.muted)


def _draw(axes: Axes, row: _Row, colours: Colours) -> None:
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    of, y = row.result, row.down
    _, right = axes.get_xlim()
    taken, colour = share(of, of.median), colours.met if of.met else colours.missed
    axes.barh(y, min(taken, right), height=0.6, color=colour, zorder=2)
    if taken > right:
        axes.plot(right * 0.97, y, marker=">", markersize=4, color=colours.ground, zorder=3)
    elif len(of.better) > 1:
        ends = share(of, min(of.better)), share(of, max(of.better))
        axes.hlines(y, min(ends), min(max(ends), right), color=colours.text, linewidth=0.9, zorder=3)
        axes.vlines(ends, y - 0.15, y + 0.15, color=colours.text, linewidth=0.9, zorder=3)
    if of.values and of.apart:
        worse = max(share(of, median(values)) for values in (of.values, of.apart))
        axes.plot(min(worse, right), y, marker="d", markersize=4, color=colours.muted, zorder=3, clip_on=False)
    for x, lines, shade in ((_WHAT, row.what, colours.text), (_AGAINST, row.against, colours.muted)):
        for number, line in enumerate(lines):
            axes.text(x, y + number * _LINE, line, transform=across, va="center", color=shade)
    shade, weight = (colours.text, "normal") if of.met else (colours.missed, "bold")
    axes.text(_MEDIAN, y, figure(of), transform=across, ha="right", va="center", color=shade, weight=weight)
    axes.text(_BAR, y, bar(of), transform=across, ha="right", va="center", color=colours.muted)
