"""What a case measures: samples of ways that take turns, and results that are ratios within one run."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

_log = logging.getLogger(__name__)

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Sample:
    """One run of one way: seconds by the clock; `spent` says on what, in seconds of CPU or MiB of WAL, by name."""

    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a case found, and the bar it has to meet.

    `values` are ratios to what `against` names, one of each round, or absolute figures where there is nothing to
    compare with. `seconds` are the times behind the ratios; `spent` are medians of what the product spent.
    """

    case: int
    what: str
    unit: str
    values: Sequence[float]
    bar: float
    against: str = ""
    at_least: bool = False
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spent: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def met(self) -> bool:
        return self.median >= self.bar if self.at_least else self.median <= self.bar


#: A way to do a case's work: it is given the number of the round, and times itself.
type Way = Callable[[int], Sample]


def in_turn(rounds: int, ways: Mapping[str, Way]) -> dict[str, list[Sample]]:
    """Every way in every round, each round beginning with another: what drifts, drifts for all."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    names = list(ways)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            _log.info("round %d of %d: %s", number + 1, rounds, name)
            samples[name].append(ways[name](number))
    return dict(samples)


def ratios(
    case: int,
    what: str,
    bar: float,
    samples: Mapping[str, Sequence[Sample]],
    product: str,
    against: str,
    beside: Sequence[str] = (),
) -> Result:
    """How many times as long as the reference the product takes, round by round. What is `beside` is told with it."""
    pairs = zip(samples[product], samples[against], strict=True)
    values = [ours.seconds / theirs.seconds for ours, theirs in pairs]
    return _result(case, what, bar, samples, (product, against, *beside), values, at_least=False)


def speedups(
    case: int, what: str, bar: float, samples: Mapping[str, Sequence[Sample]], product: str, against: str
) -> Result:
    """How many times as fast as the reference the product is, round by round."""
    pairs = zip(samples[product], samples[against], strict=False)
    values = [theirs.seconds / ours.seconds for ours, theirs in pairs]
    return _result(case, what, bar, samples, (product, against), values, at_least=True)


def _result(
    case: int,
    what: str,
    bar: float,
    samples: Mapping[str, Sequence[Sample]],
    names: tuple[str, ...],
    values: Sequence[float],
    *,
    at_least: bool,
) -> Result:
    seconds = {name: [sample.seconds for sample in samples[name]] for name in names}
    spent = {name: _medians(samples[name]) for name in names}
    return Result(case, what, "×", values, bar, names[1], at_least, seconds, spent)


def _medians(samples: Sequence[Sample]) -> dict[str, float]:
    return {name: median(sample.spent[name] for sample in samples) for name in samples[0].spent}


@contextmanager
def timed(processes: Mapping[str, int], wal: Callable[[], int] | None = None) -> Iterator[Sample]:
    """Times the block, and the CPU that we spent in it, and processes with their children.

    `wal` gives the server's position.
    """
    sample = Sample()
    before = {name: _cpu(pid) for name, pid in processes.items()}
    position = wal() if wal else 0
    own, started = time.process_time(), time.perf_counter()
    yield sample
    sample.seconds = time.perf_counter() - started
    own = time.process_time() - own
    # A server process reports its last work when it has ended and was waited for.
    time.sleep(0.05)
    sample.spent = {f"{name} CPU s": _cpu(pid) - before[name] for name, pid in processes.items()}
    sample.spent["client CPU s"] = own
    if wal:
        sample.spent["WAL MiB"] = (wal() - position) / 2**20


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process and all below it, those that ended included."""
    total = 0
    for process in _tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))
