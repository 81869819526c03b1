"""Which rows of a long matrix a run leaves out."""

from __future__ import annotations

import pytest

from tests.kit.shares import left_out

ROWS = {"a.py::long": 10, "a.py::short": 1, "b.py::two": 2}
TESTS = {f"{name}[{row}]" for name, rows in ROWS.items() for row in range(rows)}


@pytest.mark.parametrize(("share", "run"), [(0.34, [4, 1, 1]), (0.01, [1, 1, 1]), (1, [10, 1, 2])])
def test_each_matrix_runs_its_share_and_one_row_at_least(share, run):
    kept = TESTS - left_out(TESTS, share, 7)
    assert [sum(test.startswith(name) for test in kept) for name in ROWS] == run


def test_a_seed_says_which():
    assert left_out(sorted(TESTS), 0.34, 7) == left_out(sorted(TESTS, reverse=True), 0.34, 7)
    assert set.intersection(*(left_out(TESTS, 0.34, seed) for seed in range(50))) == set()
