"""`python -m tests.fuzz --minutes 60`: odd files for as long as that; each fault comes with the seed that shows it."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from local.cloud import Cloud
from tests.fuzz.trial import MEMORY, trial

#: The kernel's limit is of addresses, and malloc keeps those of memory that it gave back: with 0.1 GiB in memory, a
#: process had 1 GiB of them. What it has in memory is watched by the trial itself.
LIMIT = 4 * MEMORY


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s fuzz --")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first file's; the others count up from it")
    parser.add_argument("--files", type=int, default=sys.maxsize, help="no more than so many")
    parser.add_argument("--limit", type=int, default=LIMIT >> 20, help="MiB of data that the function may have")
    asked = parser.parse_args()
    first = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    deadline, seed, wrong = time.monotonic() + asked.minutes * 60, first, 0
    with (
        Cloud() as cloud,
        tempfile.TemporaryDirectory() as folder,
        trial(cloud, "fuzz", Path(folder), asked.limit << 20) as tried,
    ):
        while time.monotonic() < deadline and seed < first + asked.files:
            for what in tried.of(seed):
                wrong += 1
                _say(what)
            seed += 1
        _say(f"{seed - first} files, the first of seed {first}: {tried.arrived} arrived")
        _say(f"{wrong} faults, {tried.deaths} deaths of workers")
        _say(f"at most {tried.peak >> 20} MiB of memory; refused because")
        for reason, count in tried.refused.most_common():
            _say(f"{count:7,} {reason}")
    return 1 if wrong or tried.deaths else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
