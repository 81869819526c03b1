"""Arrow batches to PostgreSQL's binary COPY, inside the caller's transaction.

DuckDB reads and casts in one thread, pgpq encodes in a second, psycopg sends in the caller's: the three overlap
because each spends its time outside the interpreter's lock. Queues that are bounded by the bytes in them keep memory
flat however slow the server is, and however long the rows are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from psycopg import sql

from shared.catalog import PgType
from shared.errors import DataError
from shared.gcp.batches import together
from shared.rows import arrays, casts, numeric

if TYPE_CHECKING:
    import pgpq
    import pgpq._pgpq
    import psycopg
    import pyarrow as pa


#: The bytes that may wait between two stages; one item may, however large.
_WAITING = 16 << 20


def copy(
    connection: psycopg.Connection,
    target: sql.Identifier,
    columns: Sequence[casts.Cast],
    schema: pa.Schema,
    batches: Generator[pa.RecordBatch],
) -> int:
    """Stream the batches into a table that this transaction created; the number of rows that PostgreSQL took.

    FREEZE (https://www.postgresql.org/docs/current/sql-copy.html) makes the rows visible to transactions older than
    this one. Without it, such a transaction would read an empty table once the rows are published.
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
    """The column as it is given to pgpq, which has encoders neither for numeric that shows the right digits nor for
    arrays of any type.
    """
    import pyarrow as pa

    return field.with_type(pa.binary()) if _way(cast.column.type) else field


def _way(type_: PgType) -> Callable[[pa.Array], pa.Array] | None:
    """What makes the server's own format of a column; None where pgpq does."""
    if type_.array:
        return partial(arrays.binary, type_=type_)
    if type_.plain in (PgType.VECTOR, PgType.HALFVEC):
        return partial(arrays.vectors, type_=type_)
    return numeric.binary if type_.plain == PgType.NUMERIC else None


def _builder(cast: casts.Cast, field: pa.Field) -> pgpq._pgpq.EncoderBuilder:
    """The encoder whose binary format is the one that the PostgreSQL type receives."""
    from pgpq import encoders
    from pgpq.schema import Jsonb, Text

    match cast.column.type.plain:
        case PgType.VARCHAR | PgType.CHAR | PgType.TEXT | PgType.JSON:
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
        case PgType.TIME:
            return encoders.Time64MicrosecondEncoderBuilder(field)
        case PgType.TIMESTAMP | PgType.TIMESTAMPTZ:
            return encoders.TimestampMicrosecondEncoderBuilder(field)
        case _:  # what is given in the server's own format
            return encoders.BinaryEncoderBuilder(field)


def _encoded(
    encoder: pgpq.ArrowToPostgresBinaryEncoder, columns: Sequence[casts.Cast], batches: Iterable[pa.RecordBatch]
) -> Generator[bytes]:
    ways = [(number, way) for number, cast in enumerate(columns) if (way := _way(cast.column.type))]
    yield encoder.write_header()
    for table in together(batches):
        for number, way in ways:
            table = table.set_column(number, table.schema.names[number], _at_once(table.column(number), way))
        for batch in table.to_batches():
            yield encoder.write_batch(batch)
    # Without its trailer, PostgreSQL would take the stream as COPY 0.
    yield encoder.finish()


def _at_once(column: pa.ChunkedArray, way: Callable[[pa.Array], pa.Array]) -> pa.ChunkedArray:
    """What a way makes of a column: of all its pieces at once, since each call costs, and then in the same pieces."""
    import pyarrow as pa

    made, ends = way(column.combine_chunks()), accumulate(map(len, column.chunks))
    return pa.chunked_array(
        [made.slice(end - len(chunk), len(chunk)) for chunk, end in zip(column.chunks, ends, strict=True)], made.type
    )


def _ahead[T: (bytes, "pa.RecordBatch")](source: Generator[T]) -> Generator[T]:
    """Run a generator in a thread of its own, some bytes ahead of its reader. Its exception is raised here."""
    waiting: _Waiting[T] = _Waiting()
    thread = threading.Thread(target=_feed, args=(source, waiting), daemon=True)
    thread.start()
    try:
        while (item := waiting.take()) is not None:
            yield item
            del item  # or it would be held while the next is waited for
        if waiting.error is not None:
            raise waiting.error
    finally:
        waiting.stop()
        thread.join()


def _feed[T: (bytes, "pa.RecordBatch")](source: Generator[T], waiting: _Waiting[T]) -> None:
    """Put what the source yields, and its end, until the reader stops listening."""
    error: BaseException | None = None
    try:
        with closing(source):
            for item in source:
                if not waiting.put(item):
                    return
                del item
    except BaseException as e:  # noqa: BLE001 - handed to the reader, who raises it
        error = e
    waiting.end(error)


class _Waiting[T: (bytes, "pa.RecordBatch")]:
    """What one thread has made and another has not taken: _WAITING bytes, or one item."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._bytes = 0
        self._ended = self._stopped = False
        self.error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room, then leave the item there; False once nobody takes any more."""
        size = len(item) if isinstance(item, bytes) else item.nbytes
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._items or self._bytes + size <= _WAITING)
            self._items.append(item)
            self._bytes += size
            self._changed.notify_all()
            return not self._stopped

    def take(self) -> T | None:
        """Wait for an item; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= len(item) if isinstance(item, bytes) else item.nbytes
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes, because of the error or of itself."""
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more is taken."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
