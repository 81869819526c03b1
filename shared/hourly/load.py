"""Load: an exported batch into its day's partition of BigQuery, once, and proof that it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from shared import log
from shared.catalog import BigQueryType
from shared.errors import DataError, RetryableError
from shared.gcp.bigquery import Job
from shared.hourly import orphans
from shared.hourly.context import LogRun
from shared.hourly.manifest import (
    NOTHING,
    Batch,
    BatchReceipt,
    Export,
    Exported,
    Exporting,
    HourRecord,
    Loaded,
    batch_id,
)
from shared.hourly.names import BatchTable
from shared.names import Hour, JobName, PartitionRef, TableRef
from shared.rows.log_table import Range
from shared.words import quantity


def load(run: LogRun, hour: Hour, record: HourRecord, work: Exported) -> HourRecord:
    """See the batch's load job through: found by its name, or started.

    A job that failed has used up its id; a call makes at most one new one. Raises RetryableError when a later call may
    succeed, PermanentError when none can.
    """
    export, started = work.export, False
    while True:
        job = find(run, hour, export)
        if job is None:
            if not run.objects.complete(export.parts):
                return _start_over(run, hour, record, export)
            started = True
            job = _load(run, hour, export)
        elif not job.done:
            job = run.services.bigquery.wait(job.name, run.raw_table.location, run.deadline)
        if _has_json(run):
            run.services.bigquery.drop(_staged(run, hour, export))
        if job.error is None:
            loaded = Loaded(export, str(job.name), datetime.now(UTC))
            return run.store.advance(hour, record, record.change(work=loaded))
        failure = job.error.failure(f"job {job.name}", quote=False)
        log.warning(f"load failed: {failure}", failure)
        export = msgspec.structs.replace(export, load_attempt=export.load_attempt + 1)
        record = run.store.advance(hour, record, record.change(work=Exported(export)))
        if started:
            raise failure


def verify(run: LogRun, hour: Hour, record: HourRecord, work: Loaded) -> HourRecord:
    """Compare what BigQuery, Parquet and PostgreSQL count. Raises DataError when they differ.

    When the hour had failed here, and somebody has since deleted the batch's rows from BigQuery, it is loaded again.
    """
    export, held = work.export, run.raw_table.of_hour(hour)
    if record.failure is not None and held == export.before:
        again = msgspec.structs.replace(export, load_attempt=export.load_attempt + 1)
        return run.store.advance(hour, record, record.change(work=Exported(again)))
    receipt = BatchReceipt(export.content, run.objects.content(export.parts), held - export.before)
    if not receipt.postgresql == receipt.parquet == receipt.bigquery:
        raise DataError(
            f"of batch {export.number}, PostgreSQL counted {quantity(export.content.rows, 'row')}, Parquet holds"
            f" {receipt.parquet.rows:,} and BigQuery {receipt.bigquery.rows:,}, or their keys differ",
            where=f"hour {hour} of {run.raw_table.ref}",
            remedy=f"Bring the hour in BigQuery back to {quantity(export.before.rows, 'row')}, as before this batch,"
            " then ask for it by date and hour: the batch is loaded again",
        )
    batch = Batch(export, work.job, receipt, work.loaded_at, datetime.now(UTC))
    done = record.change(work=None, batches=(*record.batches, batch))
    if export.superseded:
        orphans.refuse_last(run, hour, done.parts, done.attempts - set(export.superseded))
    run.objects.remove(hour, export.superseded)
    return run.store.advance(hour, record, done)


def job_name(run: LogRun, hour: Hour, export: Export) -> JobName:
    """The load job of a batch; a retry has another attempt's, an export's retry another batch's."""
    return JobName("load", run.table.name, batch_id(hour, export), export.load_attempt)


def find(run: LogRun, hour: Hour, export: Export) -> Job | None:
    """The job that used up this load attempt: the one that brings the batch to BigQuery, or one before it that failed.

    None when BigQuery knows of none.
    """
    job = run.services.bigquery.job(job_name(run, hour, export), run.raw_table.location)
    if job is None and _has_json(run):
        staged = run.services.bigquery.job(_stage_name(run, hour, export), run.raw_table.location)
        return staged if staged is not None and staged.error is not None else None
    return job


def _load(run: LogRun, hour: Hour, export: Export) -> Job:
    """Start what brings the batch to BigQuery, and wait for it; the job that did, or the one that failed."""
    name = job_name(run, hour, export)
    uris = [run.objects.uri(part.data.name) for part in export.parts]
    if _has_json(run):
        staged = _stage(run, hour, export, uris)
        if staged.error is not None:
            return staged
        run.services.bigquery.query(
            name, run.raw_table.location, _insert(run, _staged(run, hour, export)), _labels(run, hour), None
        )
    else:
        partition = PartitionRef(run.raw_table.ref, hour.day)
        run.services.bigquery.load(
            name, run.raw_table.location, uris, partition, run.raw_table.schema, _labels(run, hour)
        )
    return run.services.bigquery.wait(name, run.raw_table.location, run.deadline)


def _has_json(run: LogRun) -> bool:
    return any(column.target is BigQueryType.JSON for column in run.table.columns)


def _stage(run: LogRun, hour: Hour, export: Export, uris: Sequence[str]) -> Job:
    """Load the batch into a table of its own, JSON as text: no Parquet type can be loaded into a JSON column
    (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#type_conversions).
    """
    name = _stage_name(run, hour, export)
    text = BigQueryType.STRING.api
    schema = [{**f, "type": text} if f["type"] == BigQueryType.JSON.api else f for f in run.raw_table.schema]
    if run.services.bigquery.job(name, run.raw_table.location) is None:
        into = _staged(run, hour, export)
        run.services.bigquery.load(name, run.raw_table.location, uris, into, schema, _labels(run, hour))
    return run.services.bigquery.wait(name, run.raw_table.location, run.deadline)


def _stage_name(run: LogRun, hour: Hour, export: Export) -> JobName:
    return JobName("stage", run.table.name, batch_id(hour, export), export.load_attempt)


def _staged(run: LogRun, hour: Hour, export: Export) -> TableRef:
    name = BatchTable(run.table.name, batch_id(hour, export), export.load_attempt)
    return TableRef(run.services.settings.project, run.services.settings.temporary_dataset, str(name))


def _insert(run: LogRun, staged: TableRef) -> str:
    """One statement, all or nothing as a load is. The JSON type rounds numbers that no double can hold."""
    names = [f"`{field['name']}`" for field in run.raw_table.schema]
    values = [
        f"PARSE_JSON({name}, wide_number_mode => 'round')" if field["type"] == BigQueryType.JSON.api else name
        for name, field in zip(names, run.raw_table.schema, strict=True)
    ]
    return (
        f"INSERT INTO {run.raw_table.ref.quoted} ({', '.join(names)}) SELECT {', '.join(values)} FROM {staged.quoted}"
    )


def _labels(run: LogRun, hour: Hour) -> Mapping[str, str]:
    # Labels take lower case only (https://cloud.google.com/bigquery/docs/labels-intro#requirements).
    return {"table": run.table.name.lower(), "hour": str(hour).lower()}


def _start_over(run: LogRun, hour: Hour, record: HourRecord, export: Export) -> HourRecord:
    """Export anew what somebody deleted before it was loaded. Raises DataError when the source has not as many rows.

    The rest of it is deleted first: a load that a frozen worker has yet to start then fails. One that it started just
    before is found.
    """
    count, *_ = run.log_table.content(Range.of(hour))
    # Rows of verified batches are there too, unless they are being deleted.
    left = int(str(count)) - (record.source_content or NOTHING).rows
    if left < export.content.rows:
        raise DataError(
            f"objects of it are gone before they were loaded, and PostgreSQL has {max(left, 0):,} of their"
            f" {quantity(export.content.rows, 'row')}",
            where=f"hour {hour}",
            remedy=f"Restore the objects in {run.objects.place(hour)} (soft delete keeps them for 7"
            " days), then ask for this hour by date and hour",
        )
    run.objects.remove(hour, {export.attempt})
    if run.services.bigquery.job(job_name(run, hour, export), run.raw_table.location) is not None:
        raise RetryableError("another run has just started its load", where=f"hour {hour}")
    log.warning("objects of the batch are gone before it was loaded: it is exported anew")
    again = Exporting(export.number, export.attempt, datetime.now(UTC), export.superseded)
    return run.store.advance(hour, record, record.change(work=again))
