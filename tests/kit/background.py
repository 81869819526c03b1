"""Calls in the background, and the wait for what they bring about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


class Background:
    """A call in a thread of its own; `result` waits for it and gives or raises its outcome."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcome: list[object] = []
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._outcome.append(call())
            except BaseException as e:  # noqa: BLE001 - raised where the result is asked for
                self._error = e

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, seconds: float = 60) -> object:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it never ended"
        if self._error is not None:
            raise self._error
        return self._outcome[0]
