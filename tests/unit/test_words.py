"""Counts as people read them."""

import pytest

from shared.words import quantity


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("part",), "0 parts"),
        (1, ("part",), "1 part"),
        (1_000, ("row",), "1,000 rows"),
        (1, ("batch", "batches"), "1 batch"),
        (2, ("batch", "batches"), "2 batches"),
    ],
)
def test_a_noun_is_in_the_number_that_its_count_asks_for(number, nouns, said):
    assert quantity(number, *nouns) == said
