"""One hour, taken from wherever it stands to where it belongs: the state machine of docs/design.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime

from shared import log
from shared.errors import BadRequestError, PermanentError, RetryableError
from shared.hourly.context import LogRun
from shared.hourly.export import export
from shared.hourly.load import load, verify
from shared.hourly.manifest import Deletion, Exported, Exporting, Failure, HourRecord, Loaded
from shared.hourly.purge import purge
from shared.ledger import attempts
from shared.ledger.attempts import Work
from shared.names import Hour


def settle(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool, again: bool) -> None:
    """Export, load and verify what the hour still lacks, late rows among it; `delete` asks for their deletion.

    `again` takes up an hour that failed for good. A permanent failure is recorded in the manifest and raised.
    """
    if record is not None and record.failure is not None and not again:
        return
    with log.bound(hour=hour), _recording(run, hour), _counted(run, hour):
        while (further := _step(run, hour, record, delete=delete)) is not None:
            record = further
            if record.work is None and time.monotonic() > run.deadline:
                raise RetryableError("there are more late rows than this call had time for", where=f"hour {hour}")
        if delete and record is not None and record.batches and record.deletion is None:
            run.store.advance(hour, record, record.change(deletion=Deletion(datetime.now(UTC))))


def load_exported(run: LogRun, hour: Hour, record: HourRecord | None) -> None:
    """Load and verify what stands in Cloud Storage of the hour, and export nothing.

    Raises BadRequestError where nothing does. A permanent failure is recorded in the manifest and raised.
    """
    with log.bound(hour=hour), _recording(run, hour):
        while record is not None and isinstance(record.work, Exported | Loaded):
            record = _step(run, hour, record, delete=False)
    if record is None or isinstance(record.work, Exporting):
        raise BadRequestError("nothing of it was exported yet", where=f"hour {hour}", remedy="Export it first")


def delete_asked(run: LogRun, hour: Hour, record: HourRecord) -> None:
    """Delete what was asked to go from the source. A permanent failure is recorded in the manifest and raised."""
    with log.bound(hour=hour), _recording(run, hour):
        purge(run, hour, record)


def _step(run: LogRun, hour: Hour, record: HourRecord | None, *, delete: bool) -> HourRecord | None:
    """The record after the next step; None when there is nothing left to do."""
    match record:
        case HourRecord(work=Exported() as work):
            return load(run, hour, record, work)
        case HourRecord(work=Loaded() as work):
            return verify(run, hour, record, work)
        case _:
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


@contextmanager
def _recording(run: LogRun, hour: Hour) -> Iterator[None]:
    """Note why the hour can't go on. One before the first hour owned leaves no trace if it never began."""
    try:
        yield
    except PermanentError as e:
        manifest = run.store.read(hour.day)
        record = manifest.record(hour) if manifest else None
        if record is not None or hour >= run.start:
            failure = Failure(datetime.now(UTC), str(e))
            run.store.advance(hour, record, (record or HourRecord()).change(failure=failure))
        raise
