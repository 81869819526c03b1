"""Refill: the first step of a restored hour. What BigQuery holds of it goes first, where that was asked for.

Each deletion is a job whose name follows from the manifest: a worker that froze before it finds the name used up when
it wakes up, and deletes nothing of what its successor loaded.
"""

from __future__ import annotations

from datetime import UTC, datetime

from shared import log
from shared.hourly.context import LogRun
from shared.hourly.load_job import labels
from shared.hourly.manifest import Exported, Exporting, HourRecord, Restoring
from shared.names import BatchId, Hour, JobName


def refill(run: LogRun, hour: Hour, record: HourRecord, work: Restoring) -> HourRecord:
    """The record from which the hour goes on as any other: with its export, or with an export that is to be made.

    Raises RetryableError when a later call may succeed, PermanentError when none can.
    """
    if work.empties:
        _empty(run, hour, work)
    begun = Exporting(1, work.attempt, datetime.now(UTC), work.superseded)
    return run.store.advance(hour, record, record.change(work=Exported(work.export) if work.export else begun))


def _empty(run: LogRun, hour: Hour, work: Restoring) -> None:
    """See the deletion through: found by its name, or started. A call starts one at most."""
    bigquery, location, started, attempt = run.services.bigquery, run.raw_table.location, False, 1
    while True:
        name = JobName("empty", run.table.name, BatchId(hour, 1, work.attempt), attempt)
        job = bigquery.job(name, location)
        if job is None:
            started = True
            bigquery.query(name, location, run.raw_table.deletion(hour), labels(run.table, hour), None)
        if job is None or not job.done:
            job = bigquery.wait(name, location, run.deadline)
        if job.error is None:
            return
        failure = job.error.failure(f"job {name}", quote=False)
        log.warning("deletion failed", failure)
        if started:
            raise failure
        attempt += 1
