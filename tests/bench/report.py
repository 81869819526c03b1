"""A run in words: tables for the terminal and for docs/benchmarks.md, and docs/benchmarks.md itself."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from statistics import median

from tests.bench.measure import Result
from tests.bench.record import Run

MISSED = "MISSED"
#: Where the pictures lie, as docs/benchmarks.md and the repository know them.
PICTURES = {scheme: f"images/benchmarks-{scheme}.svg" for scheme in ("light", "dark")}
#: What is spent by every way of every case, in columns of its own.
_COMMON = ("server CPU s", "storage CPU s", "function CPU s", "client CPU s", "WAL MiB")


@dataclass(frozen=True)
class Grid:
    """A table to be drawn. The columns of `text` stand to the left, numbers to the right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[str]


def verdict(run: Run) -> str:
    """How many bars are met, in a sentence."""
    results = barred(run)
    met = sum(result.met for result in results)
    crashed = [case.name for case in run.cases if case.crash]
    missed = f", {len(results) - met} missed" if met < len(results) else ""
    return f"{met} of {len(results)} bars met{missed}." + (f" Crashed: {', '.join(crashed)}." if crashed else "")


def results_of(run: Run) -> list[Result]:
    return list(chain.from_iterable(case.results for case in run.cases))


def barred(run: Run) -> list[Result]:
    """The results that have a bar to meet."""
    return [result for result in results_of(run) if result.bar is not None]


def results_grid(results: Sequence[Result]) -> Grid:
    """What was found, one line each."""
    apart = any(of.apart for of in results)
    beside = any(of.beside for of in results)
    rows = []
    for of in results:
        figures = [(figure(of, values), spread(values)) if values else ("", "") for values in (of.values, of.apart)]
        met = "" if of.bar is None else "met" if of.met else MISSED
        found = chain.from_iterable(figures[: 1 + apart])
        rows.append((of.what, of.against, *found, bar(of), met, *([of.beside] if beside else [])))
    headers = ["what", "against", "median", "lowest–highest"]
    headers += ["apart", "lowest–highest"] if apart else []
    headers += ["bar", "", *(["a trial"] if beside else [])]
    return Grid(headers, _once(rows), ("what", "against", "", "a trial"))


def ways_grid(results: Sequence[Result]) -> Grid:
    """The times behind the results, and what went into them: one line for each way, whatever it was compared with."""
    ways = {(of.what, way): (seconds, _spent(of, way)) for of in results for way, seconds in of.seconds.items()}
    found = dict.fromkeys(chain.from_iterable(spent for _, spent in ways.values()))
    spent = [name for name in _COMMON if name in found] + [name for name in found if _is_peak(name)]
    rows = []
    for (what, way), (seconds, of) in ways.items():
        cells = (number(of[name]) if name in of else "" for name in spent)
        rows.append((what, way, str(len(seconds)), number(median(seconds)), spread(seconds), *cells))
    return Grid(("what", "way", "rounds", "seconds", "lowest–highest", *spent), _once(rows), ("what", "way"))


def details(results: Sequence[Result]) -> list[str]:
    """What else was found of each way, a line each."""
    lines = dict[str, None]()
    for of in results:
        for way in of.spent:
            spent = _spent(of, way).items()
            found = {name: value for name, value in spent if name not in _COMMON and not _is_peak(name)}
            if found:
                told = ", ".join(f"{name} {number(value)}" for name, value in found.items())
                lines[f"{of.what}, {way}: {told}"] = None
    return list(lines)


def figure(result: Result, values: Sequence[float] = ()) -> str:
    """The median of the values, or of those that count, with as many digits as it takes to tell it from the bar."""
    exact = median(values or result.better)
    shown = number(exact)
    for digits in range(3, 7):
        if result.meets(float(shown.replace(",", ""))) == result.meets(exact):
            break
        shown = f"{exact:,.{digits}f}"
    return shown + _unit(result)


def bar(result: Result) -> str:
    if result.bar is None:
        return ""
    return f"{'≥' if result.at_least else '≤'} {result.bar:,.10g}{_unit(result)}"


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest, where there are several."""
    return f"{number(min(values))}–{number(max(values))}" if len(values) > 1 else ""


def number(value: float) -> str:
    """A figure with about three digits that count."""
    for least, digits in ((100, 0), (10, 1), (0.1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.2g}"


def share(result: Result, value: float) -> float:
    """How much a value takes of what the bar allows: 1 is the bar, and less is better."""
    bar = result.bar or 0.0
    used, allowed = (bar, value) if result.at_least else (value, bar)
    if allowed:
        return used / allowed
    return float("inf") if used else 0.0


def stamp(text: str) -> str:
    """What ties a picture to the JSON that it was made of."""
    return f"benchmarks.json {sha256(text.encode()).hexdigest()[:16]}"


def page(run: Run) -> str:
    """docs/benchmarks.md."""
    return "\n\n".join(chain(_head(run), _machine(run), _cases(run))) + "\n"


def _head(run: Run) -> Iterator[str]:
    yield "# Benchmarks"
    yield "<!-- Made of benchmarks.json by `nox -s bench -- --write`: edit tests/bench/report.py instead. -->"
    yield _prose(
        "How fast the sync is beside what could do the same work, how near it comes to what PostgreSQL allows, and in"
        f" how much memory. **{verdict(run)}** Where the time goes, and why what is missed is missed:"
        " [performance.md](performance.md)."
    )
    yield _picture(run)
    yield _markdown(results_grid([replace(result, beside="") for result in results_of(run)]))
    yield "## How to read it"
    yield _prose(
        "Each case runs the product's own code in the functions' own processes, called by HTTP, beside a reference in"
        " the same run on the same server. They take turns, each round beginning with another: for"
        f" {run.rounds} rounds, or as many as fit into a case's time. A result is the median of its rounds: of their"
        " ratios, or of the figures themselves. Beside it stand the lowest and the highest. A **bar** was set before"
        " anything was measured: `≤ 1.15×` means at most 1.15 times as long as the reference, `≥ 4×` at least four"
        " times as fast. What has none is there to compare. In the picture every result is what it took of what its"
        " bar allows: the line is the bar, shorter is better, and the whiskers are the lowest and the highest."
    )
    yield _prose(
        "As deployed, a function has processors of its own, and here it may have to share them with PostgreSQL. So a"
        " case is measured twice where that makes a difference: as it comes, and **apart**. Apart, PostgreSQL with"
        " all its processes has one half of the processors; the functions, and what else is a client of the server,"
        " have the other; the emulators of Google's services run where there is room. References are confined in the"
        " same way: what is work of the server alone has the server's half. The bar counts in the better of the two,"
        " which is what the picture shows, with a mark where the other is."
    )
    yield _prose(
        "Below the results of a case are the times behind them, how many rounds there were, and medians of what was"
        " spent: seconds of CPU by PostgreSQL (server), the function's processes (function), the emulator of Cloud"
        " Storage (storage) and the benchmark's own process or another client (client), the WAL that was written, and"
        " the most memory that a process of a function has held."
    )
    yield "## How to repeat it"
    yield "```bash\nmake bench\n```"
    yield _prose(
        "It sets up what it needs and makes its data: offers, as many users, and an hour of the log. After `make"
        ' setup`, `.venv/bin/nox -s bench` is the same. `make bench ARGS="--rows 100000 --rounds 2 --case load"` is a'
        " short run of one case; all take up to 45 minutes on two cores. `--json FILE` keeps everything that was found;"
        " `--write` writes this page, its picture and [benchmarks.json](benchmarks.json). A missed bar is a result: the"
        " exit code is 1 only if a case crashed."
    )


def _picture(run: Run) -> str:
    title = f"What each result took of what its bar allows. {verdict(run)}"
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="{PICTURES["dark"]}">\n'
        f'  <img src="{PICTURES["light"]}" alt="{title}">\n'
        "</picture>"
    )


def _machine(run: Run) -> Iterator[str]:
    machine = run.machine
    commit = f"`{run.commit}`{', with changes' if run.changed else ''}" if run.commit else "unknown"
    yield "## The run"
    facts = {
        "date": f"{run.date:%Y-%m-%d %H:%M} UTC, {sum(case.seconds for case in run.cases) / 60:.0f} min",
        "commit": commit,
        "data": f"{run.rows:,} offers, {run.rows:,} users, {run.log_rows:,} rows of the log; up to {run.rounds} rounds",
        "processor": f"{machine.processor}, {machine.processors} CPUs",
        "memory": f"{machine.memory_gib:.1f} GiB",
        "disk": f"{machine.disk}; 8 KiB are safe after {number(machine.sync_ms)} ms,"
        f" a long write at {number(machine.write_mib_s)} MiB/s",
        "kernel": machine.kernel,
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "PostgreSQL's settings": ", ".join(f"`{name} = {value}`" for name, value in run.settings.items()),
    }
    yield _markdown(Grid(("", ""), list(facts.items()), ("",)))


def _cases(run: Run) -> Iterator[str]:
    told = ""
    for case in run.cases:
        yield f"## {case.title}"
        background = "" if case.background == told else case.background
        yield from filter(None, (case.about, background))
        told = case.background
        yield _markdown(results_grid(case.results))
        times = ways_grid(case.results)
        if times.rows:
            yield _markdown(times)
        if more := details(case.results):
            yield "\n".join(f"- {line}" for line in more)


def _once(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The rows with a first cell only where it is not that of the row above."""
    above = ("", *(row[0] for row in rows))
    return [("" if row[0] == before else row[0], *row[1:]) for row, before in zip(rows, above, strict=False)]


def _markdown(grid: Grid) -> str:
    rules = ["---" if name in grid.text else "---:" for name in grid.headers]
    rows = [["**missed**" if cell == MISSED else cell.replace("|", "\\|") for cell in row] for row in grid.rows]
    return "\n".join(f"| {' | '.join(row)} |".replace("  ", " ") for row in (grid.headers, rules, *rows))


def _prose(text: str) -> str:
    """A paragraph, at the width of the other documents."""
    whole = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), text)
    return textwrap.fill(whole, 128, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _spent(result: Result, way: str) -> Mapping[str, float]:
    """What a way spent by name, all instances of the function together."""
    together: dict[str, float] = {}
    for name, value in result.spent.get(way, {}).items():
        kind = re.sub(r"^function \d+ ", "function ", name)
        together[kind] = together.get(kind, 0.0) + value
    return together


def _is_peak(name: str) -> bool:
    return name.endswith(" MiB") and name not in _COMMON


def _unit(result: Result) -> str:
    return result.unit if result.unit == "×" else f" {result.unit}"
