"""Parquet objects read by DuckDB straight from Cloud Storage: ranged HTTPS requests, no copy in /tmp."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from shared import duck
from shared.duck import Fault, identifier, literal
from shared.errors import DataError, UnreadableError
from shared.gcp import by_pyarrow, layout, pages
from shared.gcp.batches import apart
from shared.gcp.by_pyarrow import Misread, Part
from shared.gcp.crs import Said
from shared.gcp.footer import CHUNK, FIELD, FILE, Footer, ParquetColumn, footer_of, types_of
from shared.gcp.objects import Objects, failures
from shared.gcp.tokens import AccessToken

if TYPE_CHECKING:
    import pyarrow as pa

    from shared.gcp.storage import Storage
    from shared.names import ObjectVersion

#: Rows of a DuckDB vector: it has no less in memory at once. So many bytes may each of a part's rows have in its text
#: and binary columns, for all of a vector to be some 64 MiB; where one has more, it is pyarrow's turn.
VECTOR_ROWS = 2048
ROW_BYTES = 32 << 10
_TOO_LONG = "a row is too long"


@dataclass(frozen=True)
class Rows:
    """A query over a file, and its rows as Arrow batches; without a reader where DuckDB does not read them."""

    query: str
    batch_rows: int
    schema: pa.Schema
    reader: pa.RecordBatchReader | None = None
    part: Part | None = None


#: The fields of a schema, the metadata, the file and its chunks: what they are made of, by how DuckDB says it.
type _Said = tuple[list[tuple[Any, ...]], dict[bytes, bytes], layout.File, list[layout.Chunk]]


def _each(list_: str, names: str) -> str:
    """The elements of a list of DuckDB's, of which each is what has these names."""
    return (
        f"list_transform({list_}, lambda each: row({', '.join(f'each.{name.strip()}' for name in names.split(','))}))"
    )


_ALL = ", ".join(
    (
        _each("parquet_schema", FIELD),
        _each("parquet_kv_metadata", "key, value"),
        _each("parquet_file_metadata", FILE),
        _each("parquet_metadata", CHUNK),
    )
)


class Parquet:
    """What is read of Parquet files, by any number of threads: see `Objects` for how.

    Methods raise RetryableError when the object could not be reached, ConfigurationError when it may not be read,
    DataError when it is gone, and UnreadableError when it is no Parquet file, or a broken one.
    """

    def __init__(self, endpoint: str, token: AccessToken, storage: Storage) -> None:
        self.objects = Objects(endpoint, token, storage)

    def footer(self, version: ObjectVersion) -> Footer:
        """The columns and row groups of a file. Raises DataError too where it says what can't be so."""
        url = literal(self.objects.url(version))

        def read() -> Footer:
            fields, metadata, file, chunks = self._said(version)
            said = Said.of(metadata, str(version))
            _refuse(layout.wrong(file, chunks), version)
            types = types_of(fields)
            if types is None:
                described = self.objects.connection().execute(f"DESCRIBE SELECT * FROM {_table(url)}").fetchall()
                types = [str(type_) for _, type_, *_ in described]
            try:
                return footer_of(types, fields, chunks, said)
            except ValueError as e:
                raise UnreadableError(str(e), where=str(version), remedy="Write the part anew") from None

        try:
            return self.objects.reading(version, read)
        except UnreadableError:
            # DuckDB takes no footer with a number that it does not know, and does not say which.
            with suppress(UnreadableError):
                _refuse(layout.wrong(*self._layout_alone(version)), version)
            raise

    def _said(self, version: ObjectVersion) -> _Said:
        """What the footer says of the schema, of the file as a whole, and of where the pages lie and how they are
        written: in one look.
        """
        import duckdb

        url, query = literal(self.objects.url(version)), self.objects.connection().execute
        try:
            ((fields, metadata, (file,), chunks),) = query(
                f"SELECT {_ALL} FROM parquet_full_metadata({url})"
            ).fetchall()
            return fields, dict(metadata), layout.File(*file), [layout.Chunk(*chunk) for chunk in chunks]
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            # DuckDB makes text of all statistics and signatures, and can't of each.
            fields = query(f"SELECT {FIELD} FROM parquet_schema({url})").fetchall()
            metadata = query(f"SELECT key, value FROM parquet_kv_metadata({url})").fetchall()
            return fields, dict(metadata), *self._layout_alone(version)

    def _layout_alone(self, version: ObjectVersion) -> tuple[layout.File, list[layout.Chunk]]:
        with self.objects.storage.opened(version) as file:
            try:
                return layout.read_from(file)
            except layout.EncryptedError:
                raise UnreadableError("is encrypted", where=str(version)) from None
            except ValueError:
                raise UnreadableError("is no readable Parquet file", where=str(version)) from None

    def rows(self, versions: Sequence[ObjectVersion]) -> int:
        """How many rows the footers of some files count in all. A failure names the first."""
        urls = ", ".join(literal(self.objects.url(version)) for version in versions)
        query = f"SELECT sum(num_rows) FROM parquet_file_metadata([{urls}])"
        found = self.objects.reading(versions[0], lambda: self.objects.connection().execute(query).fetchall())
        return int(found[0][0])

    def batches(self, version: ObjectVersion, expressions: Sequence[str], batch_rows: int) -> Rows:
        """The rows of a file, in its order, as Arrow batches of the given DuckDB expressions."""
        query = f"SELECT {', '.join(expressions)} FROM {_table(literal(self.objects.url(version)))}"
        rows = partial(self._begun, query, batch_rows)
        return self.objects.reading(version, rows, partial(_to_the_end, rows))

    def _begun(self, query: str, batch_rows: int, part: Part | None = None) -> Rows:
        reader = self.objects.reader(query, batch_rows)
        return Rows(query, batch_rows, reader.schema, reader, part)

    def part(self, version: ObjectVersion, footer: Footer, expressions: Sequence[str]) -> Rows:
        """The rows of a part, as `batches` gives them of a file, with rows of any length, or of a part that DuckDB does
        not read. The batches have a size in bytes: see `shared.gcp.batches`.
        """
        part = Part(footer, expressions)
        query = (
            f"SELECT {', '.join(expressions)} FROM {_table(literal(self.objects.url(version)))}"
            f" WHERE CASE WHEN {_length(footer.columns)} <= {ROW_BYTES} THEN true ELSE error('{_TOO_LONG}') END"
        )

        def read() -> Rows:
            if not footer.beyond_duckdb and self._is_short(version, footer):
                try:
                    return self._begun(query, VECTOR_ROWS, part)
                except failures() as e:
                    if not _is_too_long(e):
                        raise
            with self.objects.storage.opened(version) as file:
                schema = by_pyarrow.schema(self.objects.connection(), file, part)
            return Rows(query, VECTOR_ROWS, schema, part=part)

        return self.objects.reading(version, read, partial(_to_the_end, read))

    def _is_short(self, version: ObjectVersion, footer: Footer) -> bool:
        """Whether DuckDB may read a file, as `pages.check` has it, whose errors it raises."""
        with self.objects.storage.passed(version) as file:
            return pages.check(file, footer.chunks, str(version))

    def misread(self, version: ObjectVersion, footer: Footer, expressions: Mapping[str, str]) -> Misread | None:
        """The first place, row group by row group, where the file can't be read or these DuckDB expressions of its
        columns fail. None when no failure is the file's fault.
        """

        def read() -> Misread | None:
            with self.objects.storage.opened(version) as file:
                return by_pyarrow.misread(self.objects.connection(), file, footer, expressions, str(version))

        return self.objects.reading(version, read)

    def aggregates(self, versions: Sequence[ObjectVersion], expressions: Sequence[str]) -> tuple[object, ...]:
        """The values of DuckDB aggregates over all rows of some files. Their failure names the first."""
        query = f"SELECT {', '.join(expressions)} FROM {self._files(versions)}"
        found = self.objects.reading(versions[0], lambda: self.objects.connection().execute(query).fetchall())
        return tuple(found[0])

    def absent(
        self, versions: Sequence[ObjectVersion], column: str, values: pa.Table, limit: int, where: str
    ) -> list[int]:
        """The whole numbers of `values` (a table of one column) that no row of the files has in `column`: the `limit`
        smallest. Only the rows count for which the DuckDB predicate holds.
        """
        (name,) = values.column_names
        query = (
            f"SELECT {name} FROM given ANTI JOIN (SELECT {column} AS known FROM {self._files(versions)} WHERE {where})"
            f" ON {name} = known ORDER BY 1 LIMIT {limit}"
        )

        def read() -> list[int]:
            connection = self.objects.connection()
            connection.register("given", values)
            try:
                return [int(value) for (value,) in connection.execute(query).fetchall()]
            finally:
                connection.unregister("given")

        return self.objects.reading(versions[0], read)

    def _files(self, versions: Sequence[ObjectVersion]) -> str:
        return _table("[" + ", ".join(literal(self.objects.url(version)) for version in versions) + "]")

    def stream(self, version: ObjectVersion, rows: Rows) -> Generator[pa.RecordBatch]:
        """The batches, their failures translated."""
        if rows.part is None:
            yield from self._stream(version, rows)
            return
        taken = 0
        try:
            for batch in self._stream(version, rows):
                for piece in apart(batch):
                    taken += piece.num_rows
                    yield piece
        except _BeyondDuckDBError:
            yield from self._by_pyarrow(version, rows.part, taken)

    def _stream(self, version: ObjectVersion, rows: Rows) -> Generator[pa.RecordBatch]:
        again = partial(_to_the_end, partial(self._begun, rows.query, rows.batch_rows))
        if rows.reader is None:
            raise _BeyondDuckDBError
        try:
            yield from rows.reader
        except failures() as e:
            if rows.part is not None and _is_too_long(e):
                raise _BeyondDuckDBError from e
            raise self.objects.failure(e, version, again) from e

    def _by_pyarrow(self, version: ObjectVersion, part: Part, taken: int) -> Generator[pa.RecordBatch]:
        """The rows after those that are taken already, however long, made by DuckDB of what pyarrow reads."""
        try:
            with self.objects.storage.opened(version) as file:
                yield from by_pyarrow.rows(self.objects.connection(), file, part, taken, str(version))
        except failures() as e:
            # The way has errors of its own here.
            raise self.objects.failure(e, version, partial(_raise, e)) from e


class _BeyondDuckDBError(Exception):
    """A row, or a page, is too long for DuckDB, or the file is none that it reads."""


def _refuse(wrong: str | None, version: ObjectVersion) -> None:
    if wrong:
        raise DataError(wrong, where=str(version), remedy="Write the part anew")


def _to_the_end(begin: Callable[[], Rows]) -> None:
    """Read what DuckDB reads of a file. What is too long for it is no fault of the file."""
    try:
        for _ in begin().reader or ():
            pass
    except failures() as e:
        if not _is_too_long(e):
            raise


def _is_too_long(e: Exception) -> bool:
    return duck.fault(e) is Fault.MEMORY or (duck.kind(e) == "Invalid Input" and _TOO_LONG in str(e))


def _raise(e: Exception) -> None:
    raise e


def _length(columns: Sequence[ParquetColumn]) -> str:
    """The bytes of a row in its columns that may have any number."""
    lengths = ["0"]
    for column in columns:
        name = identifier(column.name)
        if column.type in ("VARCHAR", "JSON"):
            lengths.append(f"coalesce(strlen({name}), 0)")
        elif column.type == "BLOB":
            lengths.append(f"coalesce(octet_length({name}), 0)")
        elif column.type.startswith("GEOMETRY"):
            lengths.append(f"coalesce(octet_length(st_aswkb({name})), 0)")
    return " + ".join(lengths)


def _table(files: str, *options: str) -> str:
    """The table that files are to DuckDB. Their columns are their own: a name like `date=20260101/` is no more than a
    name.
    """
    return f"read_parquet({', '.join((files, 'hive_partitioning = false', *options))})"
