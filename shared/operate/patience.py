"""Patience with the functions, which do the same work at the same time; and word of whom a command waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.errors import BusyError
from shared.operate.status.words import duration

#: Seconds without any movement after which those at work are left to themselves.
PATIENCE = 600

#: Seconds between two looks.
PAUSE = 1.0

#: Seconds after which it is told again what is waited for, though that is the same as before.
INTERVAL = 30

#: Takes a line for whoever waits.
type Tell = Callable[[str], object]


class Patience:
    """Lasts as long as something moves. Tells whom the command waits for when that changes, and calmly in between."""

    def __init__(self, tell: Tell, seconds: float | None = None) -> None:
        self._tell, self._seconds = tell, PATIENCE if seconds is None else seconds
        self._moved = self._told = time.monotonic()
        self._progress: object = None
        self._topic: str | None = None

    def lasts(self, progress: object, topic: str, detail: str = "") -> bool:
        """Whether to look again: not when `progress` has been the same for too long. `detail` is told along, but a
        change of `detail` alone is not worth a line.
        """
        now = time.monotonic()
        if progress != self._progress:
            self._progress, self._moved = progress, now
        if topic != self._topic or now - self._told >= INTERVAL:
            still = now - self._moved
            since = f" (nothing has moved for {duration(still)})" if still >= INTERVAL else ""
            self._tell(f"{topic}{detail}{since}")
            self._topic, self._told = topic, now
        return now - self._moved < self._seconds


def pause() -> None:
    time.sleep(PAUSE)


def while_busy[R](step: Callable[[], R], tell: Tell, seconds: float | None = None) -> R:
    """The result of the step, once no other worker is at its work. Raises BusyError when that takes too long."""
    patience = Patience(tell, seconds)
    while True:
        try:
            return step()
        except BusyError as e:
            if not patience.lasts(None, f"waiting: {e}", f" ({e.doing})" if e.doing else ""):
                raise
            pause()
