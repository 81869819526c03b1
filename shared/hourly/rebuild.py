"""Rebuild: a day's manifest that is missing or damaged, from BigQuery's jobs and rows and the objects in Cloud Storage.

The rebuild guesses nothing. A batch counts if its load job is known and done and its objects stand. The hour is as it
was if all such batches together are exactly what BigQuery holds of it. Any other hour of which BigQuery holds rows is
recorded as failed, for a human to decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from shared import log
from shared.errors import DataError, RetryableError
from shared.gcp.bigquery import Job
from shared.gcp.storage import StoredObject
from shared.hourly import orphans
from shared.hourly.context import LogRun
from shared.hourly.load_job import LoadJob
from shared.hourly.manifest import (
    NOTHING,
    Batch,
    BatchReceipt,
    Content,
    DamagedError,
    DayManifest,
    Deletion,
    Export,
    Failure,
    HourRecord,
    Part,
    StoredFile,
)
from shared.hourly.names import Kind
from shared.hourly.remedies import Remedies
from shared.names import BatchId, Hour
from shared.rows.log_table import Range
from shared.words import quantity

type Files = Mapping[BatchId, Mapping[tuple[int, Kind], StoredObject]]


def open_day(run: LogRun, day: date) -> DayManifest:
    """The day's manifest, rebuilt if it is damaged, and made if there is none.

    A day of which neither Cloud Storage nor BigQuery knows anything is a new one. Raises RetryableError while a load of
    a lost manifest still runs.
    """
    generation = 0
    try:
        found = run.store.read(day)
    except DamagedError as e:
        log.error("hour manifest is damaged and will be rebuilt", e)
        generation = run.store.set_aside(day)
        found = None
    if found is not None:
        return found
    files, held = _files(run, day), run.raw_table.of_day(day)
    manifest = DayManifest.new(run.table.name, day, run.start)
    for hour in sorted({batch.hour for batch in files} | held.keys()):
        record = _hour(run, hour, {b: f for b, f in files.items() if b.hour == hour}, held.get(hour, NOTHING))
        if record is not None:
            manifest = manifest.with_record(hour, record)
    if generation or manifest.hours:
        states = {number: str(record.state) for number, record in manifest.hours.items()}
        log.error("hour manifest was rebuilt from objects and BigQuery", day=day.isoformat(), hours=states)
    run.store.create(manifest, day, generation)
    return manifest


def _files(run: LogRun, day: date) -> Files:
    files: dict[BatchId, dict[tuple[int, Kind], StoredObject]] = defaultdict(dict)
    for file, stored in run.objects.of_day(day):
        files[file.batch][file.index, file.kind] = stored
    return files


def _hour(run: LogRun, hour: Hour, files: Files, held: Content) -> HourRecord | None:
    """What can be said of an hour; None when it is as if nobody had begun it."""
    loads = [load_of(run, batch) for batch in sorted(files, key=lambda batch: (batch.number, batch.attempt))]
    loaded = [(loading, job) for loading, job in loads if job is not None]
    complete = [found for loading, job in loaded if (found := _batch(run, loading, job, files[loading.batch]))]
    if len(complete) == len(loaded) and sum((batch.export.content for batch in complete), NOTHING) == held:
        parts = [part for batch in complete for part in batch.export.parts]
        try:
            orphans.refuse_last(run, hour, parts, {loading.batch.attempt for loading, _ in loaded})
        except DataError as e:
            failure = Failure(datetime.now(UTC), str(e))
            return None if hour < run.start else HourRecord(batches=tuple(complete), failure=failure)
        for loading, job in loads:
            if job is None:  # it is not in BigQuery, nor will be
                loading.give_up()
        if not complete:
            return None
        record = HourRecord(batches=tuple(complete), deletion=_deletion(run, hour, complete))
        # Nobody knows which of its messages were sent.
        return _owing(record) if run.tells else record
    if hour < run.start:
        return None  # not ours, unless somebody asks for it
    known, remedies = sum(batch.export.content.rows for batch in complete), Remedies(run.table.name, hour)
    failure = Failure(
        datetime.now(UTC),
        f"the manifest was lost: BigQuery holds {quantity(held.rows, 'row')} of the hour, the objects account for"
        f" {known:,}. To load what the objects hold: {remedies.restore} --replace. If BigQuery is right:"
        f" {remedies.accept}",
    )
    return HourRecord(failure=failure)


def _owing(record: HourRecord) -> HourRecord:
    for batch in record.batches:
        record = record.owing(batch.export.number, batch.verified_at)
    return record


def _deletion(run: LogRun, hour: Hour, batches: Sequence[Batch]) -> Deletion | None:
    """That the hour has left the source, if it has none of it: whoever deleted it, nobody is to miss it there."""
    count, *_ = run.log_table.content(Range.of(hour))
    rows = sum(batch.export.content.rows for batch in batches)
    return None if count else Deletion(datetime.now(UTC), len(batches), rows)


def load_of(run: LogRun, batch: BatchId) -> tuple[LoadJob, Job | None]:
    """The load of the batch that is done and did not fail; else the first one that BigQuery knows nothing of."""
    loading = LoadJob(run, batch, 1)
    while (job := loading.find()) is not None and (not job.done or job.error is not None):
        if not job.done:
            raise RetryableError("a load of the lost manifest still runs", where=f"job {job.name}")
        loading = replace(loading, attempt=loading.attempt + 1)
    return loading, job


def _batch(run: LogRun, loading: LoadJob, job: Job, files: Mapping[tuple[int, Kind], StoredObject]) -> Batch | None:
    """The batch as its objects tell of it; None when one that was loaded, or its keys, is gone."""
    data = {index: stored for (index, kind), stored in sorted(files.items()) if kind is Kind.PART}
    uris = {run.objects.uri(stored.version.name) for stored in data.values()}
    # The job of a log with JSON columns is a query, and names none.
    if (job.uris and set(job.uris) != uris) or any((index, Kind.KEYS) not in files for index in data):
        return None
    parts = [
        Part(
            run.services.parquet.footer(stored.version).rows,
            StoredFile.of(stored),
            StoredFile.of(files[index, Kind.KEYS]),
        )
        for index, stored in data.items()
    ]
    if not parts:
        return None
    content, now = run.objects.content(parts), datetime.now(UTC)
    batch = loading.batch
    export = Export(batch.number, batch.attempt, tuple(parts), content, NOTHING, None, now, loading.attempt)
    return Batch(export, str(job.name), BatchReceipt(None, content, content), now, now)
