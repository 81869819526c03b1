"""What a footer says of where its pages lie: each of these would send a reader somewhere else."""

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.gcp import layout, thrift
from shared.gcp.layout import Chunk, File, wrong

FILE = File(rows=20, bytes=1_000, footer=192)
FIRST = Chunk(0, 10, "a", values=10, data=104, dictionary=4, index=None, packed=396, unpacked=900)
SECOND = Chunk(1, 10, "a", values=10, data=400, dictionary=None, index=None, packed=400, unpacked=900)


def test_pages_within_the_file_are_taken():
    assert wrong(FILE, [FIRST, SECOND]) is None


def test_a_file_without_rows_is_taken():
    empty = Chunk(0, 0, "a", values=0, data=0, dictionary=None, index=None, packed=0, unpacked=0)
    assert wrong(replace(FILE, rows=0), []) is None
    assert wrong(replace(FILE, rows=0), [empty]) is None


def test_a_dictionary_at_zero_is_none():
    assert wrong(FILE, [FIRST, replace(SECOND, dictionary=0)]) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", -5),
        ("data", 3),
        ("data", 801),
        ("data", 2**63 - 1),
        ("dictionary", -1),
        ("dictionary", 900),
        ("index", -1),
        ("index", 900),
        ("packed", -1),
        ("packed", 401),
        ("unpacked", -1),
        ("values", -1),
        ("rows", -1),
    ],
)
def test_what_can_not_be_is_named_with_its_column_and_row_group(field, value):
    said = wrong(FILE, [FIRST, replace(SECOND, **{field: value})])
    assert said is not None
    assert said.endswith("for column a in row group 1")


def test_row_groups_hold_the_rows_of_the_file():
    assert wrong(FILE, [FIRST]) == "counts 20 rows, and 10 in its row groups"


def parquet():
    into = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), into)
    return into.getvalue()


def test_a_file_that_was_cut_where_its_last_bytes_look_like_a_length_has_no_footer():
    """What lies before them may be read as a footer of anything."""
    whole = parquet()
    assert layout.read_from(io.BytesIO(whole))[0].rows == 3
    with pytest.raises(ValueError, match="has no footer"):
        layout.read_from(io.BytesIO(whole[:-4] + b"PAGE"))


def test_a_footer_with_something_else_for_a_number_is_none(monkeypatch):
    whole = parquet()
    footer = whole[-8 - int.from_bytes(whole[-8:-4], "little") : -8]
    found = thrift.struct(footer)
    said = found[4][0][1][0][3]
    places = [(found, 3), (found[4][0], 3), *((said, number) for number in (1, 2, 3, 4, 5, 6, 7, 9))]
    monkeypatch.setattr(thrift, "struct", lambda _: found)
    for place, number in places:
        right = place[number]
        for other in (None, [0.5], {0.5: 1}, 7 if isinstance(right, list) else b"3"):
            place[number] = other
            with pytest.raises(ValueError, match="is no footer"):
                layout.read(footer, len(whole))
        place[number] = right
    assert layout.read(footer, len(whole))[0].rows == 3
