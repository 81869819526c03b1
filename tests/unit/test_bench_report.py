"""A run of the benchmark in words, and docs/benchmarks.md in step with its figures."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.catalog import ROOT
from tests.bench import record, report
from tests.bench.measure import Result
from tests.bench.record import Case, Machine, Run

DOCS = ROOT / "docs"
FOUND = (DOCS / "benchmarks.json").read_text()

OURS = {"server CPU s": 1.5, "function CPU s": 0.25, "function 1 CPU s": 0.5}
LOAD = Result(
    *(1, "load", "×", [1.25, 1.1525, 1.0], 1.15, "COPY"),
    seconds={"recosync": [2.0, 1.0], "COPY": [1.5]},
    spent={"recosync": OURS, "COPY": {"WAL MiB": 120.4}},
)
FASTER = Result(
    *(1, "load", "×", [5.0], 4.0, "dlt", True),
    seconds={"recosync": [2.0, 1.0], "dlt": [7.5]},
    spent={"recosync": OURS},
)
MEMORY = Result(3, "peak memory", "MiB", [1263.4], 1400)
RUN = Run(
    datetime(2026, 11, 23, 5, tzinfo=UTC),
    "0123456789ab",
    True,
    3_000_000,
    1_000_000,
    3,
    Machine("A processor", 2, 23.54, "ext4 on NVMe", 0.17, 912.3, "Linux 6"),
    {"Python": "3.13.1", "PostgreSQL": "17.1"},
    {"fsync": "on"},
    (
        Case("load", "Case 1: a load", "About it.", "The floor.", 83.2, (LOAD, FASTER)),
        Case("memory", "Case 3: memory", "", "The floor.", 10.0, (MEMORY,)),
    ),
)


def test_the_page_is_what_its_figures_make():
    """If it is not: nox -s bench -- --from docs/benchmarks.json --write"""
    assert report.page(record.load(FOUND)) == (DOCS / "benchmarks.md").read_text()


@pytest.mark.parametrize("picture", report.PICTURES.values())
def test_the_picture_is_of_the_same_run(picture: str):
    assert report.stamp(FOUND) in (DOCS / picture).read_text()


def test_what_is_published_is_a_whole_run():
    assert [case.name for case in record.load(FOUND).cases if case.crash or not case.results] == []


def test_a_run_comes_back_from_its_json():
    text = record.dump(RUN)
    assert report.page(record.load(text)) == report.page(RUN)
    assert record.dump(record.load(text)) == text


def test_the_results_are_one_line_each_with_what_was_done_once():
    assert report.results_grid([LOAD, FASTER, MEMORY]).rows == [
        ("load", "COPY", "1.153×", "1.00–1.25", "≤ 1.15×", "MISSED"),
        ("", "dlt", "5.00×", "", "≥ 4×", "met"),
        ("peak memory", "", "1,263 MiB", "", "≤ 1,400 MiB", "met"),
    ]


def test_what_was_found_apart_and_in_a_trial_has_columns_of_its_own():
    loads = [replace(LOAD, apart=[1.1, 1.2]), replace(FASTER, bar=None, beside="readers see no rows")]
    grid = report.results_grid(loads)
    assert grid.headers[2:] == ["median", "lowest–highest", "apart", "lowest–highest", "bar", "", "a trial"]
    assert grid.rows == [
        ("load", "COPY", "1.153×", "1.00–1.25", "1.15×", "1.10–1.20", "≤ 1.15×", "met", ""),
        ("", "dlt", "5.00×", "", "", "", "", "", "readers see no rows"),
    ]


def test_the_ways_are_one_line_each_with_what_all_instances_spent():
    grid = report.ways_grid([LOAD, FASTER])
    assert grid.headers[2:] == ("rounds", "seconds", "lowest–highest", "server CPU s", "function CPU s", "WAL MiB")
    assert grid.rows == [
        ("load", "recosync", "2", "1.50", "1.00–2.00", "1.50", "0.75", ""),
        ("", "COPY", "1", "1.50", "", "", "", "120"),
        ("", "dlt", "1", "7.50", "", "", "", ""),
    ]


def test_what_else_was_found_of_a_way_is_told_once_in_a_line():
    reads = replace(
        LOAD, spent={"recosync": {"WAL MiB": 1.0, "p50 ms": 0.512, "p99 ms": 3.2}, "COPY": {"WAL MiB": 1.0}}
    )
    assert report.details([reads, reads, MEMORY]) == ["load, recosync: p50 ms 0.51, p99 ms 3.20"]


@pytest.mark.parametrize(("value", "bar", "at_least", "shown"), [
    (1.149, 1.15, False, "1.15×"),
    (1.1501, 1.15, False, "1.1501×"),
    (3.996, 4.0, True, "3.996×"),
    (12.34, 4.0, True, "12.3×"),
    (1234.5, 4.0, True, "1,234×"),
    (0.0123, 4.0, False, "0.012×"),
])  # fmt: skip
def test_a_figure_has_the_digits_that_tell_it_from_its_bar(value: float, bar: float, at_least: bool, shown: str):
    assert report.figure(Result(1, "work", "×", [value], bar, at_least=at_least)) == shown


@pytest.mark.parametrize(("value", "bar", "at_least", "share"), [
    (300, 400, False, 0.75),
    (8, 4, True, 0.5),
    (2, 4, True, 2),
    (0, 0, False, 0),
    (1, 0, False, math.inf),
    (0, 4, True, math.inf),
])  # fmt: skip
def test_the_share_of_a_bar_is_less_where_a_result_is_better(value: float, bar: float, at_least: bool, share: float):
    assert report.share(Result(1, "work", "ms", [value], bar, at_least=at_least), value) == share


def test_the_verdict_counts_and_names_what_crashed():
    assert report.verdict(RUN) == "2 of 3 bars met, 1 missed."
    unbarred = replace(RUN.cases[1], results=[replace(MEMORY, bar=None)])
    assert report.verdict(replace(RUN, cases=(RUN.cases[0], unbarred))) == "1 of 2 bars met, 1 missed."
    crashed = replace(RUN, cases=(RUN.cases[1], Case("load", "Case 1", "", "", 1.0, (), "RuntimeError")))
    assert report.verdict(crashed) == "1 of 1 bars met. Crashed: load."


def test_a_section_says_what_others_of_its_module_share_once():
    page = report.page(RUN)
    assert page.count("The floor.") == page.count("About it.") == 1
    assert "| date | 2026-11-23 05:00 UTC, 2 min |\n| commit | `0123456789ab`, with changes |" in page
    assert "| load | COPY | 1.153× | 1.00–1.25 | ≤ 1.15× | **missed** |" in page


def test_a_case_is_described_by_its_docstring_and_its_module():
    docstring = "Case 1: one part. With\n    one worker.\n\n    More.\n    "
    module = "Cases 1 and 2.\n\nThe floor\nis low.\n\nAnd even.\n"
    described = ("Case 1: one part", "With one worker.\n\nMore.", "The floor\nis low.\n\nAnd even.")
    assert record.describe(docstring, module) == described
    assert record.describe("load", "") == ("load", "", "")
