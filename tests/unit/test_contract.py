"""Every promise of docs/contract.md names the tests that hold it, and they are there."""

import re

import pytest

from shared.catalog import ROOT
from tests.kit import promises

PROMISES, NOTES = promises.promises(), promises.notes()


def test_there_are_promises():
    assert len(PROMISES) > 60
    assert PROMISES[0].text.startswith("A table or view of the catalog is found under its name")
    assert PROMISES[0].notes == ("whole",)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:60])
def test_a_promise_has_its_test(promise):
    assert promise.notes
    assert set(promise.notes) <= NOTES.keys()


def test_every_test_that_is_named_is_there_and_holds_something():
    for note, ids in NOTES.items():
        assert ids, note
        for test in ids:
            path, _, name = test.partition("::")
            assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test
    assert {note for promise in PROMISES for note in promise.notes} == NOTES.keys()
