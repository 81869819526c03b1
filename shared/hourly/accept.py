"""Accept: what BigQuery holds of an hour is the truth, because an operator says so."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from shared.db import postgres
from shared.errors import BadRequestError, RetryableError
from shared.gcp.parquet_writer import row_groups, snappy
from shared.hourly.context import LogRun
from shared.hourly.load_job import LoadJob
from shared.hourly.manifest import Acceptance, Content, Exported, HourRecord, Loaded, StoredFile, batch_id
from shared.hourly.names import BatchFile, Kind
from shared.hourly.rebuild import open_day
from shared.hourly.remedies import Remedies
from shared.names import BatchId, Hour
from shared.rows import unload
from shared.rows.log_table import Range


def accept(run: LogRun, hour: Hour, by: str, reason: str) -> HourRecord:
    """Record what BigQuery holds of the hour, in place of all that was known of it.

    The rows that PostgreSQL has of the hour now are neither exported nor deleted by any run; those that come later are
    late rows as ever. Raises BadRequestError for an hour that no run has begun, or that one is at, RetryableError while
    its load runs.
    """
    record = open_day(run, hour.day).record(hour)
    asked = Remedies(run.table.name, hour).ask
    if record is None:
        raise BadRequestError("was never exported, so there is nothing to accept", where=f"hour {hour}", remedy=asked)
    if record.work is not None:
        if record.failure is None:
            raise BadRequestError("is on its way", where=f"hour {hour}", remedy=asked)
        _refuse_running(run, hour, record)
    source, keys = _source(run, hour)
    attempts = record.attempts | {file.batch.attempt for file, _ in run.objects.of_hour(hour)}
    held = run.raw_table.of_hour(hour)
    accepted = Acceptance(datetime.now(UTC), by, reason, held, source, keys, tuple(sorted(attempts)))
    return run.store.advance(hour, record, HourRecord(accepted=accepted))


def _refuse_running(run: LogRun, hour: Hour, record: HourRecord) -> None:
    if isinstance(record.work, Exported | Loaded):
        loading = LoadJob(run, batch_id(hour, record.work.export), record.work.export.load_attempt)
        job = loading.find()
        if job is not None and not job.done:
            raise RetryableError("its load still runs", where=f"job {job.name}")


def _source(run: LogRun, hour: Hour) -> tuple[Content, tuple[StoredFile, ...]]:
    """What PostgreSQL holds of the hour, and the object with the keys of it, as of one instant."""
    import pyarrow as pa

    batch = BatchId(hour, 1, secrets.token_hex(4))
    file = BatchFile(run.objects.folder, Kind.KEYS, batch, 0)
    with run.log_table.snapshot() as snapshot:
        source = Content.of(*run.log_table.content(Range.of(hour)))
        if not source.rows:
            return source, ()
        conninfo = postgres.conninfo(run.services.settings, "hourly acceptance")
        statement = run.log_table.keys_statement(Range.of(hour), 1, 0)
        with (
            run.services.storage.writer(run.objects.bucket, str(file)) as stream,
            snappy(stream, pa.schema([("key", pa.int64())]), differences=True) as written,
        ):
            for group in row_groups(unload.batches(conninfo, snapshot, statement)):
                written.write(group)
    return source, (run.objects.written(file),)
