"""A schedule: what happens when, made of a seed. It prints as Python, to be pasted into a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random


@dataclass(frozen=True)
class Act:
    """What is done `at` so many seconds after the beginning: a method's name and its arguments."""

    at: float
    what: str
    arguments: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"Act({self.at}, {self.what!r}, {_python(self.arguments)})"


def _python(value: object) -> str:
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case tuple():
            return f"({', '.join(map(_python, value))}{',' * (len(value) == 1)})"
        case _:
            return repr(value)


@dataclass(frozen=True)
class Schedule:
    """Acts in their order. `seed` also decides what the acts leave open."""

    seed: int
    acts: tuple[Act, ...]

    def __str__(self) -> str:
        acts = "".join(f"\n        {act}," for act in self.acts)
        return f"Schedule(\n    {self.seed},\n    ({acts}\n    ),\n)"

    def without(self, left_out: int) -> Schedule:
        return Schedule(self.seed, tuple(act for n, act in enumerate(self.acts) if n != left_out))


@dataclass(frozen=True)
class Kind:
    """How often an act is chosen, beside the others, and how its arguments are."""

    weight: int
    arguments: Callable[[Random], tuple[object, ...]] = lambda _: ()


def made(seed: int, kinds: Mapping[str, Kind], begin: tuple[str, ...], seconds: float) -> Schedule:
    """A schedule of that length: it begins with `begin`, and goes on by chance."""
    chance = Random(seed)  # noqa: S311
    count = chance.randint(5, 14)
    times = sorted(round(chance.uniform(0.1, seconds), 2) for _ in range(count))
    weights = [kind.weight for kind in kinds.values()]
    acts = [Act(0.0, what, kinds[what].arguments(chance)) for what in begin]
    for at in times:
        (what,) = chance.choices(list(kinds), weights)
        acts.append(Act(at, what, kinds[what].arguments(chance)))
    return Schedule(seed, tuple(acts))
