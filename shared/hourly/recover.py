"""Recover: which hours a run has to look at, from the manifests alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from shared.catalog import HourlyTable
from shared.errors import ConfigurationError
from shared.hourly.context import LogRun
from shared.hourly.manifest import DamagedError, DayManifest, HourRecord, OtherVersionError, State
from shared.hourly.store import Store
from shared.names import AHEAD, Hour
from shared.settings import HourlySettings


def first_owned(store: Store, settings: HourlySettings, log: HourlyTable) -> Hour:
    """The first hour of a log that the flow owns: as the manifests say, or on the first run as the catalog says, else
    HOURLY_START.

    Raises ConfigurationError when neither says it, when they disagree, or when the hour lies ahead: no hour would ever
    be due.
    """
    recorded = _recorded(store)
    said, by = (log.start, "start in the catalog") if log.start else (settings.start, "HOURLY_START")
    if recorded is None:
        if said is None:
            raise ConfigurationError("HOURLY_START is not set: it should be the first hour to export, YYYYMMDDTHH")
        if _lies_ahead(said):
            raise ConfigurationError(f"{by} says {said}, which lies ahead: no hour would be due", where=log.name)
        return said
    if _lies_ahead(recorded):
        raise ConfigurationError(
            f"the manifests say that the log begins at {recorded}, which lies ahead",
            where=str(store.folder),
            remedy="Bring back an earlier version of its newest manifest",
        )
    if said not in (None, recorded):
        raise ConfigurationError(
            f"{by} says {said}, the manifests say {recorded}",
            remedy="Correct or unset it; earlier hours are exported by an explicit range",
        )
    return recorded


def _lies_ahead(hour: Hour) -> bool:
    return hour.start > datetime.now(UTC) + AHEAD


def was_loaded(store: Store) -> bool:
    """Whether any manifest tells of rows that BigQuery was seen to hold. A damaged manifest may, so it counts."""
    return any(_tells_of_rows(store, day) for day in store.listing())


def _tells_of_rows(store: Store, day: date) -> bool:
    try:
        manifest = store.read(day)
    except DamagedError:
        return True
    return manifest is not None and any(record.batches for record in manifest.hours.values())


def _recorded(store: Store) -> Hour | None:
    """The first hour owned as the manifests have it, in each the same; None when there is none that can be read.

    Of the newest only, which a run reads anyway, and under its checksum: an object's metadata is anybody's.
    """
    unknown: OtherVersionError | None = None
    for day in reversed(list(store.listing())):
        try:
            manifest = store.read(day)
        except DamagedError:
            continue
        except OtherVersionError as e:
            unknown = e
            continue
        if manifest is not None:
            return Hour.parse(manifest.start)
    if unknown is not None:
        raise unknown
    return None


def unsettled(run: LogRun, end: Hour) -> list[Hour]:
    """The hours from the first owned to before `end` that are gaps or were left half done, in order."""
    if end <= run.start:
        return []
    listing = run.store.listing()
    hours: list[Hour] = []
    for day in _days(run.start.day, end.plus(-1).day):
        if not listing.get(day, False):
            manifest = _read(run, day) if day in listing else None
            owned = (Hour.of_day(day, number) for number in range(24))
            hours += [hour for hour in owned if run.start <= hour < end and _is_open(_record(manifest, hour))]
    return hours


def undeleted(run: LogRun) -> list[tuple[Hour, HourRecord]]:
    """The hours whose deletion was asked for and is not complete, in order."""
    return [(hour, record) for hour, record in _of_unsettled_days(run) if record.state == State.DELETING]


def owing(run: LogRun) -> list[tuple[Hour, HourRecord]]:
    """The hours of which messages are owed, in order."""
    return [(hour, record) for hour, record in _of_unsettled_days(run) if record.owes]


def _of_unsettled_days(run: LogRun) -> list[tuple[Hour, HourRecord]]:
    """The hours of the days that some run has to come back to, in order."""
    found = []
    for day, settled in run.store.listing().items():
        manifest = None if settled else _read(run, day)
        for number in manifest.hours if manifest else ():
            hour = Hour.of_day(day, int(number))
            record = _record(manifest, hour)
            if record is not None:
                found.append((hour, record))
    return found


def _is_open(record: HourRecord | None) -> bool:
    return record is None or (record.work is not None and record.failure is None)


def _record(manifest: DayManifest | None, hour: Hour) -> HourRecord | None:
    return manifest.record(hour) if manifest else None


def _read(run: LogRun, day: date) -> DayManifest | None:
    try:
        return run.store.read(day)
    except DamagedError:
        return None  # it is rebuilt when the first of its hours is opened


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
