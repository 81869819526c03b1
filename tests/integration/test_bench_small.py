"""What the small benchmark makes of its samples, and its figures in step with its cases."""

from __future__ import annotations

import json

import pytest

from tests.bench import small
from tests.bench.measure import Sample
from tests.kit.exchanges import Asked, Exchanges


def case(function: float, server: float, answers: int = 7) -> Sample:
    return Sample(spent={"function CPU s": function, "server CPU s": server, "answers": answers, "requests": 2})


SAMPLES = {
    "load": [case(2.0, 3.0), case(1.0, 4.0, 8)],
    "COPY": [Sample(spent={"server CPU s": 2.0}), Sample(spent={"server CPU s": 1.5})],
    "Parquet into Python": [Sample(spent={"function CPU s": 0.5}), Sample(spent={"function CPU s": 0.8})],
}
FOUND = {"load": {"function": 2.0, "server": 2.0, "answers": 7, "requests": 2}}


def test_the_least_of_all_rounds_is_told_in_multiples_of_the_least_of_its_reference():
    assert small.figures(SAMPLES) == FOUND


@pytest.mark.parametrize(("name", "allowed", "dear"), [
    ("function", 1.6, False),
    ("function", 1.59, True),
    ("server", 1.6, False),
    ("server", 1.5, True),
    ("answers", 8, False),
    ("answers", 6, True),
])  # fmt: skip
def test_a_quarter_more_cpu_is_too_dear_and_one_more_answer_is(name: str, allowed: float, dear: bool):
    assert small.dear(FOUND, {"load": {**FOUND["load"], name: allowed}}) == ([("load", name)] if dear else [])


def test_a_case_that_has_no_figures_is_too_dear():
    assert small.dear(FOUND, {}) == [("load", name) for name in FOUND["load"]]


def test_there_are_figures_of_every_case_and_of_no_other():
    figures = json.loads(small.FIGURES.read_text())
    assert figures.keys() == small.CASES.keys()
    assert {tuple(costs) for costs in figures.values()} == {("function", "server", "answers", "requests")}


@pytest.mark.parametrize(("keeps", "sessions", "answers"), [
    (True, [0], 1),
    (True, [1, 0], 2),
    (True, [1, 1, 1], 3),
    (False, [1], 1),
])  # fmt: skip
def test_a_case_whose_function_had_lost_its_session_is_tried_again(monkeypatch, keeps, sessions, answers):
    monkeypatch.setattr(small, "_QUIET", 0)
    exchanges, opened = Exchanges(), list(sessions)

    def way(_: int) -> Sample:
        exchanges.sessions = opened.pop(0)
        exchanges.waits = [[] for _ in range(len(sessions) - len(opened))]
        return Sample()

    sample = small._Counter({}, Asked(exchanges)).way(way, small._Case(1, keeps))(0)
    assert opened == []
    assert sample.spent == {"answers": answers, "requests": 0, "sessions": sessions[-1]}
