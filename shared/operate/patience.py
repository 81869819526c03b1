"""Patience with the functions, which do the same work at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.errors import BusyError

#: Seconds after which a worker that is still at it is left alone.
PATIENCE = 600

#: Seconds between two tries.
PAUSE = 1.0


def while_busy[R](step: Callable[[], R], seconds: float = PATIENCE) -> R:
    """What the step gives once nobody else is at its work. Raises BusyError when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
