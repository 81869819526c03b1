"""Clocks that are wrong."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo


def later(by: timedelta) -> type[datetime]:
    """A class `datetime` whose clock is off."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + by

    return Late
