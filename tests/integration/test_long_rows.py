"""Parts whose values are long, in as much memory as a function has: they are staged, or refused by name."""

import io
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.catalog import Column, PgType
from shared.errors import DataError, RetryableError
from shared.gcp import parquet
from shared.rows import casts, copy
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, day
from tests.kit.uploads import Upload, arrive
from tests.kit.workers import IMPORT, worker

#: What a process of ours may take of the 1 GiB that its function has.
MOST = 768 << 20

#: Writes the most memory that the process ever had, in bytes.
PEAK = """
import resource
open(sys.argv[4], "w").write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))
"""


def written(groups: Iterator[list[str]], **options: object) -> bytes:
    """A part, a list of texts for each row group."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema({"user_id": pa.string(), "item_id": pa.large_string()}), **options) as file:
        for texts in groups:
            users = [f"user-{number}" for number in range(len(texts))]
            file.write_table(pa.table({"user_id": users, "item_id": pa.array(texts, pa.large_string())}))
    return sink.getvalue()


def text(number: int, length: int) -> str:
    return f"{number:08d}" * (length // 8)


SHAPES = {
    "20 texts of 10 kB, 60,000 times": lambda: written(iter([[text(n % 20, 10_000) for n in range(60_000)]])),
    "600 texts of 300 kB, in groups of 50": lambda: written(
        [text(group * 50 + n, 300_000) for n in range(50)] for group in range(12)
    ),
    "64 texts of 1 MB": lambda: written(iter([[text(n, 1_000_000) for n in range(64)]])),
    "a text of 20 MB, 30 times": lambda: written(iter([[text(1, 20_000_000)] * 30])),
    "12 texts of 20 MB, a page each": lambda: written(
        iter([[text(n, 20_000_000) for n in range(12)]]), use_dictionary=False, write_batch_size=1
    ),
    "short ones before 5 of 5 MB": lambda: written(
        iter([["short"] * 50_000, [text(n, 5_000_000) for n in range(5)], ["short"] * 50_000])
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_long_values_arrive_in_the_memory_that_a_function_has(here, services, database, tmp_path, shape):
    content = SHAPES[shape]()
    part = Upload(services, TABLE, day(1)).part(content)
    peak = tmp_path / "peak"
    with worker(here.env, IMPORT + PEAK, part.bucket, part.name, part.generation, peak) as process:
        process.wait()
    assert one(database, "SELECT message FROM recosync.failure") is None
    (child,) = database.execute("SELECT id FROM recosync.part").fetchone()
    given = pq.read_table(io.BytesIO(content), read_dictionary=["item_id"])["item_id"].combine_chunks()
    query = "SELECT count(*), sum(octet_length(item_id)), md5(string_agg(left(item_id, 8), '' ORDER BY ctid)) FROM"
    assert database.execute(f"{query} recosync.part_{child}").fetchone() == digest(given)
    assert int(peak.read_text()) < MOST


def digest(given: pa.DictionaryArray) -> tuple[object, ...]:
    import hashlib

    import pyarrow.compute as pc

    lengths = pc.binary_length(given.dictionary).take(given.indices)
    begins = [str(value)[:8] for value in given.dictionary.to_pylist()]
    order = "".join(begins[index] for index in given.indices.to_pylist())
    return len(given), pc.sum(lengths).as_py(), hashlib.md5(order.encode()).hexdigest()  # noqa: S324 - no secret


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: written(iter([["x" * 300_000_000]]), use_dictionary=False), "has pages of"),
        (lambda: written(iter([["x" * 40_000_000]]), use_dictionary=False), "has most of a row of 400000.. bytes"),
    ],
    ids=["300 MB", "40 MB"],
)
def test_what_is_too_long_for_a_function_is_refused_by_name(here, services, database, content, said):
    part = Upload(services, TABLE, day(1)).part(content())
    with pytest.raises(DataError, match=said) as refused:
        arrive(services, part)
    assert refused.value.where == f"item_id, row group 0 of {part}"
    assert one(database, "SELECT subject FROM recosync.failure") == str(part)


def test_both_readers_make_the_same_bytes_of_every_type(services, monkeypatch):
    at = [datetime(1950 + n, 1, 1, 3, 4, 5, 678) for n in range(40)]
    table = pa.table(
        {
            "text": [None if n % 5 == 0 else "x" * 10 * n for n in range(40)],
            "smallint": pa.array(range(40), pa.int16()),
            "bigint": pa.array(range(40), pa.uint64()),
            "real": pa.array([n / 3 for n in range(40)], pa.float32()),
            "numeric": pa.array([Decimal(n) / 4 for n in range(40)], pa.decimal128(30, 4)),
            "boolean": [n % 2 == 0 for n in range(40)],
            "date": [date(1950 + n, 2, 28) for n in range(40)],
            "timestamp": pa.array(at, pa.timestamp("us")),
            "instant": pa.array(at, pa.timestamp("us", tz="UTC")),
            "geometry": [struct.pack("<BIdd", 1, 1, n, n / 2) for n in range(40)],
            "varchar": pa.array(["a", "b"] * 20).dictionary_encode(),
            "jsonb": ['{"a": 1}'] * 40,
            "timestamptz": pa.array(at, pa.timestamp("us", tz="UTC")),
            "time": pa.array([time(n, n, n, n) for n in range(20)] * 2, pa.time64("us")),
            "bytea": [bytes([n]) * n for n in range(40)],
            "uuid": ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"] * 40,
            "interval": ["-1-2 3 -4:5:6.789"] * 40,
            "text[]": [[None, "x" * 10 * n] if n % 3 else [] for n in range(40)],
            "numeric(5,2)[]": pa.array([[Decimal(n) / 4, None] for n in range(40)], pa.list_(pa.decimal128(30, 4))),
            "timestamp[]": pa.array([[each] for each in at], pa.list_(pa.timestamp("us"))),
        }
    )
    types = {"instant": PgType.TIMESTAMP}
    columns = [Column(name, types.get(name) or PgType.parse(name)) for name in table.column_names]
    part = Upload(services, TABLE, day(1)).part(table, row_group_size=15)
    footer = services.parquet.footer(part)
    plan = casts.plan(columns, footer, "")
    made = []
    for longest in (parquet.ROW_BYTES, 300):
        monkeypatch.setattr(parquet, "ROW_BYTES", longest)
        rows = services.parquet.part(part, footer, [cast.expression for cast in plan])
        made.append(b"".join(copy.encoded(plan, rows.schema, services.parquet.stream(part, rows))))
    assert made[0] == made[1]


def test_values_that_two_readers_share_are_the_same(services, database):
    rng = random.Random(7)  # noqa: S311 - no secret
    lengths = [rng.choice([1, 10, 1_000, 50_000]) for _ in range(3_000)]
    content = written(iter([[text(n, max(8, length)) for n, length in enumerate(lengths)]]))
    part = Upload(services, TABLE, day(1)).part(content)
    assert arrive(services, part) == ["staged"]
    (child,) = database.execute("SELECT id FROM recosync.part").fetchone()
    found = [value for (value,) in database.execute(f"SELECT item_id FROM recosync.part_{child} ORDER BY ctid")]
    assert found == [text(n, max(8, length)) for n, length in enumerate(lengths)]


def test_an_error_that_passes_beside_a_long_row_is_no_fault_of_the_part(services):
    def breaking(reader):
        yield reader.read_next_batch()
        raise OSError("IO Error: who knows")

    content = written(iter([["short"] * 15_000 + [text(1, 100_000)] + ["short"] * 5_000]))
    version = Upload(services, TABLE, day(1)).part(content)
    footer = services.parquet.footer(version)
    rows = services.parquet.part(version, footer, ['"user_id"', '"item_id"'])
    assert sum(batch.num_rows for batch in services.parquet.stream(version, rows)) == 20_001
    rows = services.parquet.part(version, footer, ['"user_id"', '"item_id"'])
    with pytest.raises(RetryableError):
        list(services.parquet.stream(version, replace(rows, reader=breaking(rows.reader))))
