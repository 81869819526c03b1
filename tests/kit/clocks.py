"""Clocks that are wrong, or stand still."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo


def stopped(at: datetime) -> type[datetime]:
    """A class `datetime` whose clock stands still."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return at.astimezone(tz)

    return Stopped


def later(by: timedelta) -> type[datetime]:
    """A class `datetime` whose clock is off."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + by

    return Late
