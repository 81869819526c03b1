"""The size of the batches that a part is read in: what they turn out to have."""

import threading

import pyarrow as pa
import pytest

from shared.gcp.batches import BATCH_BYTES, BATCH_ROWS, apart, together
from shared.rows.copy import _WAITING, _ahead


def rows_of(count: int, row_bytes: int) -> pa.RecordBatch:
    column = pa.DictionaryArray.from_arrays([0] * count, ["x" * row_bytes]).cast(pa.string())
    return pa.record_batch({"text": column})


@pytest.mark.parametrize("row_bytes", [300, 10_000, 32_000])
def test_a_batch_has_a_size_in_bytes_whatever_a_row_has(row_bytes):
    given = [rows_of(2048, row_bytes)] * 20
    batches = [batch for table in together(given) for batch in apart(table)]
    assert sum(batch.num_rows for batch in batches) == 20 * 2048
    assert max(batch.nbytes for batch in batches) <= 2 * BATCH_BYTES + row_bytes


def test_short_rows_come_in_large_batches_that_have_an_end():
    tables = list(together([rows_of(2048, 2)] * 20))
    assert [table.num_rows for table in tables] == [BATCH_ROWS, BATCH_ROWS, 4 * 2048]


def test_rows_that_are_longer_than_a_batch_come_alone():
    (table,) = together([rows_of(3, 3 * BATCH_BYTES)])
    assert [batch.num_rows for batch in apart(table)] == [1, 1, 1]


def test_nothing_has_no_batches():
    assert list(together([])) == []


@pytest.mark.parametrize(("size", "most"), [(1 << 20, _WAITING >> 20), (_WAITING, 1), (_WAITING + 1, 1)])
def test_a_stage_runs_so_many_bytes_ahead_of_the_next_or_one_item(size, most):
    made = []
    stuck = threading.Event()

    def source():
        for number in range(50):
            made.append(number)
            if number == most + 1:
                stuck.set()
            yield bytes(size)

    ahead = _ahead(source())
    next(ahead)
    stuck.wait(10)
    # One was taken and one waits for room.
    assert len(made) <= most + 2
    ahead.close()


def test_the_end_of_a_stage_is_the_end_of_what_it_reads_from():
    ended = threading.Event()

    def source():
        try:
            while True:
                yield bytes(_WAITING)
        finally:
            ended.set()

    ahead = _ahead(source())
    next(ahead)
    ahead.close()
    assert ended.is_set()
