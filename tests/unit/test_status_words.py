"""Ages, durations and times as the status page words them."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.operate.status import words

NOW = datetime(2026, 11, 23, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=12, seconds=59), "12 min ago"),
        (timedelta(hours=4), "4 h ago"),
        (timedelta(hours=4, minutes=1), "4 h 1 min ago"),
        (timedelta(days=1, hours=3, minutes=9), "1 day 3 h ago"),
        (timedelta(days=2, minutes=9), "2 days ago"),
        (timedelta(days=9, hours=23), "9 days ago"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(hours=-3), "in the future"),
    ],
)
def test_ages(age, said):
    assert words.ago(NOW - age, NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "1.7 min"),
        (720, "12 min"),
        (5_969, "99 min"),
        (5_971, "1.7 h"),
    ],
)
def test_durations(seconds, said):
    assert words.duration(seconds) == said


def test_an_instant_has_its_year_where_it_is_another():
    assert words.instant(NOW, NOW) == "23 Nov 09:12"
    assert words.instant(NOW, NOW.replace(year=2027)) == "23 Nov 2026 09:12"


def test_a_long_text_is_cut_where_it_says_so():
    assert words.clip("short") == "short"
    assert words.clip("x" * 500) == "x" * 399 + "…"


def test_a_message_keeps_its_end_for_there_is_the_remedy():
    said = "public.offers: " + "has a column that is not as it should be; " * 40 + "Drop it and import again"
    told = words.brief(said, 300)
    assert told.startswith("public.offers: has a column")
    assert told.endswith("Drop it and import again")
    assert " … " in told
    assert len(told) <= 300
    assert words.brief("short") == "short"
