"""Recover: which hours a run has to look at, from the manifests alone."""

from __future__ import annotations

from datetime import date, timedelta

from shared.errors import ConfigurationError
from shared.hourly.context import Run
from shared.hourly.manifest import DamagedError, DayManifest
from shared.hourly.store import Store
from shared.names import Hour
from shared.settings import HourlySettings


def first_owned(store: Store, settings: HourlySettings) -> Hour:
    """The first hour that the flow owns: as the manifests say, on the first run as HOURLY_START says.

    Raises ConfigurationError when neither does, or when they disagree.
    """
    recorded = min((entry.start for entry in store.listing().values() if entry.start), default=None)
    if recorded is None:
        if settings.start is None:
            raise ConfigurationError("HOURLY_START is not set: it should be the first hour to export, YYYYMMDDTHH")
        return settings.start
    if settings.start not in (None, recorded):
        raise ConfigurationError(
            f"HOURLY_START says {settings.start}, the manifests say {recorded}",
            remedy="Correct or unset it; earlier hours are exported by an explicit range",
        )
    return recorded


def unsettled(run: Run, end: Hour) -> list[Hour]:
    """The hours from the first owned to before `end` that are gaps or were left half done, in order."""
    if end <= run.start:
        return []
    entries = run.store.listing()
    hours: list[Hour] = []
    for day in _days(run.start.day, end.plus(-1).day):
        entry = entries.get(day)
        if entry is not None and entry.settled:
            continue
        manifest = _read(run, day) if entry is not None else None
        for number in range(24):
            hour = Hour.of_day(day, number)
            record = manifest.record(hour) if manifest else None
            if run.start <= hour < end and (record is None or not record.settled):
                hours.append(hour)
    return hours


def _read(run: Run, day: date) -> DayManifest | None:
    try:
        return run.store.read(day)
    except DamagedError:
        return None  # it is rebuilt when the first of its hours is opened


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
