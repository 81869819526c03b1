"""The transcript of `recosync status` in the runbook is what the command says of such a morning."""

from tests.browser.transcript import documented, transcript


def test_the_transcript_in_the_runbook_is_what_the_command_says(here):
    """To write it again: .venv/bin/python -m tests.browser.transcript"""
    assert documented() == transcript(here)


def test_it_is_of_80_columns_and_breaks_no_name():
    told = documented()
    assert told
    # What is longer than a line, such as the name of an object, has one of its own.
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in told.splitlines())
