"""A Parquet file as pyarrow reads it in pieces."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.gcp import layout, long_rows, ranged

FEW = ["x" * 100_000, "y" * 100_000]


class File(io.BytesIO):
    """A file that counts what is read of it."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.asked += len(content)
        return content


def written(rows: pa.Table, row_group_size: int) -> File:
    sink = io.BytesIO()
    pq.write_table(rows, sink, row_group_size=row_group_size)
    return File(sink.getvalue())


def read(file: File, skipped: int = 0) -> list[pa.RecordBatch]:
    return list(long_rows.batches(file, layout.read_from(file)[1], skipped, "a file"))


@pytest.mark.parametrize("skipped", [0, 1, 450, 700, 1_000])
@pytest.mark.parametrize("lengths", [[1] * 5_000, [100_000] * 300, [1] * 700 + [100_000] * 300])
def test_every_row_comes_once_and_in_its_order(lengths, skipped):
    texts = [f"{number}" + FEW[number % 2][:length] for number, length in enumerate(lengths)]
    found = read(written(pa.table({"n": range(len(texts)), "c": texts}), 450), skipped)
    assert [n for batch in found for n in batch["n"].to_pylist()] == list(range(len(texts)))[skipped:]
    assert [c for batch in found for c in batch["c"].to_pylist()] == texts[skipped:]


def test_long_texts_of_a_dictionary_come_a_few_at_a_time():
    sizes = [batch.nbytes for batch in read(written(pa.table({"c": [FEW[n % 2] for n in range(3_000)]}), 3_000))]
    assert max(sizes) <= 32 << 20
    assert sum(sizes) > 3_000 * 100_000


def test_one_row_group_is_read_alone():
    file = written(pa.table({"c": [f"{n}" for n in range(100_000)]}), 10_000)
    chunks = [chunk for chunk in layout.read_from(file)[1] if chunk.row_group == 3]
    before = file.asked
    found = pa.Table.from_batches(long_rows.of_row_group(file, ranged.opened(file), chunks, "a file"))
    assert found["c"].to_pylist() == [f"{n}" for n in range(30_000, 40_000)]
    alone = file.asked - before
    read(file)
    assert 2 * alone < file.asked - before - alone
