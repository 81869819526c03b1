"""What a case of the benchmark makes of its samples."""

from __future__ import annotations

import pytest

from tests.bench.measure import Result, Sample, in_turn, ratios, speedups

SAMPLES = {
    "ours": [Sample(2.0, {"CPU s": 1.0}), Sample(3.0, {"CPU s": 3.0})],
    "theirs": [Sample(4.0, {"CPU s": 5.0}), Sample(12.0, {"CPU s": 5.0})],
}


def test_every_way_has_its_turn_in_every_round_and_another_begins_each():
    turns = list[str]()

    def way(name: str):
        def run(number: int) -> Sample:
            turns.append(f"{name}{number}")
            return Sample(float(number))

        return run

    samples = in_turn(3, {name: way(name) for name in "abc"})
    assert turns == ["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2"]
    assert {tuple(sample.seconds for sample in samples[name]) for name in "abc"} == {(0, 1, 2)}


def test_ratios_are_of_the_same_round():
    slower = ratios(1, "work", 1.5, SAMPLES, "theirs", "ours")
    faster = speedups(1, "work", 1.5, SAMPLES, "ours", "theirs")
    assert slower.values == faster.values == [2.0, 4.0]
    assert (slower.against, faster.against) == ("ours", "theirs")
    assert faster.seconds == {"ours": [2.0, 3.0], "theirs": [4.0, 12.0]}
    assert faster.spent == {"ours": {"CPU s": 2.0}, "theirs": {"CPU s": 5.0}}


@pytest.mark.parametrize(("values", "at_least", "met"), [
    ([1.0, 1.1, 9.0], False, True),
    ([1.0, 1.2, 1.3], False, False),
    ([0.1, 1.1, 1.1], True, True),
    ([1.0, 1.0, 9.0], True, False),
])  # fmt: skip
def test_the_median_is_what_meets_the_bar(values: list[float], at_least: bool, met: bool):
    assert Result(1, "work", "×", values, 1.1, at_least=at_least).met is met
