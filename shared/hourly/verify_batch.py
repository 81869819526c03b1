"""Verify: prove that a loaded batch is in BigQuery, and remove what its dead attempts left."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from shared.errors import DataError
from shared.hourly import lineage, orphans
from shared.hourly.context import LogRun
from shared.hourly.manifest import Batch, BatchReceipt, Exported, HourRecord, Loaded
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.words import quantity


def verify(run: LogRun, hour: Hour, record: HourRecord, work: Loaded) -> HourRecord:
    """Compare what BigQuery, Parquet and PostgreSQL count. Raises DataError when they differ.

    If the hour failed here before, and somebody has deleted the batch's rows from BigQuery since, the batch is loaded
    again.
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
            remedy=f"To load the hour again: {Remedies(run.table.name, hour).restore} --replace. If BigQuery is right:"
            f" {Remedies(run.table.name, hour).accept}",
        )
    batch = Batch(export, work.job, receipt, work.loaded_at, datetime.now(UTC))
    done = record.change(work=None, batches=(*record.batches, batch))
    if run.tells:
        done = done.owing(export.number, batch.verified_at)
    if export.superseded:
        orphans.refuse_last(run, hour, done.parts, done.attempts - set(export.superseded))
    run.objects.remove(hour, export.superseded)
    done = run.store.advance(hour, record, done)
    lineage.batch(run, hour, export.attempt).of(export.content.rows).complete()
    return done
