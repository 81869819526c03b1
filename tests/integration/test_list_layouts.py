"""A list of Parquet arrives however its writer lays it out.

BigQuery's export writes "repeated records as repeated groups"
(https://cloud.google.com/bigquery/docs/exporting-data#parquet_export_details), and Parquet's specification has rules
for lists of older writers (https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#lists).
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.errors import CatalogError, DataError
from tests.kit.footers import Struct, chunks, patched
from tests.kit.typed_tables import TABLE, numbered, place, skip_without_pgvector
from tests.kit.uploads import arrive

SCHEMA, PATH = 2, 3
REPETITION, NAME, CHILDREN, CONVERTED, LOGICAL = 3, 4, 5, 6, 10
REPEATED = (5, 2)


@pytest.fixture(scope="module")
def shared_place(cloud, tmp_path_factory):
    with place(cloud, "layouts", tmp_path_factory.mktemp("catalog")) as shared:
        yield shared


@pytest.fixture
def here(shared_place):
    shared_place.empty()
    return shared_place


def fields(footer: Struct) -> list[Struct]:
    """What the schema says of `n`, and of the list: itself, the repeated group in it, and the element in that."""
    return footer[SCHEMA][1][1][2:]


def renamed(group: str, element: str):
    """Three levels of any names."""

    def change(footer: Struct) -> None:
        for field, name in zip(fields(footer)[1:], (group, element), strict=True):
            field[NAME] = (8, name.encode())
        path(footer, "c", group, element)

    return change


def path(footer: Struct, *names: str) -> None:
    for chunk in chunks(footer)[1::2]:
        chunk[PATH] = (9, (8, [name.encode() for name in names]))


def not_annotated(footer: Struct) -> None:
    """Three levels, of which nothing says that they are a list."""
    for annotation in (CONVERTED, LOGICAL):
        fields(footer)[0].pop(annotation)


def two_levels(name: str):
    def change(footer: Struct) -> None:
        _, group, element = fields(footer)
        element[REPETITION], element[NAME] = REPEATED, (8, name.encode())
        footer[SCHEMA][1][1].remove(group)
        path(footer, "c", name)

    return change


def one_level(footer: Struct) -> None:
    """A repeated column, without any group."""
    column, group, element = fields(footer)
    element[REPETITION], element[NAME] = REPEATED, column[NAME]
    for field in (column, group):
        footer[SCHEMA][1][1].remove(field)
    footer[SCHEMA][1][1][0][CHILDREN] = (5, 2)
    path(footer, "c")


LAYOUTS = {
    "list.element": renamed("list", "element"),
    "list.item": renamed("list", "item"),
    "bag.array_element": renamed("bag", "array_element"),
    "list.element without annotation": not_annotated,
    "array": two_levels("array"),
    "c_tuple": two_levels("c_tuple"),
    "a repeated column": one_level,
}
AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LISTS = {
    "text[]": (pa.string(), ["", "été", "x" * 99]),
    "bigint[]": (pa.int64(), [-(2**63), 2**63 - 1]),
    "double precision[]": (pa.float64(), [0.1, -0.0]),
    "numeric[]": (pa.decimal128(38, 9), [Decimal("0.000000001")]),
    "boolean[]": (pa.bool_(), [True, False]),
    "timestamptz[]": (pa.timestamp("us", "UTC"), [AT]),
    "time[]": (pa.time64("us"), [time(1, 2, 3, 4)]),
    "bytea[]": (pa.binary(), [b"", b"\0\xff"]),
}


def laid_out(layout: str, type_: pa.DataType, lists: list[list[object]], codec: str = "snappy") -> bytes:
    """A part of two row groups whose lists, none of them NULL, are laid out so."""
    field = pa.field("c", pa.list_(pa.field("element", type_, nullable=False)), nullable=False)
    schema = pa.schema([pa.field("n", pa.int64()), field])
    rows = pa.table([pa.array(range(len(lists)), pa.int64()), pa.array(lists, field.type)], schema=schema)
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression=codec, row_group_size=3, store_schema=False)
    return patched(sink.getvalue(), LAYOUTS[layout])


@pytest.mark.parametrize("type_", LISTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_arrives_from_any_layout(here, layout, type_):
    source, elements = LISTS[type_]
    lists = [elements, [], elements * 3, [], elements[:1]]
    upload = here.upload({"c": type_})
    part = upload.part(laid_out(layout, source, lists), rows=5)
    assert arrive(upload.services, part, upload.manifest(source_rows=5)) == ["staged", "published"]
    assert here.stored("c") == lists


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_arrives_from_any_layout_that_duckdb_does_not_read(here, layout):
    lists = [["a", "été"], [], [""], ["x"] * 9]
    upload = here.upload({"c": "text[]"})
    part = upload.part(laid_out(layout, pa.string(), lists, "gzip"), rows=4)
    assert arrive(upload.services, part, upload.manifest(source_rows=4)) == ["staged", "published"]
    assert here.stored("c") == lists


@pytest.mark.parametrize("codec", ["snappy", "gzip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_list_becomes_no_text(here, layout, codec):
    upload = here.upload({"c": "text"})
    part = upload.part(laid_out(layout, pa.string(), [["a", "b"]] * 4, codec), rows=4)
    with pytest.raises(CatalogError, match=r"c is .*\[\].*, which can't become text"):
        arrive(upload.services, part)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vector_arrives_from_any_layout(here, layout):
    skip_without_pgvector(here)
    upload = here.upload({"c": "vector(2)"})
    part = upload.part(laid_out(layout, pa.float64(), [[0.5, -2.0]] * 4), rows=4)
    assert arrive(upload.services, part, upload.manifest(source_rows=4)) == ["staged", "published"]
    assert here.stored("c", as_text=True) == ["[0.5,-2]"] * 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_misfit_in_any_layout_is_named_by_its_row_group(here, layout):
    upload = here.upload({"c": "smallint[]"})
    part = upload.part(laid_out(layout, pa.int64(), [[1], [], [2, 3], [4, 32_768]]), rows=4)
    with pytest.raises(DataError, match="a value does not fit: smallint holds whole numbers from -32768 to 32767") as e:
        arrive(upload.services, part)
    assert e.value.where.startswith(f"{TABLE}.c, row group 1 of gs://")


def test_an_empty_list_arrives_as_it_is_and_counts_like_one_that_is_null(here):
    lists = [["a"], [], None, [None]]
    here.publish({"c": "text[]"}, numbered(c=pa.array(lists, pa.list_(pa.string()))))
    assert here.stored("c") == lists
    query = (
        "SELECT parquet -> 'columns' -> 'c' -> 'values', postgresql -> 'columns' -> 'c' -> 'values' FROM recosync.part"
    )
    assert here.database.execute(query).fetchone() == (2, 2)
