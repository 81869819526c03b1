"""The states of an hour (docs/races.md#the-states-of-an-hour): one hour, from where it stands to where it belongs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial

from shared import log
from shared.errors import BadRequestError, PermanentError, RetryableError
from shared.hourly import lineage
from shared.hourly.context import LogRun
from shared.hourly.export import export
from shared.hourly.load import load
from shared.hourly.manifest import Deletion, Exported, Exporting, Failure, HourRecord, Loaded, Restoring
from shared.hourly.purge import purge, refuse_unless_held
from shared.hourly.refill import refill
from shared.hourly.verify_batch import verify
from shared.ledger import attempts
from shared.ledger.attempts import Work
from shared.names import Hour


def settle(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool, again: bool) -> HourRecord:
    """Export, load and verify what the hour still lacks, its late rows too; `delete` asks for the deletion of its rows.

    `again` takes up an hour that failed for good. Returns the record that the hour came to, as the other functions here
    do. After a permanent failure, that record tells of the failure.
    """
    if record is not None and record.failure is not None and not again:
        return record
    return _recorded(run, hour, partial(_settle, run, hour, record, delete=delete))


def load_exported(run: LogRun, hour: Hour, record: HourRecord | None) -> HourRecord:
    """Load and verify what stands in Cloud Storage of the hour, and export nothing.

    Raises BadRequestError where nothing of the hour stands there.
    """
    if record is not None:
        record = _recorded(run, hour, partial(_load, run, hour, record))
    if record is None or isinstance(record.work, Exporting):
        raise BadRequestError("nothing of it was exported yet", where=f"hour {hour}", remedy="Export it first")
    return record


def finish(run: LogRun, hour: Hour, record: HourRecord) -> HourRecord:
    """See what is under way of the hour through, and begin nothing further."""
    return _recorded(run, hour, partial(_finish, run, hour, record))


def delete_asked(run: LogRun, hour: Hour, record: HourRecord) -> HourRecord:
    """Delete the rows of the hour that were asked to go from the source."""
    return _recorded(run, hour, partial(purge, run, hour, record))


def _settle(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool) -> HourRecord:
    with _counted(run, hour):
        while (further := _step(run, hour, record, delete=delete)) != record:
            record = further
            if record.work is None and time.monotonic() > run.deadline:
                raise RetryableError("there are more late rows than this call had time for", where=f"hour {hour}")
        # What was accepted was not verified, so that none of it may go.
        if delete and further.batches and further.deletion is None and further.acceptance is None:
            return run.store.advance(hour, further, further.change(deletion=Deletion(datetime.now(UTC))))
        return further


def _finish(run: LogRun, hour: Hour, record: HourRecord) -> HourRecord:
    with _counted(run, hour):
        while record.work is not None:
            record = _step(run, hour, record, delete=False)
        return record


def _load(run: LogRun, hour: Hour, record: HourRecord) -> HourRecord:
    while isinstance(record.work, Restoring | Exported | Loaded):
        record = _step(run, hour, record, delete=False)
    return record


def _step(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool) -> HourRecord:
    """The record after the next step; the same one when there is nothing left to do."""
    match record:
        case HourRecord(work=Restoring() as work):
            return refill(run, hour, record, work)
        case HourRecord(work=Exported() as work):
            return load(run, hour, record, work)
        case HourRecord(work=Loaded() as work):
            return verify(run, hour, record, work)
        case _:
            if record is not None and record.failure is not None and record.undeleted:
                # It may have failed because BigQuery lost what is to be deleted, which no export looks for.
                refuse_unless_held(run, hour, record)
            return export(run, hour, record, delete=delete)


def _counted(run: LogRun, hour: Hour) -> AbstractContextManager[None]:
    """Count the attempt at the hour, where the ledger has a place for it."""
    if not run.counts:
        return nullcontext()
    work = Work(
        f"hour {hour} of {run.table.name}",
        "Give hourly_export more memory or time, then ask for this hour by date and hour",
    )
    return attempts.counted(run.log_table.connection, run.services.settings, work)


def _recorded(run: LogRun, hour: Hour, steps: Callable[[], HourRecord]) -> HourRecord:
    """The record that the steps come to. Why the hour can't go on is noted in it, and told in the log.

    Raises what failed and may succeed later; and any failure of an hour before the first owned that never began: it
    leaves no trace.
    """
    with log.bound(hour=hour):
        try:
            return steps()
        except PermanentError as e:
            manifest = run.store.read(hour.day)
            record = manifest.record(hour) if manifest else None
            if record is None and hour < run.start:
                raise
            failed = (record or HourRecord()).change(failure=Failure(datetime.now(UTC), str(e)))
            failed = run.store.advance(hour, record, failed)
            log.error("hour failed", e)
            if (attempt := _attempt(failed)) is not None:
                lineage.batch(run, hour, attempt).fail(e)
            return failed


def _attempt(record: HourRecord) -> str | None:
    """The attempt at a batch that is under way."""
    match record.work:
        case Exporting() as work:
            return work.attempt
        case Exported() | Loaded() as work:
            return work.export.attempt
        case _:
            return None
