"""Patience with those who are at work: what is told of it, and when it ends."""

import pytest

from shared.errors import BusyError
from shared.operate import patience
from shared.operate.patience import INTERVAL, Patience


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def test_a_reason_is_told_when_it_changes_and_calmly_in_between(clock):
    told = []
    waits = Patience(told.append, 1_000)
    for second in range(2 * INTERVAL + 5):
        clock.now = float(second)
        assert waits.lasts("same", "busy" if second < 5 else "locked", f" ({second})")
    assert told == ["busy (0)", "locked (5)", f"locked ({5 + INTERVAL}) (nothing has moved for {5 + INTERVAL} s)"]


def test_it_lasts_as_long_as_something_moves(clock):
    waits = Patience(lambda _: None, 10)
    for staged in range(5):
        clock.now += 9
        assert waits.lasts(staged, "stage")
    clock.now += 10
    assert not waits.lasts(4, "stage")


def test_who_waits_for_a_busy_worker_hears_of_it_and_of_its_end(clock):
    told = []

    def step():
        raise BusyError("another worker is at it", where="recosync view a_mv")

    with pytest.raises(BusyError):
        patience.while_busy(step, told.append)
    assert told[0] == "waiting: recosync view a_mv: another worker is at it"
    assert len(told) == 1 + patience.PATIENCE / INTERVAL
