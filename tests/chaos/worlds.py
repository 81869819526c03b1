"""Worlds side by side, each in a process of its own, and what became of the schedules that they play."""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import queue
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local import CACHE
from tests.chaos import daily, hourly
from tests.chaos.schedule import Schedule
from tests.chaos.world import Found, World

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

FLOWS = {"daily": (daily.daily, daily.schedule), "hourly": (hourly.hourly, hourly.schedule)}
#: Seconds after which a schedule hangs: then it is told where, and its world ends.
HANGS = 900
#: A fault that was there so often, and that nothing has ever met, is none.
ENOUGH = 20
#: After how many schedules a world is too full of what was before.
RENEWED = 40
#: Where the logs of the functions of a schedule that failed are kept.
KEPT = CACHE / "chaos"


@dataclass(frozen=True)
class Asked:
    """What is played: schedules of `flow`, counted up from `seed`, in so many worlds side by side."""

    flow: str
    seed: int
    schedules: int
    worlds: int
    minutes: float
    shorten: float


def play(asked: Asked) -> int:
    """Play schedules, and say what became of each, and of all of them."""
    outcomes: Counter[str] = Counter()
    reads, count, calls = 0, 0, 0
    faults, unmet = Counter[str](), Counter[str]()
    for seed, found, shortest in _played(asked):
        count, reads, calls = count + 1, reads + found.reads, max(calls, found.calls)
        faults.update(found.faults)
        unmet.update(found.unmet)
        outcomes.update({what.partition(":")[0] for what in found.wrong} or {"ok"})
        _say(f"{asked.flow} {seed} {found.seconds:.1f} s {'; '.join(found.wrong) or 'ok'}")
        if shortest:
            _say(f"again by: nox -s chaos -- {asked.flow} --seed {seed} --schedules 1\n{shortest}")
    _say(f"{count} {asked.flow} schedules, the first of seed {asked.seed}, {reads:,} reads: {dict(outcomes)}")
    _say(f"Healed by {calls} calls at most. Faults that were met:")
    _say("; ".join(f"{fault} {of - unmet[fault]} of {of}" for fault, of in faults.most_common()))
    never = [fault for fault, of in faults.items() if of >= ENOUGH and unmet[fault] == of]
    if never:
        _say(f"Nothing can meet these faults: {', '.join(never)}")
        return 1
    return 0 if count and set(outcomes) <= {"ok"} else 1


type Played = tuple[int, Found, str]


def _played(asked: Asked) -> Iterator[Played]:
    """Each schedule's seed, what was found, and the shortest one that fails as well, if it failed. A world that is lost
    has failed.
    """
    context = multiprocessing.get_context("spawn")
    seeds: Queue[int | None] = context.Queue()
    results: Queue[Played] = context.Queue()
    worlds = [context.Process(target=_world, args=(asked, seeds, results)) for _ in range(asked.worlds)]
    for world in worlds:
        world.start()
    next_, under_way, deadline = asked.seed, set[int](), time.monotonic() + asked.minutes * 60
    while True:
        while len(under_way) < asked.worlds and next_ < asked.seed + asked.schedules and time.monotonic() < deadline:
            seeds.put(next_)
            under_way.add(next_)
            next_ += 1
        if not under_way:
            break
        lost = [world for world in worlds if not world.is_alive()]
        try:
            played = results.get(timeout=1)
        except queue.Empty:
            if lost:
                told = Found([f"stuck: a world ended by itself ({lost[0].exitcode}); one of {sorted(under_way)}"])
                yield min(under_way), told, "(nothing was left out)"
                break
            continue
        under_way.remove(played[0])
        yield played
    for _ in worlds:
        seeds.put(None)
    for world in worlds:
        world.join(120)
        world.kill()


def _world(asked: Asked, seeds: Queue[int | None], results: Queue[Played]) -> None:
    """One world after the other, each as long as nothing is wrong in it."""
    deployed, schedule = FLOWS[asked.flow]
    left = asked.shorten * 60
    logging.getLogger("recosync").addHandler(logging.NullHandler())  # what operators see is not ours
    with Worlds(deployed) as worlds:
        while (seed := _next(seeds)) is not None:
            found = worlds.play(schedule(seed), KEPT / f"{asked.flow}-{seed}")
            began = time.monotonic()
            shortest = _shortest(worlds, schedule(seed), found, left) if found.wrong else ""
            left -= time.monotonic() - began if found.wrong else 0
            results.put((seed, found, str(shortest)))


def _next(seeds: Queue[int | None]) -> int | None:
    """The next seed; None when there is none, or nobody is left who wants to know."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        with suppress(queue.Empty):
            return seeds.get(timeout=1)
    return None


class Worlds:
    """The world that there is, and another one after so many schedules, or one that failed: what it left is not the
    next one's.
    """

    def __init__(self, deployed: type[AbstractContextManager[World]]) -> None:
        self._deployed, self._stack = deployed, ExitStack()
        self._world: World | None = None
        self._played = 0

    def __enter__(self) -> Worlds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, of: Schedule, kept: Path | None = None) -> Found:
        faulthandler.dump_traceback_later(HANGS, exit=True)
        if self._world is None:
            self._world, self._played = self._stack.enter_context(self._deployed()), 0
        world = self._world
        self._played += 1
        try:
            found = world.play(of)
        except Exception as e:  # noqa: BLE001 - the next schedule has another world
            found = Found([f"unclear: {type(e).__name__} {e}"])
        if found.wrong and kept is not None:
            shutil.copytree(world.here.cloud.folder, kept, ignore=_but_logs, dirs_exist_ok=True)
        if found.wrong or self._played >= RENEWED:
            self._world = None
            self._stack.close()
        faulthandler.cancel_dump_traceback_later()
        return found


def _but_logs(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".log")]


def _shortest(worlds: Worlds, of: Schedule, found: Found, seconds: float) -> Schedule:
    """The schedule without the acts that it fails without as well, as far as there is time to try."""
    deadline, kinds = time.monotonic() + seconds, found.kinds
    for number in reversed(range(len(of.acts))):
        if time.monotonic() > deadline:
            break
        shorter = of.without(number)
        if worlds.play(shorter).kinds & kinds:
            of = shorter
    return of


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
