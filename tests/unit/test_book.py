"""Every entry of the book of disasters is played by a test, and says what whoever is woken by it asks first."""

import re
from pathlib import Path

import pytest

from tests.kit import book

TESTS = Path(__file__).parents[1] / "integration"

ENTRIES = book.entries()


def test_each_disaster_is_played_by_a_test():
    played = re.findall(r"\bentry\(\"(.+?)\"\)", "".join(file.read_text() for file in TESTS.glob("test_book_*.py")))
    assert sorted(set(played)) == sorted(ENTRIES)


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_says_how_it_shows_what_readers_notice_and_what_is_lost(title):
    text = " ".join(ENTRIES[title].text.split())
    for what in ("**Shows.**", "**Readers.**", "**Lost.**"):
        assert text.count(what) == 1, what
    assert re.search(r"\*\*Lost\.\*\* \S", text)
