"""Numbers and times as people read them. All times are UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = ((timedelta(days=1), "day", "days"), (timedelta(hours=1), "h", "h"), (timedelta(minutes=1), "min", "min"))


def ago(then: datetime, now: datetime) -> str:
    """An age, by its two largest units at most: `12 min ago`, `1 day 3 h ago`, `9 days ago`."""
    age = now - then
    if age < timedelta(minutes=1):
        return "just now" if age >= timedelta(minutes=-1) else "in the future"
    words: list[str] = []
    for unit, one, many in _UNITS:
        count, age = divmod(age, unit)
        if count:
            words.append(f"{count} {one if count == 1 else many}")
        elif words:
            break
    # The hours tell nothing of what is a week old.
    return " ".join(words[: 1 if now - then >= timedelta(days=7) else 2]) + " ago"


def duration(seconds: float) -> str:
    """`0.3 s`, `72 s`, `3.5 min`, `12 min`, `2.1 h`: short enough for a narrow column."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    value, unit = (seconds / 60, "min") if seconds < 99.5 * 60 else (seconds / 3600, "h")
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def instant(at: datetime, now: datetime) -> str:
    """`23 Nov 05:00`, with the year where it is another."""
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {at:%b}{year} {at:%H:%M}"


def clip(text: str, length: int = 400) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def brief(text: str, length: int = 800) -> str:
    """A text that may be long, without its middle: a message ends in the remedy."""
    if len(text) <= length:
        return text
    head = length * 3 // 5
    return f"{text[:head].rstrip()} … {text[head + 3 - length :].lstrip()}"
