"""Counts as people read them."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str | None = None) -> str:
    """`1 part`, `2 parts`, `1,000 rows`; with the plural of a noun that takes more than an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
