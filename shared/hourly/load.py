"""Load: an exported batch into its day's partition of BigQuery, once."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from shared import log
from shared.errors import DataError
from shared.hourly.context import LogRun
from shared.hourly.load_job import LoadJob
from shared.hourly.manifest import NOTHING, Export, Exported, Exporting, HourRecord, Loaded, batch_id
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.rows.log_table import Range
from shared.words import quantity


def load(run: LogRun, hour: Hour, record: HourRecord, work: Exported) -> HourRecord:
    """See the batch's load job through: found by its name, or started.

    A job that failed has used up its id; a call starts at most one new job. Raises RetryableError when a later call may
    succeed, PermanentError when none can.
    """
    export, started = work.export, False
    while True:
        loading = LoadJob(run, batch_id(hour, export), export.load_attempt)
        job = loading.find()
        if job is None:
            if not run.objects.complete(export.parts):
                return _start_over(run, record, export, loading)
            started = True
            job = loading.start(export.parts)
        elif not job.done:
            job = loading.wait(job.name)
        loading.clean()
        if job.error is None:
            loaded = Loaded(export, str(job.name), datetime.now(UTC))
            return run.store.advance(hour, record, record.change(work=loaded))
        failure = job.error.failure(f"job {job.name}", quote=False)
        log.warning("load failed", failure)
        export = msgspec.structs.replace(export, load_attempt=export.load_attempt + 1)
        record = run.store.advance(hour, record, record.change(work=Exported(export)))
        if started:
            raise failure


def _start_over(run: LogRun, record: HourRecord, export: Export, loading: LoadJob) -> HourRecord:
    """Export anew what somebody deleted before it was loaded. Raises DataError when the source has not as many rows.

    The rest of it is given up first.
    """
    hour = loading.batch.hour
    count, *_ = run.log_table.content(Range.of(hour))
    # Rows of verified batches are there too, unless they are being deleted.
    left = int(str(count)) - (record.source_content or NOTHING).rows
    if left < export.content.rows:
        raise DataError(
            f"objects of it are gone before they were loaded, and PostgreSQL has {max(left, 0):,} of their"
            f" {quantity(export.content.rows, 'row')}",
            where=f"hour {hour}",
            remedy=f"Restore the objects in {run.objects.place(hour)} (soft delete keeps them for 7 days), then:"
            f" {Remedies(run.table.name, hour).restore}",
        )
    loading.give_up()
    log.warning("objects of the batch are gone before it was loaded: it is exported anew")
    again = Exporting(export.number, export.attempt, datetime.now(UTC), export.superseded)
    return run.store.advance(hour, record, record.change(work=again))
