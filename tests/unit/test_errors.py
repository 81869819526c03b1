"""What a failure says can be shown anywhere, whoever wrote the names and texts in it."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import DataError, printable, shown

texts = st.text(st.characters(exclude_categories=()), max_size=50) | st.text("\u202e\0\x1b\ud800", max_size=3_000)


@given(texts, texts, texts, st.integers(1, 500))
@example("part-\u202e\x1b[31m.parquet", "a\0b", "\ud800", 300)
def test_a_failure_prints_in_a_line_that_nothing_in_it_turns_around(what, where, remedy, times):
    error = DataError(what * times, where=where * times, remedy=remedy * times)
    assert len(str(error).encode()) < 8_000
    assert all(c.isprintable() or c == "\n" for c in str(error))
    assert (shown(what, 10**6), shown(where, 10**6)) == (printable(what), printable(where))


@given(texts)
def test_a_document_is_the_same_one_when_it_is_printed(text):
    document = json.dumps({text: [text]}, ensure_ascii=False)
    assert json.loads(printable(document)) == {text: [text]}


@given(texts, st.integers(10, 200))
def test_what_is_too_long_is_cut_where_a_character_ends(text, limit):
    cut = shown(text, limit)
    assert len(cut.encode()) <= limit
    assert cut == printable(text) or (cut.endswith("[…]") and printable(text).startswith(cut.removesuffix(" […]")))


def test_what_can_be_read_stays_as_it_is():
    assert str(DataError("théâtre œuvre 100 % – …", where="gs://b/日本.parquet")) == (
        "gs://b/日本.parquet: théâtre œuvre 100 % – …"
    )
