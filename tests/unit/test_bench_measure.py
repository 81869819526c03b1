"""What a case of the benchmark makes of its samples."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.bench.measure import APART, Result, Sample, apart, in_turn, ratios, speedups, spending

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


def test_a_slow_way_has_one_turn_and_a_round_that_would_not_end_in_time_is_not_begun():
    turns = list[str]()

    def way(name: str, seconds: float = 0.0):
        def run(number: int) -> Sample:
            turns.append(f"{name}{number}")
            time.sleep(seconds)
            return Sample()

        return run

    in_turn(3, {"a": way("a"), "slow": way("slow", 0.02)}, seconds=60, once=["slow"])
    assert turns == ["a0", "slow0", "a1", "a2"]
    turns.clear()
    in_turn(3, {"a": way("a", 0.02)}, seconds=0.02)
    assert turns == ["a0"]


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


def test_what_is_apart_is_told_beside_the_rest_and_the_better_counts():
    samples = {
        **SAMPLES,
        f"ours{APART}": [Sample(1.0, {"CPU s": 2.0})],
        f"theirs{APART}": [Sample(9.0, {"CPU s": 4.0})],
    }
    faster = speedups(1, "work", 5.0, samples, "ours", "theirs")
    assert (faster.values, faster.apart, faster.better) == ([2.0, 4.0], [9.0], [9.0])
    assert faster.met
    assert list(faster.seconds) == ["ours", f"ours{APART}", "theirs", f"theirs{APART}"]
    slower = ratios(1, "work", 5.0, samples, "theirs", "ours")
    assert (slower.better, slower.met) == ([2.0, 4.0], True)
    assert speedups(1, "work", 1.0, SAMPLES, "ours", "theirs").apart == []
    spent = spending(Result(1, "CPU", "s", (), 1.0), samples, "ours", "CPU s", 0.5)
    assert (spent.values, spent.apart, spent.median) == ([0.5, 1.5], [1.0], 1.0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor has no halves")
def test_apart_a_server_has_one_half_of_the_processors_and_we_have_the_other_until_the_end():
    everywhere = os.sched_getaffinity(0)
    command = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as server,
        subprocess.Popen(command, stdin=subprocess.PIPE) as elsewhere,
    ):
        with apart(server.pid, [elsewhere.pid]):
            of_server, ours, of_other = map(os.sched_getaffinity, (server.pid, 0, elsewhere.pid))
        after = [os.sched_getaffinity(process) for process in (server.pid, 0, elsewhere.pid)]
        for process in (server, elsewhere):
            process.communicate(b"\n")
    assert of_server
    assert ours
    assert not of_server & ours
    assert of_server | ours == of_other == everywhere
    assert after == [everywhere] * 3
