"""Purge: delete from PostgreSQL exactly the rows that were exported and verified.

To delete by time or by a range of keys would take every late row along: a row has its time and key before it is
committed. A row is deleted only if it still is in the version that was exported. A row that was changed since is kept,
and reported.
"""

from __future__ import annotations

import time
from itertools import islice

from shared import log
from shared.errors import DataError
from shared.hourly.context import LogRun
from shared.hourly.manifest import NOTHING, Content, Deletion, HourRecord, Part
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.words import quantity

#: Rows per transaction: locks are short, and no vacuum waits for an old snapshot.
DELETE_ROWS = 10_000

#: Rest after each transaction, as a share of its time: room for autovacuum and for the API.
REST = 0.5


def purge(run: LogRun, hour: Hour, record: HourRecord) -> HourRecord:
    """Delete the rows of the hour's verified batches, as was asked. After a kill, the purge goes on and counts the
    same.
    """
    deletion = record.deletion
    if deletion is None:
        return record
    refuse_unless_held(run, hour, record)
    for batch in islice(record.batches, deletion.batches, None):
        kept = sum((_delete(run, part) for part in batch.export.parts), NOTHING)
        if kept.rows:
            log.error(
                f"{quantity(kept.rows, 'row')} changed after the export: kept, and BigQuery holds what was exported"
            )
        rows = deletion.rows + batch.export.content.rows - kept.rows
        deletion = Deletion(deletion.asked_at, deletion.batches + 1, rows, deletion.kept + kept)
        record = run.store.advance(hour, record, record.change(deletion=deletion))
    return record


def refuse_unless_held(run: LogRun, hour: Hour, record: HourRecord) -> None:
    """Raise DataError unless BigQuery holds what was verified, maybe long ago: PostgreSQL may have the only copy."""
    held = run.raw_table.of_hour(hour)
    if held != record.content:
        what = quantity(held.rows, "row") if held.rows != record.content.rows else "other keys"
        raise DataError(
            f"BigQuery holds {what} of it, {record.content.rows:,} were verified: nothing more is deleted",
            where=f"hour {hour} of {run.raw_table.ref}",
            remedy=f"To bring them back: {Remedies(run.table.name, hour).restore}. If BigQuery is right:"
            f" {Remedies(run.table.name, hour).accept}",
        )


def _delete(run: LogRun, part: Part) -> Content:
    """Delete a part's rows; what is left of them."""
    (version,) = run.objects.keys([part.keys])
    reader = run.services.parquet.batches(version, ['"key"', '"time"', '"xmin"'], DELETE_ROWS)
    kept = NOTHING
    for batch in run.services.parquet.stream(version, reader):
        began = time.monotonic()
        keys, times, versions = (column.to_pylist() for column in batch.columns)
        if run.log_table.delete(keys, versions, min(times), max(times)) < len(keys):
            for key in run.log_table.present(keys):
                kept += Content.of(1, key, key)
        time.sleep((time.monotonic() - began) * REST)
    return kept
