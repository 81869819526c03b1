"""Salvage: what the objects of an hour are good for, whatever its record says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from shared.errors import DataError
from shared.gcp.bigquery import Job
from shared.gcp.parquet_writer import row_groups, snappy
from shared.gcp.storage import StoredObject
from shared.hourly.context import LogRun
from shared.hourly.manifest import NOTHING, Export, Part, StoredFile
from shared.hourly.names import BatchFile, Kind
from shared.hourly.rebuild import load_of
from shared.names import BatchId, Hour
from shared.words import quantity

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows whose keys are read at once.
_ROWS = 10_000


def exports(run: LogRun, hour: Hour, known: Sequence[Export], attempts: Collection[str]) -> list[Export]:
    """The exports of the hour, from its objects alone but for those of the `attempts`. No row is in two of them, nor in
    one of the `known`.

    An attempt that died has rows that another one has, too, and counts for nothing. Raises DataError where two have
    only some rows in common, or where a part that was loaded is gone: nobody knows then what belongs to the hour.
    """
    files: defaultdict[BatchId, dict[tuple[int, Kind], StoredObject]] = defaultdict(dict)
    for file, stored in run.objects.of_hour(hour):
        if file.batch.attempt not in attempts:
            files[file.batch][file.index, file.kind] = stored
    jobs = {batch: load_of(run, batch)[1] for batch in files}
    candidates = [export for batch in files if (export := _export(run, batch, files[batch], jobs[batch])) is not None]
    loaded = {batch.attempt for batch, job in jobs.items() if job is not None}
    found: list[Export] = []
    for export in sorted(candidates, key=lambda export: (export.attempt not in loaded, -export.content.rows)):
        keys = [key for part in export.parts for key in _keys(run, part)]
        new = len(strange(run, keys, [*known, *found]))
        if new == len(keys):
            found.append(export)
        elif new:
            raise DataError(
                f"attempt {export.attempt} has {quantity(len(keys), 'row')}, {new:,} of them nowhere else",
                where=run.objects.place(hour),
                remedy="Move the objects of one of the attempts elsewhere, then try again",
            )
    return found


def standing(run: LogRun, hour: Hour, export: Export) -> Export | None:
    """The export by its objects as they stand now; None when rows of it are gone.

    Keys that are gone are read once more from their part: that the rows did not change since, nobody can say then.
    Raises DataError when they are not the keys of before.
    """
    parts = []
    for index, part in enumerate(export.parts):
        data, keys = run.objects.standing(part.data), run.objects.standing(part.keys)
        if data is None:
            return None
        parts.append(Part(part.rows, data, keys or _write_keys(run, BatchId(hour, 1, export.attempt), index, data)))
    found = msgspec.structs.replace(export, parts=tuple(parts))
    if run.objects.content(found.parts) != export.content:
        raise DataError("its objects have other rows than were exported", where=run.objects.place(hour))
    return found


def strange(run: LogRun, keys: Sequence[int], among: Iterable[Export]) -> list[int]:
    """The keys that no row of the exports has."""
    import pyarrow as pa

    known = run.objects.keys(part.keys for export in among for part in export.parts)
    if not known or not keys:
        return list(keys)
    return run.services.parquet.absent(known, "key", pa.table({"key": pa.array(keys, pa.int64())}), len(keys), "true")


def _export(
    run: LogRun, batch: BatchId, files: Mapping[tuple[int, Kind], StoredObject], job: Job | None
) -> Export | None:
    """The objects of one attempt as an export; None when it has no part."""
    data = {index: StoredFile.of(stored) for (index, kind), stored in sorted(files.items()) if kind is Kind.PART}
    missing = sorted(set(job.uris if job else ()) - {run.objects.uri(file.name) for file in data.values()})
    if missing:
        raise DataError(
            "was loaded, and is gone",
            where=missing[0],
            remedy="Restore the object: gcloud storage restore (soft delete keeps it for 7 days)",
        )
    if not data:
        return None
    parts = []
    for index, file in data.items():
        stored = files.get((index, Kind.KEYS))
        keys = StoredFile.of(stored) if stored else _write_keys(run, batch, index, file)
        rows = run.services.parquet.footer(file.version(run.objects.bucket)).rows
        parts.append(Part(rows, file, keys))
    content = run.objects.content(parts)
    return Export(batch.number, batch.attempt, tuple(parts), content, NOTHING, None, datetime.now(UTC))


def _keys(run: LogRun, part: Part) -> list[int]:
    """The keys of a part's rows."""
    (version,) = run.objects.keys([part.keys])
    parquet = run.services.parquet
    batches = parquet.stream(version, parquet.batches(version, ['"key"'], _ROWS))
    return [key for batch in batches for key in batch.column(0).to_pylist()]


def _write_keys(run: LogRun, batch: BatchId, index: int, data: StoredFile) -> StoredFile:
    """Write the keys of a part beside it once more. No row's version is 0, so that none is deleted for them."""
    import pyarrow as pa

    table, schema, parquet = run.table, run.log_table.outbound.keys_schema, run.services.parquet
    file, version = BatchFile(run.objects.folder, Kind.KEYS, batch, index), data.version(run.objects.bucket)
    columns = ['"' + name.replace('"', '""') + '"' for name in (table.key, table.time)]

    def keys(rows: pa.RecordBatch) -> pa.RecordBatch:
        versions = pa.nulls(rows.num_rows, pa.int64()).fill_null(0)
        return pa.RecordBatch.from_arrays([*rows.columns, versions], names=schema.names).cast(schema)

    with (
        run.services.storage.writer(run.objects.bucket, str(file)) as stream,
        snappy(stream, schema, differences=True) as written,
    ):
        rows = parquet.stream(version, parquet.batches(version, columns, _ROWS))
        for group in row_groups(map(keys, rows)):
            written.write(group)
    return run.objects.written(file)
