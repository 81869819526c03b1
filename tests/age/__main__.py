"""`python -m tests.age`: days that pass, years of hour manifests, and events at once; what each costs."""

import argparse
import logging
import sys
from collections.abc import Mapping

from local.cloud import Cloud
from local.postgres import RELAXED
from tests.age import costs, days, load, manifests

#: Days of which the median is told.
LOOK = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s age --")
    parser.add_argument("case", nargs="*", choices=["days", "manifests", "load", []])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--manifests", type=int, nargs="*", default=[10, 365, 1_095], help="days of them")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the one large part")
    parser.add_argument("--crowded", type=float, default=15, help="seconds for which others have most connections")
    asked = parser.parse_args()
    logging.getLogger("recosync").setLevel(logging.CRITICAL)
    wanted = asked.case or ["days", "manifests", "load"]
    if "days" in wanted:
        _days(asked.days)
    if "manifests" in wanted:
        _manifests(asked.manifests)
    if "load" in wanted:
        with load.deployed() as here:
            under = load.Load(here, asked.events, asked.rows, asked.crowded)
            _say(*under.run())
        if not under.well:
            _say("FAILED: rows are missing or too many, or readers had none")
            return 1
    return 0


def _days(count: int) -> None:
    """What there is and what calls cost, early and later: the costs are medians of the last days before."""
    first = max(LOOK, count // 6)
    looks = {first, max(first, count // 2), count}
    with days.days(count) as passing:
        early: tuple[days.Sizes, Mapping[str, costs.Cost]] | None = None
        for number in range(1, count + 1):
            if number + LOOK - 1 in looks:
                passing.costs.taken()
            passing.pass_one()
            if number not in looks:
                continue
            now = passing.sizes(), passing.costs.taken()
            if early is None:
                early = now
                continue
            _say(f"{'':50} {f'after {first} days':>38} {f'after {number} days':>38}")
            _say(*days.told(*({name: f"{size:,.0f}" for name, size in sizes.items()} for sizes, _ in (early, now))))
            _say(f"{'':50} {costs.HEADER:>38} {costs.HEADER:>38}", *days.told(early[1], now[1]))


def _manifests(counts: list[int]) -> None:
    _say(f"{'':50} {costs.HEADER:>38}")
    with Cloud(rows_per_part=200, postgres=RELAXED, in_memory=True) as cloud:
        for count in counts:
            for told, found in manifests.calls_after(cloud, count):
                _say(*(f"{f'{name}, {told} of manifests':50} {cost!s:>38}" for name, cost in found.items()))


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
