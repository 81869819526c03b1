"""Arrow batches to PostgreSQL's binary COPY, inside the caller's transaction.

DuckDB reads and casts in one thread, pgpq encodes in a second, psycopg sends in the caller's: the three overlap
because each spends its time outside the interpreter's lock. Bounded queues keep memory flat however slow the server is.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from psycopg import sql

from shared.catalog import PgType
from shared.db import casts, numeric
from shared.errors import DataError

if TYPE_CHECKING:
    import pgpq
    import pgpq._pgpq
    import psycopg
    import pyarrow as pa

    from shared.gcp.parquet import Footer

#: The size of a batch of Arrow values that is aimed at. A handful of batches are under way at once.
BATCH_BYTES = 4 << 20

#: Batches that may wait between two stages.
_DEPTH = 2


def copy(
    connection: psycopg.Connection,
    target: sql.Identifier,
    columns: Sequence[casts.Cast],
    schema: pa.Schema,
    batches: Generator[pa.RecordBatch],
) -> int:
    """Stream the batches into a table created in this very transaction; the number of rows the server took.

    FREEZE (https://www.postgresql.org/docs/current/sql-copy.html) makes the rows visible to transactions older than
    this one: without it, they would read an empty table once it is published.
    """
    chunks_of = encoded(columns, schema, _ahead(batches))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(
        target, sql.SQL(", ").join(sql.Identifier(cast.column.name) for cast in columns)
    )
    with connection.cursor() as cursor:
        with closing(_ahead(chunks_of)) as chunks, cursor.copy(statement) as sink:
            for chunk in chunks:
                sink.write(chunk)
        return cursor.rowcount


def batch_rows(footer: Footer) -> int:
    """How many rows a batch may have to stay near BATCH_BYTES, however long a row is."""
    if not footer.bytes:
        return 1
    return max(64, min(16_384, BATCH_BYTES * footer.rows // footer.bytes))


def encoded(columns: Sequence[casts.Cast], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes]:
    """The batches as COPY's binary format, header and trailer included.

    Raises DataError, before the first byte, when DuckDB gives other types than were planned.
    """
    return _encoded(_encoder(columns, schema), columns, batches)


def _encoder(columns: Sequence[casts.Cast], schema: pa.Schema) -> pgpq.ArrowToPostgresBinaryEncoder:
    import pyarrow as pa
    from pgpq import ArrowToPostgresBinaryEncoder

    expected = [(cast.column.name, casts.arrow_type(cast)) for cast in columns]
    given = [(field.name, field.type) for field in schema]
    if expected != given:
        raise DataError(f"the cast gave {given} where {expected} was planned", remedy="Report this as a bug")
    fields = [_sent(cast, field) for cast, field in zip(columns, schema, strict=True)]
    builders = {field.name: _builder(cast, field) for cast, field in zip(columns, fields, strict=True)}
    return ArrowToPostgresBinaryEncoder.new_with_encoders(pa.schema(fields), builders)


def _sent(cast: casts.Cast, field: pa.Field) -> pa.Field:
    """The column as it is given to pgpq, which has no encoder for numeric that shows the right digits."""
    import pyarrow as pa

    return field.with_type(pa.binary()) if cast.column.type is PgType.NUMERIC else field


def _builder(cast: casts.Cast, field: pa.Field) -> pgpq._pgpq.EncoderBuilder:
    """The encoder whose binary format is the one that the PostgreSQL type receives."""
    from pgpq import encoders
    from pgpq.schema import Jsonb, Text

    match cast.column.type:
        case PgType.VARCHAR | PgType.TEXT | PgType.JSON:
            return encoders.StringEncoderBuilder.new_with_output(field, Text())
        case PgType.JSONB:
            return encoders.StringEncoderBuilder.new_with_output(field, Jsonb())
        case PgType.SMALLINT:
            return encoders.Int16EncoderBuilder(field)
        case PgType.INTEGER:
            return encoders.Int32EncoderBuilder(field)
        case PgType.BIGINT:
            return encoders.Int64EncoderBuilder(field)
        case PgType.REAL:
            return encoders.Float32EncoderBuilder(field)
        case PgType.DOUBLE:
            return encoders.Float64EncoderBuilder(field)
        case PgType.BOOLEAN:
            return encoders.BooleanEncoderBuilder(field)
        case PgType.DATE:
            return encoders.Date32EncoderBuilder(field)
        case PgType.TIMESTAMP:
            return encoders.TimestampMicrosecondEncoderBuilder(field)
        case PgType.GEOMETRY | PgType.NUMERIC:
            return encoders.BinaryEncoderBuilder(field)


def _encoded(
    encoder: pgpq.ArrowToPostgresBinaryEncoder, columns: Sequence[casts.Cast], batches: Iterable[pa.RecordBatch]
) -> Generator[bytes]:
    numerics = [number for number, cast in enumerate(columns) if cast.column.type is PgType.NUMERIC]
    yield encoder.write_header()
    for batch in batches:
        for number in numerics:
            batch = batch.set_column(number, batch.schema.names[number], numeric.binary(batch.column(number)))
        yield encoder.write_batch(batch)
    # Without its trailer, PostgreSQL would take the stream as COPY 0.
    yield encoder.finish()


def _ahead[T](source: Generator[T]) -> Generator[T]:
    """Run a generator in a thread of its own, a few items ahead of its reader. Its exception is raised here."""
    items: queue.Queue[T | _End] = queue.Queue(_DEPTH)
    stop = threading.Event()
    thread = threading.Thread(target=_feed, args=(source, items, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()


def _feed[T](source: Generator[T], items: queue.Queue[T | _End], stop: threading.Event) -> None:
    """Put what the source yields, and its end, until the reader stops listening."""

    def put(item: T | _End) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                items.put(item, timeout=0.1)
                break

    error: BaseException | None = None
    try:
        with closing(source):
            for item in source:
                put(item)
                if stop.is_set():
                    return
    except BaseException as e:  # noqa: BLE001 - handed to the reader, who raises it
        error = e
    put(_End(error))


class _End:
    """The end of a stream, and what ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
