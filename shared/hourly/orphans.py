"""Orphans: objects of an hour that no batch accounts for. Dead attempts leave some; or they are the last
copy of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from shared.errors import DataError
from shared.gcp.storage import StoredObject
from shared.hourly.context import LogRun
from shared.hourly.manifest import HourRecord, Part
from shared.hourly.names import Kind
from shared.hourly.objects import Listed
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.words import quantity

#: Keys that PostgreSQL is asked for at once.
_KEYS = 10_000


def refuse_any(run: LogRun, hour: Hour, record: HourRecord | None) -> None:
    """Raise DataError when the bucket contradicts that the hour is empty: it has parts of the hour of which the hour's
    record, as it was until now, does not tell.
    """
    found = parts(run.objects.of_hour(hour), record)
    if found:
        raise DataError(
            f"PostgreSQL and BigQuery hold nothing of it, and its folder has {quantity(len(found), 'object')} that no"
            f" batch accounts for: the first is {run.objects.uri(found[0])}",
            where=f"hour {hour}",
            remedy=_remedy(run, hour),
        )


def refuse_last(run: LogRun, hour: Hour, accounted: Sequence[Part], attempts: Collection[str]) -> None:
    """Raise DataError when rows lie in the hour's objects and nowhere else: neither in the source nor in the
    `accounted` parts. Objects of the `attempts` of those parts are not looked at.

    Ask this before you delete the objects that a dead attempt left.
    """
    found = _unknown(run.objects.of_hour(hour), attempts)
    rows = sum(_only_there(run, stored, accounted) for stored in found)
    if rows:
        raise DataError(
            f"{quantity(rows, 'row')} in objects that no batch accounts for, and nowhere else",
            where=run.objects.place(hour),
            remedy=_remedy(run, hour),
        )


def _remedy(run: LogRun, hour: Hour) -> str:
    remedies = Remedies(run.table.name, hour)
    return (
        f"To load them: {remedies.restore} --replace. If nobody wants them, move the objects elsewhere, then:"
        f" {remedies.ask}"
    )


def parts(files: Iterable[Listed], record: HourRecord | None) -> list[str]:
    """The names of an hour's parts that its record tells nothing of: neither its batches nor its dead attempts."""
    return [stored.version.name for stored in _unknown(files, record.attempts if record else ())]


def _unknown(files: Iterable[Listed], attempts: Collection[str]) -> Iterator[StoredObject]:
    for file, stored in files:
        if file.kind is Kind.PART and file.batch.attempt not in attempts:
            yield stored


def _only_there(run: LogRun, stored: StoredObject, accounted: Sequence[Part]) -> int:
    """How many rows of a part neither the source has nor the accounted parts."""
    import pyarrow as pa

    parquet = run.services.parquet
    name = '"' + run.table.key.replace('"', '""') + '"'
    known, rows = run.objects.keys(part.keys for part in accounted), 0
    for batch in parquet.stream(stored.version, parquet.batches(stored.version, [name], _KEYS)):
        keys = [key for key in batch.column(0).to_pylist() if key is not None]
        gone = sorted(set(keys) - set(run.log_table.present(keys)))
        if gone and known:
            gone = parquet.absent(known, "key", pa.table({"key": pa.array(gone, pa.int64())}), len(gone), "true")
        rows += len(gone)
    return rows
