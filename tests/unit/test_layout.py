"""What a footer says of where its pages lie: each of these would send a reader somewhere else."""

from dataclasses import replace

import pytest

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
