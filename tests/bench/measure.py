"""What a case measures: samples of ways that take turns, and results that are ratios within one run."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import inf
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
    """What a case found, and the bar it has to meet, if it has one.

    `values` are ratios to what `against` names, one of each round, or absolute figures where there is nothing to
    compare with; `apart` are the same with the server and the functions on processors of their own. `seconds` are the
    times behind the ratios; `spent` are medians of what was spent. `beside` says what else `against` does, or does not.
    """

    case: int
    what: str
    unit: str
    values: Sequence[float]
    bar: float | None
    against: str = ""
    at_least: bool = False
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spent: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    apart: Sequence[float] = ()
    beside: str = ""

    @property
    def better(self) -> Sequence[float]:
        """What counts: `values` or `apart`, whichever are better."""
        return (max if self.at_least else min)(filter(None, (self.values, self.apart)), key=median)

    @property
    def median(self) -> float:
        return median(self.better)

    @property
    def met(self) -> bool:
        return self.meets(self.median)

    def meets(self, value: float) -> bool:
        """Whether a figure is within the bar."""
        if self.bar is None:
            return True
        return value >= self.bar if self.at_least else value <= self.bar


#: A way to do a case's work: it is given the number of the round, and times itself.
type Way = Callable[[int], Sample]
type Samples = Mapping[str, Sequence[Sample]]

#: How a way is called when the server and the functions have processors of their own.
APART = ", apart"


def in_turn(rounds: int, ways: Mapping[str, Way], seconds: float = inf, once: Container[str] = ()) -> Samples:
    """Every way in every round, each round beginning with another: what drifts, drifts for all. Ways of `once` have
    their turn in the first round alone. The others have one more only if all is likely to end within the seconds.
    """
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    names, turns, end = list(ways), dict[str, float](), time.monotonic() + seconds
    for number in range(rounds):
        if number and time.monotonic() + sum(turns.values()) > end:
            break
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if number and name in once:
                continue
            _log.info("round %d of %d: %s", number + 1, rounds, name)
            began = time.monotonic()
            samples[name].append(ways[name](number))
            turns[name] = 0.0 if name in once else time.monotonic() - began
    return dict(samples)


def ratios(
    case: int, what: str, bar: float, samples: Samples, product: str, against: str, beside: Sequence[str] = ()
) -> Result:
    """How many times as long as the reference the product takes, round by round. What is `beside` is told with it."""
    values = [_ratios(samples, product + apart, against + apart) for apart in ("", APART)]
    return _result(case, what, bar, samples, (product, against, *beside), values, at_least=False)


def speedups(case: int, what: str, bar: float | None, samples: Samples, product: str, against: str) -> Result:
    """How many times as fast as the reference the product is, round by round."""
    values = [_ratios(samples, against + apart, product + apart) for apart in ("", APART)]
    return _result(case, what, bar, samples, (product, against), values, at_least=True)


def spending(result: Result, samples: Samples, way: str, name: str, share: float = 1.0) -> Result:
    """The result with that share of what a way spends by the name, in each round."""
    values = [[sample.spent[name] * share for sample in samples.get(way + apart, ())] for apart in ("", APART)]
    return replace(result, values=values[0], apart=values[1])


def _ratios(samples: Samples, above: str, below: str) -> list[float]:
    """One of each round that both had their turn in."""
    pairs = zip(samples.get(above, ()), samples.get(below, ()), strict=False)
    return [one.seconds / other.seconds for one, other in pairs]


def _result(
    case: int,
    what: str,
    bar: float | None,
    samples: Samples,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    at_least: bool,
) -> Result:
    told = [name + apart for name in names for apart in ("", APART) if name + apart in samples]
    seconds = {name: [sample.seconds for sample in samples[name]] for name in told}
    spent = {name: _medians(samples[name]) for name in told}
    return Result(case, what, "×", values[0], bar, names[1], at_least, seconds, spent, values[1])


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


def _tree(pid: int, without: Collection[int] = ()) -> Iterator[int]:
    """A process and all below it, without some and what is below them."""
    if pid in without:
        return
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child), without)


@contextmanager
def apart(server: int, elsewhere: Collection[int]) -> Iterator[None]:
    """A process with its children has one half of the processors, and we, with all below us, the other. Processes of
    `elsewhere`, which as deployed would be on neither, run where there is room.
    """
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    if not half:
        raise RuntimeError("one processor has no halves")
    try:
        _confine(_tree(server), processors[:half])
        _confine(_tree(os.getpid(), {server, *elsewhere}), processors[half:])
        yield
    finally:
        _confine(_tree(os.getpid(), elsewhere), processors)


def _confine(processes: Iterator[int], processors: Collection[int]) -> None:
    """What is started by one of them later is confined as well."""
    for process in processes:
        for thread in Path(f"/proc/{process}/task").glob("*"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), processors)
