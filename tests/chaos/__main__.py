"""`python -m tests.chaos --minutes 60`: schedules for so long; one that fails is printed, as short as it gets."""

import argparse
import random
import sys
import time
from collections import Counter

from tests.chaos import daily, hourly
from tests.chaos.schedule import Schedule
from tests.chaos.world import Found, World

KINDS = {"daily": (daily.daily, daily.schedule), "hourly": (hourly.hourly, hourly.schedule)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s chaos --")
    parser.add_argument("flow", choices=KINDS, nargs="?", default="daily")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first schedule's; the others count up from it")
    parser.add_argument("--schedules", type=int, default=sys.maxsize, help="no more than so many")
    asked = parser.parse_args()
    first = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    deadline, seed, reads = time.monotonic() + asked.minutes * 60, first, 0
    outcomes: Counter[str] = Counter()
    deployed, schedule = KINDS[asked.flow]
    with deployed() as world:
        while time.monotonic() < deadline and seed < first + asked.schedules:
            found = world.play(schedule(seed))
            reads += found.reads
            outcomes.update({what.partition(":")[0] for what in found.wrong} or {"ok"})
            _say(f"{seed} {found.seconds:.1f} s {'; '.join(found.wrong) or 'ok'}")
            if found.wrong:
                _say(str(_shortest(world, schedule(seed), found)))
            seed += 1
    _say(f"{seed - first} schedules, the first of seed {first}, {reads:,} reads: {dict(outcomes)}")
    return 0 if set(outcomes) <= {"ok"} else 1


def _shortest(world: World, of: Schedule, found: Found) -> Schedule:
    """The schedule without the acts that it fails without as well."""
    number = len(of.acts) - 1
    while number >= 0:
        shorter = of.without(number)
        again = world.play(shorter)
        if {what.partition(":")[0] for what in again.wrong} & {what.partition(":")[0] for what in found.wrong}:
            of = shorter
        number -= 1
    return of


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
