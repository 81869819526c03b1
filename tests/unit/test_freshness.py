"""What is waited for: a view of several tables is held up by those that are not fresh enough, and by no others."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.operate.freshness import Freshness, Waited, Wanted

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SINCE = Wanted(since=NOW - timedelta(hours=2))


def row(name: str, state: str, hours: int | None, *reads: str) -> Freshness:
    """A table or, where it reads some, a view, as fresh as so many hours ago."""
    age = None if hours is None else timedelta(hours=hours)
    at = None if age is None else NOW - age
    return Freshness(name, "view" if reads else "table", list(reads or [name]), state, "s", 1, None, at, at, at, age)


@pytest.mark.parametrize(
    ("view", "first", "second", "what"),
    [
        (("pinned", 1), ("pinned", 1), ("held", 1), ("reached", "view")),
        (("pinned", 3), ("pinned", 1), ("fresh", 3), ("late", "second")),
        (("pinned", 3), ("pinned", 1), ("failing", 3), ("late", "second")),
        (("behind", 3), ("pinned", 1), ("fresh", 1), ("late", "view")),
        (("failed", 3), ("pinned", 1), ("fresh", 1), ("failed", "view")),
        # What failed may succeed with the newer rows that are to come.
        (("failed", 3), ("fresh", 1), ("stale", 3), ("late", "second")),
        (("pinned", 3), ("pinned", 3), ("fresh", 1), ("pinned", "first")),
        (("pinned", 3), ("pinned", 3), ("failed", 3), ("failed", "second")),
        (("never_published", None), ("held", None), ("fresh", 1), ("held", "first")),
        (("never_published", None), ("never_published", None), ("fresh", 1), ("late", "first")),
    ],
)
def test_a_view_waits_for_what_it_lacks(view, first, second, what):
    tables = {name: row(name, *its) for name, its in (("first", first), ("second", second))}
    came = Waited.of(row("view", *view, "first", "second"), SINCE, tables)
    assert (came.what, came.because) == what


def test_how_fresh_rows_should_be_is_an_instant_or_an_age():
    assert SINCE.met_by(row("a", "fresh", 2))
    assert not SINCE.met_by(row("a", "fresh", 3))
    assert not SINCE.met_by(row("a", "never_published", None))
    assert Wanted(fresher_than=timedelta(hours=2)).met_by(row("a", "stale", 1))
    assert not Wanted(fresher_than=timedelta(hours=2)).met_by(row("a", "fresh", 2))
