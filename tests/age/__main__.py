"""`python -m tests.age`: days that pass, years of hour manifests, and events at once; what each costs."""

import argparse
import logging
import sys

from local.cloud import Cloud
from local.postgres import RELAXED
from tests.age import costs, days, load, manifests


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s age --")
    parser.add_argument("case", nargs="*", choices=["days", "manifests", "load", []])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--manifests", type=int, nargs="*", default=[10, 365, 1_095], help="days of them")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the one large part")
    asked = parser.parse_args()
    logging.getLogger("recosync").setLevel(logging.CRITICAL)
    wanted = asked.case or ["days", "manifests", "load"]
    if "days" in wanted:
        _days(asked.days)
    if "manifests" in wanted:
        _manifests(asked.manifests)
    if "load" in wanted:
        with load.deployed() as here:
            lines: list[str] = []
            load.Load(here, asked.events, asked.rows).run(lines)
            _say(*lines)
    return 0


def _days(count: int) -> None:
    """What there is and what calls cost, early and late: the costs are medians of the last days before."""
    first = max(1, count // 6)
    with days.days(count) as passing:
        found = []
        for number in range(1, count + 1):
            if number in (first - first // 2, count - first // 2):
                passing.costs.taken()
            passing.pass_one()
            if number in (first, count):
                found.append((passing.sizes(), passing.costs.taken()))
    (early, cheap), (late, dear) = found
    _say(f"{'':50} {f'after {first} days':>36} {f'after {count} days':>36}")
    _say(*days.told({k: f"{v:,.0f}" for k, v in early.items()}, {k: f"{v:,.0f}" for k, v in late.items()}))
    _say(f"{'':50} {costs.HEADER:>36} {costs.HEADER:>36}", *days.told(cheap, dear))


def _manifests(counts: list[int]) -> None:
    _say(f"{'':50} {costs.HEADER:>36}")
    with Cloud(rows_per_part=200, postgres=RELAXED, in_memory=True) as cloud:
        for count in counts:
            for told, found in manifests.calls_after(cloud, count):
                _say(*(f"{f'{name}, {told} of manifests':50} {cost!s:>36}" for name, cost in found.items()))


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
