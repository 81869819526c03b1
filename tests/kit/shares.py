"""Random shares of the long matrices of tests."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable


def left_out(tests: Iterable[str], share: float, seed: int) -> set[str]:
    """Of the rows of each parametrized test, by node id, those that are not run: others with each seed, never all."""
    matrices: dict[str, list[str]] = {}
    for test in sorted(tests):
        matrices.setdefault(test.partition("[")[0], []).append(test)
    left: set[str] = set()
    for name, rows in matrices.items():
        chance = random.Random(f"{seed} {name}")  # noqa: S311 - to be repeated by its seed
        left |= set(chance.sample(rows, len(rows) - math.ceil(len(rows) * share)))
    return left
