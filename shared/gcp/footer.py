"""What a Parquet file says of itself, from what DuckDB reads of its footer and `layout` of its pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.gcp.crs import Said
from shared.gcp.layout import Chunk

#: The columns of DuckDB's parquet_file_metadata, parquet_metadata and parquet_schema that a `File`, a `Chunk` and,
#: after its type, a `_Field` are made of (https://duckdb.org/docs/stable/data/parquet/metadata).
FILE = "num_rows, file_size_bytes, footer_size"
CHUNK = """
    row_group_id, row_group_num_rows, path_in_schema, num_values, data_page_offset, dictionary_page_offset,
    index_page_offset, total_compressed_size, total_uncompressed_size, type, compression, encodings, stats_null_count
"""
FIELD = "name, num_children, precision, type, logical_type, converted_type, repetition_type, duckdb_type"


@dataclass(frozen=True)
class ParquetColumn:
    """A column of a file: its name and the DuckDB type it is read as. `digits` is its precision if it is a decimal.
    `nulls` says that the file calls all its values NULL. `srid` is that of its geometries, if the file has a CRS for
    them.
    """

    name: str
    type: str
    digits: int | None
    nulls: bool = False
    srid: int | None = None


@dataclass(frozen=True)
class Footer:
    """What a file says of itself: its columns, and the rows of each row group, in order.

    `beyond_duckdb` says that DuckDB can't read the file, or not exactly.
    """

    columns: tuple[ParquetColumn, ...]
    row_groups: tuple[int, ...]
    beyond_duckdb: bool = False
    chunks: Sequence[Chunk] = ()

    @property
    def rows(self) -> int:
        return sum(self.row_groups)

    def row_group_of(self, row: int) -> int:
        """The index of the row group that holds the row, both counted from 0."""
        for index, rows in enumerate(self.row_groups):
            if row < rows:
                return index
            row -= rows
        return len(self.row_groups)


def types_of(schema: Sequence[tuple[Any, ...]]) -> list[str] | None:
    """The DuckDB types that a file's columns are read as, by its `FIELD`s; None where these do not say: of a column
    that has parts, of a repeated one, whose `FIELD` has its element's type, of one of geometries, of one that has no
    type, and of no columns at all.
    """
    types = [field[-1] for field in schema[1:]]
    return types if types and all(map(_says_its_type, schema[1:])) else None


def _says_its_type(field: tuple[Any, ...]) -> bool:
    logical, repetition, type_ = field[4], field[6], field[7]
    geometries = str(logical or "").startswith(("GeometryType", "GeographyType"))
    return bool(type_) and type_ != '"NULL"' and repetition != "REPEATED" and not geometries


def footer_of(types: Sequence[str], schema: Sequence[tuple[Any, ...]], chunks: Sequence[Chunk], said: Said) -> Footer:
    """The footer of a file that DuckDB reads as columns of these types, and of whose schema these are the `FIELD`s.

    Raises DataError of a CRS that has no number, and ValueError of a chunk whose column the schema does not have: all
    readers go by its place, and none would say so.
    """
    fields = [_of(type_, group) for type_, group in zip(types, _top(schema), strict=True)]
    of = defaultdict(list)
    # DuckDB writes the path of a part of a column with commas, pyarrow as `c.list.element`.
    optional = {field.name for field in fields if field.repetition == "OPTIONAL" and not field.inside}
    chunks = [
        replace(chunk, column=chunk.column.replace(", ", "."), optional=chunk.column in optional) for chunk in chunks
    ]
    names = {field.name for field in fields}
    for chunk in chunks:
        if not (chunk.column in names or any(chunk.column.startswith(f"{name}.") for name in names)):
            raise ValueError(f"tells of a column in row group {chunk.row_group} that its schema does not have")
    for chunk in chunks:
        of[chunk.column].append(chunk)
    return Footer(
        columns=tuple(field.column(of[field.name], said) for field in fields),
        row_groups=tuple(rows for _, rows in sorted({chunk.row_group: chunk.rows for chunk in chunks}.items())),
        beyond_duckdb=any(field.beyond_duckdb for field in fields) or any(chunk.beyond_duckdb for chunk in chunks),
        chunks=chunks,
    )


@dataclass(frozen=True)
class _Field:
    """A column in a file's schema: the DuckDB type that it is read as, and what the file says of it."""

    type: str
    name: str
    children: int | None
    digits: int | None
    physical: str | None
    logical: str | None
    converted: str | None
    repetition: str | None
    read_as: str | None
    inside: Sequence[_Field] = ()

    @property
    def in_ns(self) -> bool:
        """Whether it is a TIMESTAMP in nanoseconds: DuckDB would cut an instant before 1970 towards 1970."""
        return self.type.startswith("TIMESTAMP WITH TIME ZONE") and "NANOS=Nano" in (self.logical or "")

    @property
    def beyond_duckdb(self) -> bool:
        # Of a decimal in as many bytes as it needs, DuckDB takes none at all for 0.
        if any(field.beyond_duckdb for field in self.inside):
            return True
        return self.in_ns or (self.physical == "BYTE_ARRAY" and self.converted == "DECIMAL")

    def column(self, chunks: Sequence[Chunk], said: Said) -> ParquetColumn:
        nulls = bool(chunks) and all(chunk.nulls == chunk.rows for chunk in chunks)
        return ParquetColumn(
            name=self.name,
            type="TIMESTAMP_NS" if self.in_ns or any(field.in_ns for field in self.inside) else self.type,
            digits=max((field.digits for field in (self, *self.inside) if field.digits is not None), default=None),
            nulls=nulls or self.logical == "NullType()",
            srid=said.srid(self.name, self.logical or ""),
        )


def _of(type_: str, group: Sequence[tuple[Any, ...]]) -> _Field:
    """A column: its own field, and those that are parts of it."""
    column, *inside = group
    return replace(_Field(type_, *column), inside=[_Field(type_, *field) for field in inside])


def _top(fields: Sequence[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """The fields of a schema that are no part of another, each with its parts behind it; name and number of children
    come first in each.
    """
    found: list[list[tuple[Any, ...]]] = []
    inside = 0
    for field in fields[1:]:
        if not inside:
            found.append([])
        found[-1].append(field)
        inside = max(0, inside - 1) + int(field[1] or 0)
    return found
