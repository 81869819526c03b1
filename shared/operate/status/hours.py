"""The hours of a log, from their manifests: what became of each, day by day."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import msgspec

from shared import log
from shared.catalog import MINUTE, HourlyTable
from shared.errors import SyncError
from shared.hourly import manifest, recover
from shared.hourly.manifest import Audit, DamagedError, DayManifest, HourRecord, OtherVersionError, State
from shared.hourly.names import LogFolder
from shared.hourly.remedies import Remedies
from shared.hourly.store import Store
from shared.names import Hour, format_day
from shared.operate.status.causes import Fact, grouped
from shared.operate.status.report import (
    Accepted,
    AuditStatus,
    Cause,
    DayStatus,
    Difference,
    HourState,
    HourStatus,
    LogStatus,
    Undeleted,
)
from shared.services import HourlyServices

#: Days that are shown, today among them.
DAYS = 30

#: How long after the call that exports it an hour without a record is no gap.
GRACE = timedelta(minutes=55)

#: How long after it was asked for a deletion may be on its way: until then, calls that delete have had their turn.
DELETED_WITHIN = timedelta(hours=2)

#: Manifests read at once; the client keeps ten connections.
_READERS = 8

_STATES: Mapping[State, HourState] = {
    State.EXPORTING: HourState.IN_PROGRESS,
    State.RESTORING: HourState.IN_PROGRESS,
    State.EXPORTED: HourState.IN_PROGRESS,
    State.LOADED: HourState.IN_PROGRESS,
    State.DELETING: HourState.IN_PROGRESS,
    State.FAILED: HourState.FAILED,
    State.EMPTY: HourState.EMPTY,
    State.DONE: HourState.DONE,
    State.DELETED: HourState.DELETED,
}


@dataclass(frozen=True)
class Owned:
    """Which hours of a log are exported: from `start` on, each at the `minute` of the hour after it."""

    start: Hour
    minute: int = MINUTE


def read(services: HourlyServices, of: HourlyTable, now: datetime) -> LogStatus:
    """The last days of a log. A manifest that is damaged, or another version's, is a damaged day.

    Raises SyncError when the bucket can't be read.
    """
    settings, table = services.settings, of.name
    store = Store(services.storage, settings.bucket, LogFolder(settings.prefix, table))
    stored = store.listing()
    owned = Owned(recover.first_owned(store, settings, of), of.minute)
    days = [now.date() - timedelta(days=n) for n in range(DAYS)]
    with ThreadPoolExecutor(_READERS) as pool:
        readings = [log.submit(pool, _read, store, day) if day in stored else None for day in days]
    found = [reading.result() if reading else None for reading in readings]
    told = tuple(day_status(day, manifest, owned, now) for day, manifest in zip(days, found, strict=True))
    audits = [manifest.audit for manifest in found if isinstance(manifest, DayManifest) and manifest.audit]
    return LogStatus(
        name=table,
        start=str(owned.start),
        days=told,
        audit=_audit(table, audits[0], told) if audits else None,
        causes=causes_of(table, found),
        undeleted=undeleted_of(table, found, now),
    )


def day_status(day: date, read: DayManifest | SyncError | None, owned: Owned, now: datetime) -> DayStatus:
    """The hours of a day from its manifest, or from what is wrong with it."""
    hours = [Hour.of_day(day, number) for number in range(24)]
    if isinstance(read, SyncError):
        told = (_untold(hour, owned, now) for hour in hours)
        damaged = (HourState.DAMAGED if state in (HourState.GAP, HourState.DUE) else state for state in told)
        states = tuple(HourStatus(str(hour), state) for hour, state in zip(hours, damaged, strict=True))
        return DayStatus(day, states, str(read))
    records = ((hour, read.record(hour) if read else None) for hour in hours)
    return DayStatus(
        day,
        tuple(
            HourStatus(str(hour), _untold(hour, owned, now)) if record is None else hour_status(hour, record)
            for hour, record in records
        ),
    )


def hour_status(hour: Hour, record: HourRecord) -> HourStatus:
    """An hour from its record."""
    deletion, accepted = record.deletion, record.acceptance
    late = record.batches if accepted else record.batches[1:]
    return HourStatus(
        hour=str(hour),
        state=_state(record),
        rows=record.content.rows,
        late_rows=sum(batch.export.content.rows for batch in late),
        batches=len(record.batches),
        verified_at=record.batches[-1].verified_at if record.batches else None,
        deleted_rows=deletion.rows if deletion else 0,
        kept_rows=deletion.kept.rows if deletion else 0,
        failure=record.failure.error if record.failure else None,
        accepted=Accepted(accepted.at, accepted.by, accepted.reason) if accepted else None,
    )


def _state(record: HourRecord) -> HourState:
    assert record.state is not None  # noqa: S101 - a record gives itself one
    state = _STATES[record.state]
    if state is not HourState.DONE:
        return state
    if record.acceptance is not None:
        return HourState.ACCEPTED
    return HourState.LATE if len(record.batches) > 1 else state


def causes_of(table: str, manifests: Iterable[DayManifest | SyncError | None]) -> tuple[Cause, ...]:
    """What the failed hours come down to."""
    failures = [
        (f"{manifest.date}T{number}", record.failure)
        for manifest in manifests
        if isinstance(manifest, DayManifest)
        for number, record in manifest.hours.items()
        if record.failure
    ]
    causes = grouped((Fact(failure.at, "Hour", hour, failure.error) for hour, failure in failures), (table,))
    return tuple(msgspec.structs.replace(cause, repeat=_repeat(table, cause.subjects)) for cause in causes)


def undeleted_of(table: str, manifests: Iterable[DayManifest | SyncError | None], now: datetime) -> Undeleted | None:
    """The hours whose deletion does not come to its end: calls of the log do not delete, or can't."""
    hours = sorted(
        f"{manifest.date}T{number}"
        for manifest in manifests
        if isinstance(manifest, DayManifest)
        for number, record in manifest.hours.items()
        if record.state is State.DELETING and record.deletion and now - record.deletion.asked_at > DELETED_WITHIN
    )
    if not hours:
        return None
    # A call that deletes goes on with all that was asked for before. A range would ask for the hours between them too.
    return Undeleted(tuple(hours), f"{Remedies(table, Hour.parse(hours[0])).ask} --delete-from-source")


def _read(store: Store, day: date) -> DayManifest | SyncError | None:
    """Raises SyncError for what is no fault of the manifest's."""
    try:
        return store.read(day)
    except (DamagedError, OtherVersionError) as e:
        return e


def _untold(hour: Hour, owned: Owned, now: datetime) -> HourState:
    """The state of an hour that has no record."""
    if hour.end > now:
        return HourState.TO_COME
    if hour < owned.start:
        return HourState.NOT_OWNED
    called = hour.end + timedelta(minutes=owned.minute)
    return HourState.DUE if now - called < GRACE else HourState.GAP


def _repeat(table: str, hours: Sequence[str]) -> str:
    """The command that asks for failed hours again: what stands done between them stays as it is."""
    first, last = Hour.parse(min(hours)), Hour.parse(max(hours))
    return shlex.join(("recosync", "backfill", table, "--from", str(first), "--until", str(last.plus(1))))


def _restore(table: str, hours: Sequence[str]) -> str:
    """The command that loads hours again: what BigQuery holds between them stays as it is."""
    first, last = Hour.parse(min(hours)), Hour.parse(max(hours))
    named = ("--date", format_day(first.day), "--hour", str(first.number), "--until", str(last.plus(1)))
    return shlex.join(("recosync", "restore", table, *named))


def _audit(table: str, audit: Audit, days: Iterable[DayStatus]) -> AuditStatus:
    """The audit, without the hours that were verified or accepted after it."""
    hours = [hour for day in days for hour in day.hours]
    since = {hour.hour: hour.settled_at for hour in hours}
    deleted = {hour.hour for hour in hours if hour.state is HourState.DELETED}

    def open_(differences: Iterable[manifest.Difference]) -> tuple[Difference, ...]:
        return tuple(
            Difference(d.hour, d.expected, d.found) for d in differences if (since.get(d.hour) or audit.at) <= audit.at
        )

    lost, differences = open_(audit.lost), open_(audit.differences)
    # Rows of a deleted hour may be back, and were exported then.
    late = [d.hour for d in differences if d.found > d.expected and d.hour not in deleted]
    return AuditStatus(
        audit.at,
        differences,
        audit.earlier_rows,
        audit.rows_without_time,
        audit.later_rows,
        lost,
        _restore(table, [d.hour for d in lost]) if lost else None,
        _repeat(table, late) if late else None,
    )
