"""`python -m tests.chaos --minutes 60`: schedules for so long; one that fails is printed, as short as it gets."""

from __future__ import annotations

import argparse
import random
import sys

from tests.chaos.worlds import FLOWS, Asked, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s chaos --")
    parser.add_argument("flow", choices=[*FLOWS, "both"], nargs="?", default="both")
    parser.add_argument("--minutes", type=float, default=60, help="of each flow")
    parser.add_argument("--seed", type=int, help="the first schedule's; the others count up from it")
    parser.add_argument("--schedules", type=int, default=sys.maxsize, help="of each flow, no more than so many")
    parser.add_argument(
        "--worlds", type=int, default=1, help="so many clouds side by side, each with its own schedules"
    )
    parser.add_argument("--shorten", type=float, default=5, help="minutes of a world for shorter schedules that fail")
    asked = vars(parser.parse_args())
    flows = FLOWS if asked["flow"] == "both" else [asked["flow"]]
    seed = random.SystemRandom().randrange(10**9) if asked["seed"] is None else asked["seed"]
    return max([play(Asked(**{**asked, "flow": flow, "seed": seed})) for flow in flows])


if __name__ == "__main__":
    sys.exit(main())
