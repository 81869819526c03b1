"""What DuckDB can't read of a part, or can't say: pyarrow reads it, and DuckDB makes of that what it would have made of
its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, BinaryIO

from shared import duck
from shared.duck import Fault, identifier
from shared.errors import UnreadableError
from shared.gcp import long_rows, ranged
from shared.gcp.batches import apart, together
from shared.gcp.footer import Footer

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: Expressions that DuckDB makes at once of what pyarrow read: each has a vector for itself.
_EXPRESSIONS = 256


@dataclass(frozen=True)
class Part:
    """What is made of a part: DuckDB expressions of its columns."""

    footer: Footer
    expressions: Sequence[str]


@dataclass(frozen=True)
class Misread:
    """Where reading a file fails. `broken` says how; it is empty when a value does not fit the type that it should
    become.
    """

    column: str
    row_group: int
    broken: str = ""


def schema(connection: duckdb.DuckDBPyConnection, file: BinaryIO, part: Part) -> pa.Schema:
    """What the rows of a part are made of, whose file this is."""
    nothing = ranged.nothing(ranged.opened(file), [column.name for column in part.footer.columns])
    return _made(connection, nothing, part).schema


def rows(
    connection: duckdb.DuckDBPyConnection, file: BinaryIO, part: Part, taken: int, where: str
) -> Generator[pa.RecordBatch]:
    """The rows after those that are taken already, however long. Raises what `long_rows.batches` does, and DuckDB."""
    for table in together(long_rows.batches(file, part.footer.chunks, taken, where)):
        yield from apart(_made(connection, table, part))


def misread(
    connection: duckdb.DuckDBPyConnection, file: BinaryIO, footer: Footer, expressions: Mapping[str, str], where: str
) -> Misread | None:
    """Where it first fails to read a file or to make these DuckDB expressions of its columns; None if nowhere."""
    import duckdb
    import pyarrow as pa

    opened = ranged.opened(file)
    for chunk in footer.chunks:
        if chunk.column not in expressions:
            continue
        try:
            for batch in long_rows.of_row_group(file, opened, [chunk], where):
                _made(connection, batch, Part(footer, [expressions[chunk.column]]))
        except duckdb.Error as e:
            if duck.fault(e) in (Fault.CONTENT, Fault.UNCLEAR):
                return Misread(chunk.column, chunk.row_group)
            raise
        except UnreadableError as e:
            return Misread(chunk.column, chunk.row_group, e.what)
        except (pa.ArrowException, OSError) as e:
            return Misread(chunk.column, chunk.row_group, ranged.broken(e, chunk))
    return None


def _made(connection: duckdb.DuckDBPyConnection, given: pa.RecordBatch | pa.Table, part: Part) -> pa.Table:
    """DuckDB expressions of rows that pyarrow read, whose columns get the types that the footer has for them."""
    import pyarrow as pa

    types = {column.name: column.type for column in part.footer.columns}
    columns = ", ".join(_retyped(field, types[field.name]) for field in given.schema)
    connection.register("given", given if isinstance(given, pa.Table) else pa.Table.from_batches([given]))
    made: dict[str, pa.ChunkedArray] = {}
    try:
        for some in batched(part.expressions, _EXPRESSIONS):
            query = f"SELECT {', '.join(some)} FROM (SELECT {columns} FROM given)"
            found = connection.execute(query).to_arrow_table()
            made |= zip(found.schema.names, found.columns, strict=True)
    finally:
        connection.unregister("given")
    return pa.table(made)


def _retyped(field: pa.Field, type_: str) -> str:
    """A column that pyarrow read, as DuckDB would have read it."""
    import pyarrow as pa

    column = identifier(field.name)
    made = f"st_geomfromwkb({column})" if type_.startswith("GEOMETRY") else f"{column}::{type_}"
    if pa.types.is_struct(field.type) and pa.types.is_list((list_ := field.type[0]).type):
        element = list_.type.value_type
        if pa.types.is_struct(element) and element.num_fields == 1:
            # A repeated group of one member, which DuckDB reads as that member.
            members = (
                f"list_transform({column}.{identifier(list_.name)}, lambda each: each.{identifier(element[0].name)})"
            )
            made = (
                f"CASE WHEN {column} IS NOT NULL THEN struct_pack({identifier(list_.name)} := {members}) END::{type_}"
            )
    return f"{made} AS {column}"
