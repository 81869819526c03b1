"""Export: the rows of an hour that no batch has yet, from one snapshot of PostgreSQL to parts in Cloud Storage."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from shared import log
from shared.db import postgres
from shared.errors import BusyError, DataError, RetryableError, SyncError
from shared.gcp.parquet_writer import row_groups, snappy
from shared.hourly import lineage, orphans
from shared.hourly.context import LogRun
from shared.hourly.manifest import (
    NOTHING,
    Content,
    Deletion,
    Export,
    Exported,
    Exporting,
    HourRecord,
    Part,
    State,
    batch_id,
)
from shared.hourly.names import BatchFile, Kind
from shared.names import Hour
from shared.rows import unload
from shared.rows.log_table import Range
from shared.rows.outbound import Note
from shared.words import quantity

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows from which on two queries, each with half of the hour and a part of its own, pay.
TWO_FROM = 20_000

#: Late rows that travel in one batch. Their keys are in the query; what is left is the next batch.
LATE_LIMIT = 100_000

#: Keys of an hour that are compared with those in Cloud Storage at once.
KEYS_AT_ONCE = 1_000_000


class _StoppedError(RetryableError):
    """This part was stopped because another failed: that is the failure to tell of."""


def export(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool) -> HourRecord:
    """Write the rows that are in none of the hour's batches. The same record when it says already that there are none.

    `delete` notes with the batch that its rows are to leave the source. Raises DataError that names column and key of a
    row which can't leave, and RetryableError when a later call may go on.
    """
    keys = None
    if record is not None and record.state == State.EMPTY and not run.log_table.content(Range.of(hour))[0]:
        return record
    if record is not None and (record.batches or record.acceptance):
        keys = _late(run, hour, record)
        if not keys:
            return _nothing(run, hour, record)
    before = run.raw_table.of_hour(hour)
    _refuse_strangers(run, hour, record, before)
    with run.log_table.snapshot() as snapshot:
        rows = Range.of(hour, keys)
        some = run.log_table.rows_up_to(rows, TWO_FROM)
        if not some:
            return _nothing(run, hour, record)
        # With a row more, the hour would be done, and what lies there forgotten.
        orphans.refuse_last(run, hour, record.parts if record else [], record.attempts if record else ())
        begun = _begin(record)
        # What was accepted was not verified, so that none of it may go.
        goes = delete and not (record and record.acceptance)
        deletion = (record.deletion if record else None) or (Deletion(begun.began_at) if goes else None)
        known = record or HourRecord()
        was_empty = run.tells and record is not None and record.state == State.EMPTY
        emptied = True if was_empty else known.emptied
        began = known.change(work=begun, deletion=deletion, emptied=emptied)
        record = run.store.advance(hour, record, began)
        lineage.batch(run, hour, begun.attempt).start()
        with _removing(run, hour, begun.attempt, BaseException):
            attempt = _Attempt(run, hour, begun, snapshot)
            parts, content, rounded = _write(attempt, rows, halved=some == TWO_FROM)
    with _removing(run, hour, begun.attempt, BaseException):
        _check(run, hour, parts, content)
    done = Export(
        number=begun.number,
        attempt=begun.attempt,
        parts=tuple(parts),
        content=content,
        before=before,
        rounded=dict(rounded),
        exported_at=datetime.now(UTC),
        superseded=begun.superseded,
    )
    with _removing(run, hour, begun.attempt, BusyError):
        return run.store.advance(hour, record, record.change(work=Exported(done)))


def _begin(record: HourRecord | None) -> Exporting:
    """A new attempt at the hour's next batch."""
    superseded: tuple[str, ...] = ()
    if record is not None and isinstance(record.work, Exporting):
        superseded = (*record.work.superseded, record.work.attempt)
    number = len(record.batches) + 1 if record else 1
    return Exporting(number, secrets.token_hex(4), datetime.now(UTC), superseded)


@contextmanager
def _removing(run: LogRun, hour: Hour, attempt: str, failure: type[BaseException]) -> Iterator[None]:
    """Take the attempt's objects away if it fails so: after that, nobody looks for them."""
    try:
        yield
    except failure:
        with suppress(SyncError):
            run.objects.remove(hour, {attempt})
        raise


def _nothing(run: LogRun, hour: Hour, record: HourRecord | None) -> HourRecord:
    """The record of an hour without further rows; the same one when it says so already.

    The source and BigQuery have been asked; the bucket may be the only one that still has some.
    """
    after = record.change(work=None) if record else HourRecord()
    if record == after:
        return after
    if after.state == State.EMPTY:
        orphans.refuse_any(run, hour, record)
    if record is not None:  # else there is no dead attempt either
        orphans.refuse_last(run, hour, after.parts, after.attempts)
    if record is not None and isinstance(record.work, Exporting):
        log.error("rows with which an export of the hour began have left the source", hour=str(hour))
        run.objects.remove(hour, {*record.work.superseded, record.work.attempt})
    if after.state == State.EMPTY and run.tells:
        after = after.owing(0, datetime.now(UTC))
    return run.store.advance(hour, record, after)


def _late(run: LogRun, hour: Hour, record: HourRecord) -> list[int]:
    """Keys of the hour's rows that no batch has: those of transactions that committed after the export.

    Most looks end with the first count. Otherwise the keys are compared in as many passes as bound the memory.
    """
    import pyarrow as pa

    with run.log_table.snapshot() as snapshot:
        content = Content.of(*run.log_table.content(Range.of(hour)))
        if content == record.source_content or not content.rows:
            return []
        exported = run.objects.keys(record.keys)
        known = run.services.parquet.rows(exported) if exported else 0
        passes = 1 + max(content.rows, known) // KEYS_AT_ONCE
        conninfo = postgres.conninfo(run.services.settings, "hourly late rows")
        late: list[int] = []
        for number in range(passes):
            statement = run.log_table.keys_statement(Range.of(hour), passes, number)
            batches = list(unload.batches(conninfo, snapshot, statement))
            if batches:
                given, among = pa.Table.from_batches(batches), f"abs(key % {passes}) = {number}"
                limit = LATE_LIMIT - len(late)
                late += (
                    run.services.parquet.absent(exported, "key", given, limit, among)
                    if exported
                    else sorted(given.column("key").to_pylist())[:limit]
                )
            if len(late) >= LATE_LIMIT:
                break
        return late


def _refuse_strangers(run: LogRun, hour: Hour, record: HourRecord | None, held: Content) -> None:
    """Rows in BigQuery that no batch accounts for would be doubled. That some have been erased there is no fault."""
    known = record.content if record else NOTHING
    if held.rows > known.rows or (held.rows == known.rows and held != known):
        raise DataError(
            f"BigQuery holds {quantity(held.rows, 'row')} of it, {known.rows:,} of which this system brought there",
            where=f"hour {hour} of {run.raw_table.ref}",
            remedy="Delete the other rows from BigQuery, then ask for this hour by date and hour",
        )
    if held != known:
        log.warning(
            f"BigQuery holds {held.rows:,} of {quantity(known.rows, 'row')}: somebody erased some", hour=str(hour)
        )


def _write(attempt: _Attempt, rows: Range, *, halved: bool) -> tuple[list[Part], Content, Counter[str]]:
    """The parts of a batch, in the order of their ranges, what PostgreSQL counts meanwhile in the same snapshot, and
    how many values of each column were rounded.
    """
    ranges = rows.halves() if halved else (rows,)
    with ThreadPoolExecutor(len(ranges)) as executor:
        futures = [log.submit(executor, _write_part, attempt, index, range_) for index, range_ in enumerate(ranges)]
        try:
            content = Content.of(*attempt.run.log_table.content(rows))
        except BaseException:
            attempt.stop.set()
            raise
        wait(futures)
    failures = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(failures, key=lambda error: isinstance(error, _StoppedError)):
        raise error
    written = [future.result() for future in futures]
    parts = [part for part, _ in written if part]
    return parts, content, sum((rounded for _, rounded in written), Counter())


@dataclass(frozen=True)
class _Attempt:
    """One attempt at writing a batch, in parts side by side; `stop` tells the others that one failed."""

    run: LogRun
    hour: Hour
    begun: Exporting
    snapshot: str
    stop: threading.Event = field(default_factory=threading.Event)


def _write_part(attempt: _Attempt, index: int, rows: Range) -> tuple[Part | None, Counter[str]]:
    """One range as a part and its keys; no part when it holds no rows. Long rows are read fewer at once."""
    try:
        try:
            return _write_pieces(attempt, index, [rows])
        except unload.TooLongError:
            # Nothing stands under the part's names yet.
            return _write_pieces(attempt, index, attempt.run.log_table.pieces(rows))
    except unload.TooLongError as e:
        attempt.stop.set()
        raise DataError(e.what, where=f"hour {attempt.hour}", remedy=e.remedy) from e
    except BaseException:
        attempt.stop.set()
        raise


def _write_pieces(attempt: _Attempt, index: int, pieces: Sequence[Range]) -> tuple[Part | None, Counter[str]]:
    run, hour = attempt.run, attempt.hour
    outbound, storage = run.log_table.outbound, run.services.storage
    data, keys = (
        BatchFile(run.objects.folder, kind, batch_id(hour, attempt.begun), index) for kind in (Kind.PART, Kind.KEYS)
    )
    conninfo = postgres.conninfo(run.services.settings, "hourly export")
    rounded: Counter[str] = Counter()
    statements = [run.log_table.statement(piece) for piece in pieces]
    with closing(unload.batches(conninfo, attempt.snapshot, *statements)) as batches:
        first = next(batches, None)
        if first is None:
            return None, rounded
        with (
            storage.writer(run.objects.bucket, str(data)) as data_stream,
            storage.writer(run.objects.bucket, str(keys)) as keys_stream,
            snappy(data_stream, outbound.schema) as data_file,
            snappy(keys_stream, outbound.keys_schema, differences=True) as keys_file,
        ):

            def write(group: pa.RecordBatch) -> Counter[str]:
                rows, notes = outbound.rows(group, hour)
                rounded = _inspect(run, notes)
                data_file.write(rows)
                keys_file.write(outbound.keys(group))
                return rounded

            # No name here keeps a row group in memory while the next is read.
            rounded = sum(map(write, row_groups(_until(chain([first], batches), attempt.stop))), rounded)
    return Part(data_file.rows, run.objects.written(data), run.objects.written(keys)), rounded


def _until(batches: Iterable[pa.RecordBatch], stop: threading.Event) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop.is_set():
            raise _StoppedError("the other part failed")
        yield batch


def _inspect(run: LogRun, notes: Iterable[Note]) -> Counter[str]:
    """How many values of each column were rounded. Raises DataError for a row that can't leave."""
    rounded: Counter[str] = Counter()
    for note in notes:
        if note.problem is not None:
            raise DataError(
                note.problem,
                where=f"{run.table.name}.{note.column} of the row with {run.table.key} {note.key}",
                remedy="Mend the row or declare another type in the catalog, then ask for this hour by date and hour",
            )
        rounded[note.column] += note.rows
    return rounded


def _check(run: LogRun, hour: Hour, parts: Iterable[Part], content: Content) -> None:
    """What stands in Cloud Storage, read back, is what PostgreSQL counted in the same snapshot."""
    parts = list(parts)
    footers = run.services.parquet.rows([part.data.version(run.objects.bucket) for part in parts]) if parts else 0
    stored = run.objects.content(parts) if parts else NOTHING
    if stored != content or footers != content.rows:
        raise DataError(
            f"PostgreSQL counted {quantity(content.rows, 'row')}, the parts {footers:,} and their keys {stored.rows:,}",
            where=f"hour {hour}",
            remedy="Report this as a bug",
        )
