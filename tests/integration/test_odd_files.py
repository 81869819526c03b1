"""Parquet files that a seed makes up: of any writer's options, with footers that lie and bytes that are wrong.

What arrives in PostgreSQL is what pyarrow reads. Whatever is refused is so for good, by name, and leaves nothing; but
not for good where a column has another name, which another catalog may have.
"""

import io
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shared.errors import CatalogError, DataError, SyncError
from tests.kit.footers import CODEC, STATISTICS, Struct, chunks, patched
from tests.kit.typed_tables import TABLE, numbered, place
from tests.kit.uploads import arrive

#: How many files there are of each kind: all of them take half a minute on an idle machine.
FILES = 30

MARK = "s3cr3t"


@pytest.fixture(scope="module")
def here(cloud, tmp_path_factory):
    with place(cloud, "made_up", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def seed():
    """Made from pytest's own, which it prints in its first lines; a failure shows it too."""
    return random.getrandbits(32)


def text(r: random.Random) -> str:
    return MARK + "".join(r.choices(string.printable + "é\u202e\U0001f680", k=r.choice([0, 1, 5, 300])))


def whole(bits: int) -> Callable[[random.Random], int]:
    def number(r: random.Random) -> int:
        edges = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1]
        return r.choice([r.randrange(-100, 100), r.getrandbits(bits - 1), *edges])

    return number


def decimal(digits: int, places: int) -> Callable[[random.Random], Decimal]:
    return lambda r: Decimal(r.randrange(-(10**digits) + 1, 10**digits)).scaleb(-places)


def instant(r: random.Random) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=r.randrange(-(10**16), 10**17))


#: Types of files, how a value of each is made, and the type that it becomes.
TYPES = [
    (pa.string(), text, "varchar"),
    (pa.large_string(), text, "text"),
    (pa.int8(), whole(8), "smallint"),
    (pa.int16(), whole(16), "integer"),
    (pa.int32(), whole(32), "integer"),
    (pa.uint32(), lambda r: r.getrandbits(32), "bigint"),
    (pa.int64(), whole(64), "bigint"),
    (pa.int64(), whole(64), "numeric"),
    (pa.float32(), lambda r: r.randrange(-(2**24), 2**24) / 16, "real"),
    (pa.float64(), lambda r: r.choice([r.uniform(-1e300, 1e300), r.random(), 5e-324, -0.0]), "double precision"),
    (pa.decimal128(5, 2), decimal(5, 2), "numeric"),
    (pa.decimal128(18, 0), decimal(18, 0), "numeric"),
    (pa.decimal128(38, 9), decimal(38, 9), "numeric"),
    (pa.bool_(), lambda r: r.random() < 0.5, "boolean"),
    (pa.date32(), lambda r: date(1, 1, 1) + timedelta(r.randrange(3_652_000)), "date"),
    (pa.timestamp("us"), instant, "timestamp"),
    (pa.timestamp("us", "UTC"), instant, "timestamp"),
    (pa.timestamp("ms"), lambda r: r.randrange(-(10**13), 10**14), "timestamp"),
    (pa.timestamp("ns"), whole(63), "timestamp"),
    (pa.timestamp("ns", "UTC"), whole(63), "timestamp"),
    (pa.null(), lambda _: None, "varchar"),
]


@dataclass
class File:
    """A part, the columns that the catalog has for it, and how it was made."""

    content: bytes
    columns: dict[str, str]
    made: dict[str, object]


def made_up(r: random.Random) -> File:
    rows, nulls = r.choice([0, 1, 7, 500, 3_000]), r.choice([0, 0.1, 1])
    columns, types = {}, {}
    for number in range(r.randrange(1, 6)):
        source, value, types[f"c{number}"] = r.choice(TYPES)
        few = [value(r) for _ in range(r.choice([1, 20, rows or 1]))]
        values = [None if r.random() < nulls else r.choice(few) for _ in range(rows)]
        column = pa.array(values, source)
        columns[f"c{number}"] = column.dictionary_encode() if source == pa.string() and r.random() < 0.3 else column
    options = {
        "compression": r.choice(["none", "snappy", "gzip", "brotli", "zstd", "lz4"]),
        "version": r.choice(["1.0", "2.4", "2.6"]),
        "data_page_version": r.choice(["1.0", "2.0"]),
        "use_dictionary": r.random() < 0.5,
        "row_group_size": r.choice([1 << 20, 100, max(1, rows // 3)]),
        "data_page_size": r.choice([1 << 20, 100]),
        "write_statistics": r.random() < 0.8,
        "write_page_index": r.random() < 0.3,
        "write_page_checksum": r.random() < 0.3,
        "store_schema": r.random() < 0.7,
        "store_decimal_as_integer": r.random() < 0.3,
    }
    if options["version"] == "1.0" or any("ns" in str(column.type) for column in columns.values()):
        options["version"] = "2.6"  # else pyarrow would refuse to lose nanoseconds
    if not options["use_dictionary"]:
        split = [name for name, column in columns.items() if pa.types.is_primitive(column.type) and r.random() < 0.3]
        splits = [name for name in split if not (pa.types.is_boolean(columns[name].type))]
        options["use_byte_stream_split"] = splits or False
    sink = io.BytesIO()
    pq.write_table(numbered(**columns), sink, **options)
    return File(sink.getvalue(), types, options)


def lied(r: random.Random, file: File) -> File:
    """The file, of which the footer says other statistics."""

    def change(footer: Struct) -> None:
        for chunk in chunks(footer):
            if file.made["compression"] == "lz4" and r.random() < 0.5:
                chunk[CODEC] = (chunk[CODEC][0], 5)  # as Hadoop has it, whose frames may be missing
            if STATISTICS in chunk and r.random() < 0.7:
                statistics = chunk[STATISTICS][1]
                for field, (type_, value) in list(statistics.items()):
                    if isinstance(value, int):
                        statistics[field] = (type_, r.choice([0, 1, 3_000, 2**40]))
                    elif isinstance(value, bytes):
                        statistics[field] = (type_, r.choice([value[::-1], b"\0" * len(value), b"\xff" * len(value)]))

    return File(patched(file.content, change), file.columns, file.made)


def with_wrong_bytes(r: random.Random, file: File) -> File:
    content = bytearray(file.content)
    for _ in range(r.choice([1, 1, 3])):
        content[r.randrange(len(content))] = r.getrandbits(8)
    return File(bytes(content), file.columns, file.made)


def read(content: bytes) -> dict[str, list[object]]:
    """What pyarrow reads, as PostgreSQL has it."""
    rows = pq.read_table(io.BytesIO(content))
    rows.validate(full=True)
    return {name: as_stored(rows[name].combine_chunks()) for name in rows.column_names}


def as_stored(column: pa.Array) -> list[object]:
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    units = {"ms": 1_000, "us": 1, "ns": -1_000}[column.type.unit]
    numbers = pc.cast(column, pa.int64()).to_pylist()
    epoch = datetime(1970, 1, 1)
    return [
        None if n is None else epoch + timedelta(microseconds=n * units if units > 0 else n // -units) for n in numbers
    ]


def check(here, refused: SyncError) -> None:
    """The refusal has a place, and no value. Nothing of the part is left."""
    assert MARK not in str(refused)
    assert refused.where.startswith((f"{TABLE}.", f"{TABLE},", "gs://"))
    assert here.database.execute("SELECT count(*) FROM recosync.part").fetchone() == (0,)
    left = here.database.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^part_[0-9]+$'").fetchone()
    assert left == (0,)


def staged(here, file: File) -> dict[str, list[object]] | SyncError:
    """What PostgreSQL holds of a part, or why it was refused, of which nothing is left."""
    here.empty()
    upload = here.upload(file.columns)
    try:
        assert arrive(upload.services, upload.part(file.content)) == ["staged"]
    except (DataError, CatalogError) as refused:
        check(here, refused)
        return refused
    (part,) = here.database.execute("SELECT id FROM recosync.part").fetchone()
    rows = here.database.execute(f"SELECT * FROM recosync.part_{part} ORDER BY ctid").fetchall()
    names = ["n", *file.columns]
    found = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in names}
    # psycopg makes a float of the fewest digits of a real.
    reals = {
        name: pa.array(found[name], pa.float32()).to_pylist() for name, type_ in file.columns.items() if type_ == "real"
    }
    return found | reals


def test_what_any_writer_wrote_arrives(here, seed):
    r = random.Random(seed)  # noqa: S311
    for number in range(FILES):
        file = made_up(r)
        assert staged(here, file) == read(file.content), (seed, number, file.columns, file.made)


def test_what_is_written_arrives_whatever_the_footer_says(here, seed):
    r = random.Random(seed)  # noqa: S311
    for number in range(FILES):
        honest = made_up(r)
        file = lied(r, honest)
        assert staged(here, file) == read(honest.content), (seed, number, file.columns, file.made)


def test_a_file_with_wrong_bytes_arrives_as_pyarrow_reads_it_or_is_refused(here, seed):
    r = random.Random(seed)  # noqa: S311
    for number in range(FILES):
        file = with_wrong_bytes(r, made_up(r))
        try:
            found, expected = staged(here, file), read(file.content)
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, psycopg.DataError):
            continue  # pyarrow can't read it, or Python has no such instant
        assert isinstance(found, SyncError) or found == expected, (seed, number, file.columns, file.made)
