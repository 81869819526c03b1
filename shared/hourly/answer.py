"""The answer: what has become of each hour, as a call's JSON tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypedDict, cast

from shared import log
from shared.errors import SyncError
from shared.hourly.manifest import Audit, Difference, HourRecord, State
from shared.names import Hour


class ToldHour(TypedDict):
    """What the answer tells of an hour; docs/reference.md#hourly_export says what each field means."""

    hour: str
    status: Literal["exported", "late rows exported", "empty", "done already"]
    state: State
    rows: int
    new_rows: int
    rounded: dict[str, int]
    deleted: int
    kept: int


class FailedHour(TypedDict):
    """What the answer tells of an hour that failed."""

    hour: str
    error: str
    retryable: bool


class AuditedHour(TypedDict):
    """An hour of which the audit found other rows in the source, or in BigQuery, than were expected."""

    hour: str
    expected: int
    found: int


class HourlyAnswer(TypedDict):
    """The JSON of an answer. The table is null where the catalog has no log. The last five are null when the call has
    not counted; each count also is when it took too long.
    """

    table: str | None
    hours: list[ToldHour]
    failed: list[FailedHour]
    remaining: int
    next: str | None
    audit: list[AuditedHour] | None
    audit_bigquery: list[AuditedHour] | None
    earlier_rows: int | None
    later_rows: int | None
    rows_without_time: int | None


class Answer:
    """What has become of the hours so far. Once it is `retryable`, a later call may mend what failed: hours go in
    order, so that no further hour is begun.
    """

    def __init__(self, table: str | None) -> None:
        self._table = table
        self._hours: dict[Hour, tuple[HourRecord | None, HourRecord]] = {}
        self._untold: dict[Hour, tuple[HourRecord | None, HourRecord]] = {}
        self._failed: dict[Hour, FailedHour] = {}
        self.remaining: Sequence[Hour] = ()
        self.audited: Audit | None = None
        self.retryable = False

    def tell(self, hour: Hour, before: HourRecord | None, after: HourRecord) -> None:
        """What the call found of an hour, and what that came to. It may come to more: what was found first counts."""
        first, _ = self._hours.get(hour, (before, after))
        self._hours[hour] = (first, after)
        if after.failure is not None:
            self._failed[hour] = {"hour": str(hour), "error": after.failure.error, "retryable": False}

    def fail(self, hour: Hour, error: SyncError) -> None:
        """Tell why an hour failed, where no record tells."""
        log.error("hour failed", error, hour=str(hour))
        self._failed[hour] = {"hour": str(hour), "error": str(error), "retryable": error.retryable}
        self.retryable = self.retryable or error.retryable

    def keep_back(self, hour: Hour) -> None:
        """Tell nothing of an hour before `tell_all`, unless it failed."""
        if hour in self._hours:
            self._untold[hour] = self._hours.pop(hour)

    def tell_all(self) -> None:
        """Name the hours that were kept back, behind the others."""
        self._hours |= self._untold

    def response(self) -> tuple[HourlyAnswer, int]:
        """The JSON, and its HTTP status: 500 when a call that is repeated may go on."""
        audited, told = self.audited, self._hours.items()
        body: HourlyAnswer = {
            "table": self._table,
            "hours": [_entry(hour, before, after) for hour, (before, after) in told if hour not in self._failed],
            "failed": list(self._failed.values()),
            "remaining": len(self.remaining),
            "next": str(self.remaining[0]) if self.remaining else None,
            "audit": _audited(audited.differences) if audited else None,
            "audit_bigquery": _audited(audited.lost) if audited else None,
            "earlier_rows": audited.earlier_rows if audited else None,
            "later_rows": audited.later_rows if audited else None,
            "rows_without_time": audited.rows_without_time if audited else None,
        }
        return body, 500 if self.retryable else 200


def _audited(differences: Sequence[Difference]) -> list[AuditedHour]:
    return [{"hour": d.hour, "expected": d.expected, "found": d.found} for d in differences]


def _entry(hour: Hour, before: HourRecord | None, record: HourRecord) -> ToldHour:
    """What the answer says of an hour."""
    known = len(before.batches) if before else 0
    new = record.batches[known:]
    rounded: Counter[str] = Counter()
    for batch in new:
        rounded.update(batch.export.rounded or {})
    status: Literal["exported", "late rows exported", "empty", "done already"]
    if not new:
        status = "empty" if record.state == State.EMPTY else "done already"
    else:
        status = "late rows exported" if known or (before and before.acceptance) else "exported"
    return {
        "hour": str(hour),
        "status": status,
        "state": cast(State, record.state),  # which a record always has
        "rows": record.content.rows,
        "new_rows": sum(batch.export.content.rows for batch in new),
        "rounded": dict(rounded),
        "deleted": record.deletion.rows if record.deletion else 0,
        "kept": record.deletion.kept.rows if record.deletion else 0,
    }
