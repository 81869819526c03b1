"""One hour, taken from wherever it stands to where it belongs: the state machine of docs/design.md."""

from __future__ import annotations

from datetime import UTC, datetime

from shared import log
from shared.errors import BusyError, PermanentError
from shared.hourly.context import Run
from shared.hourly.export import export
from shared.hourly.load import load, verify
from shared.hourly.manifest import Exported, Exporting, Failure, HourRecord, Loaded
from shared.hourly.purge import purge
from shared.hourly.rebuild import open_day
from shared.names import Hour


def settle(run: Run, hour: Hour, *, delete: bool, again: bool) -> HourRecord:
    """Export, load and verify what the hour still lacks, late rows among it, and delete it from the source if asked.

    `again` takes up an hour that failed for good. A permanent failure is recorded in the manifest and raised.
    """
    record = open_day(run, hour.day).record(hour)
    with log.bound(table=run.table.name, hour=hour):
        try:
            if record is not None and record.failure is not None:
                if not again:
                    return record
                record = _forgive(run, hour, record)
            while (further := _step(run, hour, record)) is not None:
                record = further
            if record is None:
                raise BusyError("has no record after its export", where=f"hour {hour}")
            if delete and record.batches:
                record = purge(run, hour, record)
            return record
        except PermanentError as e:
            _record_failure(run, hour, e)
            raise


def _step(run: Run, hour: Hour, record: HourRecord | None) -> HourRecord | None:
    """The record after the next step; None when there is nothing left to do."""
    match record.work if record else None:
        case Exported() as work if record:
            return load(run, hour, record, work)
        case Loaded() as work if record:
            return verify(run, hour, record, work)
        case None | Exporting() | _:
            return export(run, hour, record)


def _forgive(run: Run, hour: Hour, record: HourRecord) -> HourRecord:
    return run.store.advance(hour, record, record.change(failure=None))


def _record_failure(run: Run, hour: Hour, error: PermanentError) -> None:
    """Note why the hour can't go on. One before the first hour owned leaves no trace if it never began."""
    manifest = run.store.read(hour.day)
    record = manifest.record(hour) if manifest else None
    if record is None and hour < run.start:
        return
    failed = (record or HourRecord()).change(failure=Failure(datetime.now(UTC), str(error)))
    run.store.advance(hour, record, failed)
