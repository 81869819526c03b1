"""Load: an exported batch into its day's partition of BigQuery, once, and proof that it is there."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from shared import log
from shared.errors import DataError
from shared.hourly.context import Run
from shared.hourly.export import in_parquet, sweep
from shared.hourly.manifest import Batch, Export, Exported, Exporting, HourRecord, Loaded, Receipt, batch_id
from shared.names import Hour, JobName, PartitionRef


def load(run: Run, hour: Hour, record: HourRecord, work: Exported) -> HourRecord:
    """See the batch's load job through: found by its name, or started.

    A job that failed has used up its id; a call makes at most one new one. Raises RetryableError when a later call may
    succeed, PermanentError when none can.
    """
    export, started = work.export, False
    while True:
        name = job_name(run, hour, export)
        job = run.services.bigquery.job(name, run.location)
        if job is None:
            if not _complete(run, export):
                return _start_over(run, hour, record, export)
            started = True
            _start(run, hour, export, name)
            job = run.services.bigquery.wait(name, run.location, run.deadline)
        elif not job.done:
            job = run.services.bigquery.wait(name, run.location, run.deadline)
        if job.error is None:
            loaded = Loaded(export, str(name), datetime.now(UTC))
            return run.store.advance(hour, record, record.change(work=loaded))
        failure = job.error.failure(f"job {name}", quote=False)
        log.warning(f"load failed: {failure}", failure)
        export = msgspec.structs.replace(export, load_attempt=export.load_attempt + 1)
        record = run.store.advance(hour, record, record.change(work=Exported(export)))
        if started:
            raise failure


def verify(run: Run, hour: Hour, record: HourRecord, work: Loaded) -> HourRecord:
    """Compare what BigQuery, Parquet and PostgreSQL count. Raises DataError when they differ.

    When the hour had failed here, and somebody has since deleted the batch's rows from BigQuery, it is loaded again.
    """
    export, held = work.export, run.in_bigquery(hour)
    if record.failure is not None and held == export.before:
        again = msgspec.structs.replace(export, load_attempt=export.load_attempt + 1)
        return run.store.advance(hour, record, record.change(work=Exported(again)))
    receipt = Receipt(export.content, in_parquet(run, export.parts), held - export.before)
    if not receipt.postgresql == receipt.parquet == receipt.bigquery:
        raise DataError(
            f"of batch {export.number}, PostgreSQL counted {export.content.rows} rows, Parquet holds"
            f" {receipt.parquet.rows} and BigQuery {receipt.bigquery.rows}, or their keys differ",
            where=f"hour {hour} of {run.target}",
            remedy=f"Bring the hour in BigQuery back to the {export.before.rows} rows it had before this batch,"
            " then ask for it by date and hour: the batch is loaded again",
        )
    batch = Batch(export, work.job, receipt, work.loaded_at, datetime.now(UTC))
    done = record.change(work=None, batches=(*record.batches, batch))
    sweep(run, hour, done)
    return run.store.advance(hour, record, done)


def job_name(run: Run, hour: Hour, export: Export) -> JobName:
    """The load job of a batch; a retry has another attempt's, an export's retry another batch's."""
    return JobName("load", run.table.name, batch_id(hour, export), export.load_attempt)


def _start(run: Run, hour: Hour, export: Export, name: JobName) -> None:
    run.services.bigquery.load(
        name,
        run.location,
        [f"gs://{run.bucket}/{part.data.name}" for part in export.parts],
        PartitionRef(run.target, hour.day),
        run.schema,
        # Labels take lower case only (https://cloud.google.com/bigquery/docs/labels-intro#requirements).
        {"table": run.table.name.lower(), "hour": str(hour).lower()},
    )


def _complete(run: Run, export: Export) -> bool:
    """Whether every part is still the object that was written: a load can't ask for a generation by itself."""
    for part in export.parts:
        for file in (part.data, part.keys):
            stored = run.services.storage.find(run.bucket, file.name)
            if stored is None or stored.version.generation != file.generation:
                return False
    return True


def _start_over(run: Run, hour: Hour, record: HourRecord, export: Export) -> HourRecord:
    """Export anew what somebody deleted before it was loaded.

    A load that a frozen worker may still start fails, because an object is missing.
    """
    log.warning("objects of the batch are gone before it was loaded: it is exported anew", hour=str(hour))
    again = Exporting(export.number, export.attempt, datetime.now(UTC))
    return run.store.advance(hour, record, record.change(work=again))
