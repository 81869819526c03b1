"""Parts whose bytes can be had and can't be right: an answer at the first delivery, and the process lives."""

import io
import re
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import DataError
from tests.kit.footers import varint, with_last_page
from tests.kit.sessions import one
from tests.kit.snapshots import TABLE, bookings, day
from tests.kit.uploads import Upload, arrive
from tests.kit.workers import importing


def plain(services, names):
    """A part whose first column has no dictionary, so that its data begins at byte 4."""
    sink = io.BytesIO()
    pq.write_table(bookings(services, names), sink, compression="none", use_dictionary=False)
    return sink.getvalue()


def with_footer(part, found, other):
    """The part, its footer changed at the first place where it has these bytes."""
    pages, footer = part[: -8 - (length := int.from_bytes(part[-8:-4], "little"))], part[-8 - length :]
    assert found in footer
    return pages + footer.replace(found, other, 1)


def test_a_page_before_the_start_of_a_part_ends_no_process(here, services, database):
    # -5 is written as 9 in a footer, and 4 as 8.
    content = with_footer(plain(services, ["ann", "bob"]), b"\x26\x08", b"\x26\x09")
    part = Upload(services, TABLE, day(1)).part(content)
    with importing(here.env, part) as process:
        process.wait()
    assert one(database, "SELECT subject FROM recosync.failure") == str(part)
    with pytest.raises(DataError, match="byte -5, where no page can be, for column user_id in row group 0"):
        arrive(services, part)


def ends_with_a_page(rows):
    """The reader would look for the next page behind the end."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="none")
    return with_last_page(sink.getvalue(), pq.ParquetFile(sink).metadata.row_group(0).column(1).dictionary_page_offset)


def counts_more_lengths_than_memory(rows):
    """The reader would make no room for 2^63 numbers of 4 bytes, and write some."""
    sink = io.BytesIO()
    encoding = dict.fromkeys(rows.column_names, "DELTA_LENGTH_BYTE_ARRAY")
    pq.write_table(rows, sink, compression="none", use_dictionary=False, column_encoding=encoding)
    # The lengths begin with: blocks of 128, of 4 miniblocks each; how many lengths.
    begin, number = b"\x80\x01\x04", varint(1 << 63)
    pages, last = sink.getvalue().rsplit(begin + varint(rows.num_rows), 1)
    return pages + begin + number + last[len(number) - len(varint(rows.num_rows)) :]


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (ends_with_a_page, "can't be decoded (UNCOMPRESSED; PLAIN, RLE, RLE_DICTIONARY)"),
        (counts_more_lengths_than_memory, "can't be decoded (UNCOMPRESSED; RLE, DELTA_LENGTH_BYTE_ARRAY)"),
    ],
)
def test_a_page_that_is_none_ends_no_process(here, services, database, damaged, told):
    users = [f"user-{number:04d}" for number in range(1_000)]
    part = Upload(services, TABLE, day(1)).part(damaged(bookings(services, users)))
    with importing(here.env, part) as process:
        process.wait()
    assert one(database, "SELECT subject FROM recosync.failure") == str(part)
    with pytest.raises(DataError, match=rf"item_id, row group 0 of .*: {re.escape(told)}"):
        arrive(services, part)


def test_a_part_that_can_be_fetched_and_not_be_understood_is_not_asked_for_again(services, database):
    # The schema has no columns any more.
    content = with_footer(plain(services, ["ann", "bob"]), b"schema\x15\x04", b"schema\x15\x00")
    part = Upload(services, TABLE, day(1)).part(content)
    with pytest.raises(DataError, match="is no readable Parquet file"):
        arrive(services, part)
    assert one(database, "SELECT subject FROM recosync.failure") == str(part)


@pytest.mark.parametrize("field", [{"bytes": 1}, {"crc32c": "AAAAAA=="}], ids=["length", "checksum"])
def test_a_part_of_other_bytes_than_its_manifest_says_is_not_published(services, database, field):
    upload = Upload(services, TABLE, day(1))
    part = upload.part(bookings(services, ["ann"]))
    manifest = upload.manifest(parts=(replace(upload.parts[0], **field),))
    with pytest.raises(DataError, match="and by the manifest"):
        arrive(services, manifest)
    assert one(database, "SELECT subject FROM recosync.failure") == str(manifest)
    assert one(database, "SELECT count(*) FROM recosync.snapshot") == 0
    assert arrive(services, part) == ["staged"]


@pytest.mark.parametrize("called", [b"other_i", b"user_i\0", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"])
def test_a_part_whose_footer_calls_a_column_otherwise_than_its_schema_gets_an_answer(services, called):
    content = plain(services, ["ann", "b\0b"])
    at = content.rindex(b"user_id")  # where its pages are told of
    with pytest.raises(DataError, match=r"that its schema does not have|is no readable Parquet file") as refused:
        arrive(services, Upload(services, TABLE, day(1)).part(content[:at] + called + content[at + 7 :]))
    assert refused.value.where.startswith("gs://")


def test_a_changed_byte_that_only_pyarrow_notices_is_noticed(services, tmp_path):
    """Nothing in LZ4 tells it: other values would be NULL, in silence."""
    rows = bookings(services, [f"user-{n}" for n in range(200)])
    users = pa.array([None if n % 5 == 2 else f"user-{n % 7}" for n in range(200)])
    sink, file = io.BytesIO(), tmp_path / "part.parquet"
    pq.write_table(rows.set_column(0, "user_id", users), sink, compression="lz4", write_statistics=False)
    content = sink.getvalue()

    def is_noticed(at):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        duckdb.sql(f"FROM '{file}'").fetchall()
        try:
            pq.read_table(file)
        except (OSError, pa.ArrowException):
            return True
        return False

    def only_by_pyarrow(at):
        try:
            return is_noticed(at)
        except duckdb.Error:
            return False

    column = pq.ParquetFile(sink).metadata.row_group(0).column(0)
    at = next(filter(only_by_pyarrow, range(column.data_page_offset + 30, column.data_page_offset + 100)))
    only_by_pyarrow(at)
    with pytest.raises(DataError, match="can't be decoded"):
        arrive(services, Upload(services, TABLE, day(1)).part(file.read_bytes()))
