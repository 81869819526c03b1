"""The size of the batches that a part is read in."""

import pytest

from shared.db.copy import BATCH_BYTES, batch_rows
from shared.gcp.parquet import Footer


def rows_of(rows: int, row_bytes: int) -> int:
    """The rows of a batch of a file that has so many rows of so many bytes."""
    return batch_rows(Footer((), (rows // 2, rows - rows // 2), rows * row_bytes))


@pytest.mark.parametrize("row_bytes", [300, 4_000, 60_000])
def test_a_batch_has_a_size_in_bytes_whatever_a_row_has(row_bytes):
    assert BATCH_BYTES - row_bytes < rows_of(1_000_000, row_bytes) * row_bytes <= BATCH_BYTES


def test_short_rows_come_in_large_batches_that_have_an_end():
    assert rows_of(1_000_000, 2) == 16_384


def test_long_rows_come_in_small_batches_that_are_worth_a_call():
    assert rows_of(1_000, 1 << 20) == 64


@pytest.mark.parametrize("footer", [Footer((), ()), Footer((), (0,)), Footer((), (0,), 100)])
def test_a_file_without_rows_has_a_batch_size_all_the_same(footer):
    assert batch_rows(footer) >= 1
