"""What the status page shows, as values: `?format=json` is this report, and docs/status.schema.json describes it."""

from __future__ import annotations

import datetime as dt
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from shared.operate.status.words import clip

#: Written as RFC 3339.
type Instant = Annotated[datetime, Meta(tz=True)]

type SnapshotName = Annotated[str, Meta(description="A snapshot's id, YYYYMMDDTHHMMSSZ.")]


#: Characters of any text that `?format=json` gives.
LONGEST = 4_000

type Message = Annotated[
    str, Meta(description=f"At most {LONGEST:,} characters: what is longer is cut, and ends in an ellipsis.")
]


class Problem(Struct, frozen=True):
    """A part of the report that could not be read. The values of that part are missing, the rest stands."""

    section: Literal["ledger", "hours"]
    message: Message
    log: str | None = None


class Receipt(Struct, frozen=True):
    """What each system counted of the published snapshot. BigQuery's count is null if another uploader brought the
    snapshot.
    """

    made_at: Instant
    bigquery_rows: int | None
    parquet_rows: int | None
    postgresql_rows: int
    columns: Annotated[int, Meta(description="How many columns were compared, value by value.")]
    duplicate_keys: Annotated[int | None, Meta(description="null where the catalog names no key.")]


class Published(Struct, frozen=True):
    """What readers of a table see. `fresh_at` is the last time at which the source was known to be the same."""

    snapshot: SnapshotName
    publication: int
    rows: int
    published_at: Instant
    cause: str
    source_modified_at: Instant | None
    fresh_at: Annotated[Instant | None, Meta(description="null for the rows that stood before the first publish.")]
    receipt: Receipt | None


class StageName(StrEnum):
    """The stages of a snapshot, in their order. Staging may begin before the export ends."""

    EXPORT = "export"
    STAGE = "stage"
    PUBLISH = "publish"
    REFRESH = "refresh"


class Stage(Struct, frozen=True):
    """One stage of a run. A null is not known, or has not come yet."""

    name: StageName
    began_at: Instant | None
    ended_at: Instant | None

    @property
    def seconds(self) -> float | None:
        if self.began_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.began_at).total_seconds())


class Outcome(StrEnum):
    """What became of a run."""

    PUBLISHED = "published"
    HELD = "held"
    REJECTED = "rejected"
    PASSED_OVER = "passed over"
    PINNED = "kept back by the pin"
    WAITING = "waits to be published"
    UNDER_WAY = "under way"
    UNCHANGED = "confirmed unchanged"
    SOURCE_CHANGED = "source changed its shape"
    FAILED = "failed"
    RETRIED = "to be retried"


class Run(Struct, frozen=True):
    """A snapshot on its way, or an export call that made no snapshot; such a call has no stages.

    `message` says why the run failed or was held. The message of a call that found the source unchanged says why
    readers are not fresh all the same.
    """

    at: Instant
    outcome: Outcome
    snapshot: SnapshotName | None = None
    message: Message | None = None
    stages: tuple[Stage, ...] = ()


class Held(Struct, frozen=True):
    """A snapshot that is complete but tripped a limit, and the commands that decide on it."""

    snapshot: SnapshotName
    rows: int
    held_at: Instant
    reasons: tuple[Message, ...]
    approve: str
    reject: str


class Drift(Struct, frozen=True):
    """The source is no longer what the catalog says, so the last export call held the table."""

    at: Instant
    message: Message


class Pin(Struct, frozen=True):
    """The table stays at a snapshot that an operator rolled back to, until `unpin` is run."""

    snapshot: SnapshotName
    pinned_at: Instant
    pinned_by: str
    unpin: str


class Standing(StrEnum):
    """How a table stands, the worst first."""

    TROUBLE = "in trouble"
    DRIFTED = "drifted"
    HELD = "held"
    PINNED = "pinned"
    NEVER = "never published"
    STALE = "stale"
    FRESH = "fresh"


class TableStatus(Struct, frozen=True):
    """One table of the catalog. `trouble` says what a human should look at, besides holds and age."""

    name: str
    source: Annotated[str, Meta(description="As the catalog has it: a variable that names its data set is in braces.")]
    fresh: Annotated[
        bool,
        Meta(
            description="Whether the source was last known to be this within 26 hours, and is not past its age limit."
        ),
    ]
    published: Published | None
    held: tuple[Held, ...]
    drift: Drift | None
    pin: Pin | None
    trouble: tuple[Message, ...]
    runs: Annotated[tuple[Run, ...], Meta(description="The last seven, newest first.")]
    acknowledge: Annotated[
        str | None, Meta(description="The command that says that its failures were dealt with, where trouble is one.")
    ] = None

    @property
    def standings(self) -> tuple[Standing, ...]:
        """All that is true of it, the worst first. The last one tells of its age."""
        named = {
            Standing.TROUBLE: self.trouble,
            Standing.DRIFTED: self.drift,
            Standing.HELD: self.held,
            Standing.PINNED: self.pin,
        }
        age = Standing.NEVER if self.published is None else Standing.FRESH if self.fresh else Standing.STALE
        return (*(standing for standing, why in named.items() if why), age)

    @property
    def badness(self) -> list[int]:
        """What tables are sorted by, the worst first."""
        return [list(Standing).index(standing) for standing in self.standings]

    @property
    def waiting(self) -> Run | None:
        """The complete snapshot that nothing keeps from readers, though it has not come to them."""
        return next((run for run in self.runs if run.outcome is Outcome.WAITING), None)


class ViewSource(Struct, frozen=True):
    """What a live view holds of one table that it reads; `current` says whether the table shows the same."""

    table: str
    snapshot: SnapshotName
    built_at: Instant
    seconds: float
    current: bool


class ViewStatus(Struct, frozen=True):
    """One view of the catalog. The tables that the view was not built from yet are not in `reads`, but in `missing`.

    `overdue` are the tables whose publication the view has lacked for more than an hour. `outdated` says what becomes
    of a view that was built from another template than it has now. `gone` is the command that builds a view which
    somebody dropped.
    """

    name: str
    reads: tuple[ViewSource, ...]
    missing: tuple[str, ...]
    overdue: tuple[str, ...]
    outdated: Message | None = None
    gone: str | None = None

    @property
    def behind(self) -> tuple[str, ...]:
        """The tables of which it does not hold what is published."""
        return (*(source.table for source in self.reads if not source.current), *self.missing)


class Acknowledgement(Struct, frozen=True):
    """An operator's word that a failure was dealt with: it waits for nobody any more."""

    at: Instant
    by: str
    reason: Message


class Failure(Struct, frozen=True):
    """A failure that no repetition mends. It is `over` when the work that it stopped has come about since, or is wanted
    no more.
    """

    at: Instant
    kind: str
    table: str | None
    snapshot: str | None
    subject: str
    message: Message
    over: bool = False
    id: Annotated[str, Meta(description="Its cause's.")] = ""
    acknowledged: Acknowledgement | None = None


class Cause(Struct, frozen=True):
    """Failures that are one: of one kind, and in the same words but for names and numbers. `message` is the newest's.

    Failures that are over are a cause of their own, and so are those that were acknowledged together. Both have the id
    of those that wait for a human.
    """

    kind: str
    message: Message
    count: Annotated[int, Meta(description="How many failures there were.")]
    subjects: Annotated[tuple[str, ...], Meta(description="The tables, or hours, that failed, the newest first.")]
    first_at: Instant
    last_at: Instant
    over: bool
    repeat: Annotated[str | None, Meta(description="What asks for the failed hours again, once that is mended.")] = None
    id: Annotated[str, Meta(description="The same whenever it fails: what recosync acknowledge takes.")] = ""
    acknowledge: Annotated[str | None, Meta(description="The command that says that it was dealt with.")] = None
    acknowledged: Acknowledgement | None = None


class Failures(Struct, frozen=True):
    """Permanent failures of the last 14 days, the newest first; `total` counts those that are left out, too.

    `causes` group the newest 1,000 of them: first those that wait for a human, then those that were acknowledged, last
    those that are over.
    """

    total: int
    newest: tuple[Failure, ...]
    causes: tuple[Cause, ...] = ()

    @property
    def current(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if not cause.over and cause.acknowledged is None)

    @property
    def acknowledged(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if not cause.over and cause.acknowledged is not None)

    @property
    def past(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if cause.over)


class Failing(Struct, frozen=True):
    """What the last answer of a function told as failed of a table, view or log, and nothing has made good since.
    Housekeeping and reconciliation, which follow a call, count as functions when they fail as a whole.

    `attention` says whether a human has to look. While another worker is at the work, that is normal for an hour. What
    was acknowledged asks for nobody until it is told again.
    """

    function: str
    name: Annotated[str | None, Meta(description="null where the failure is about no table, view or log.")]
    message: Message
    retryable: bool
    first_at: Instant
    last_at: Instant
    times: Annotated[int, Meta(description="How often it was told since `first_at`.")]
    attention: bool
    id: Annotated[str, Meta(description="What recosync acknowledge takes.")] = ""
    acknowledge: Annotated[str | None, Meta(description="The command that says that it was dealt with.")] = None
    acknowledged: Acknowledgement | None = None


class HourState(StrEnum):
    """What became of an hour."""

    DONE = "done"
    LATE = "late rows"
    ACCEPTED = "accepted"
    EMPTY = "empty"
    DELETED = "deleted"
    IN_PROGRESS = "in progress"
    DUE = "due"
    GAP = "gap"
    FAILED = "failed"
    DAMAGED = "damaged"
    NOT_OWNED = "not owned"
    TO_COME = "to come"


class Accepted(Struct, frozen=True):
    """Who called what BigQuery held of an hour the truth, when and why."""

    at: Instant
    by: Message
    reason: Message


class HourStatus(Struct, frozen=True):
    """One hour of a log. `rows` are verified in BigQuery, or accepted; `late_rows` of them came in later batches."""

    hour: Annotated[str, Meta(description="YYYYMMDDTHH, UTC.")]
    state: HourState
    rows: int = 0
    late_rows: int = 0
    batches: int = 0
    verified_at: Instant | None = None
    deleted_rows: Annotated[int, Meta(description="Rows that were deleted from the source.")] = 0
    kept_rows: Annotated[int, Meta(description="Rows that changed after their export, so they stayed.")] = 0
    failure: Message | None = None
    accepted: Accepted | None = None

    @property
    def settled_at(self) -> datetime | None:
        """When it was last verified or accepted."""
        instants = (self.verified_at, self.accepted.at if self.accepted else None)
        return max((at for at in instants if at is not None), default=None)


class Difference(Struct, frozen=True):
    """An hour of which the source, or BigQuery, held other rows than expected when it was counted."""

    hour: str
    expected: int
    found: int


class AuditStatus(Struct, frozen=True):
    """The last daily count of the source and of BigQuery, without hours that were restored or accepted since. A null
    count means that there are too many to count. `restore` is the command for hours that BigQuery has lost rows of,
    `export` the one for hours of which the source holds rows that came too late for any call.
    """

    at: Instant
    differences: tuple[Difference, ...]
    earlier_rows: int | None
    rows_without_time: int | None
    later_rows: int | None
    lost: Annotated[
        tuple[Difference, ...], Meta(description="Hours of which BigQuery no longer holds what was verified.")
    ] = ()
    restore: str | None = None
    export: str | None = None


class DayStatus(Struct, frozen=True):
    """The 24 hours of a day, UTC. `damaged` says what is wrong with its manifest, if it could not be read."""

    date: dt.date
    hours: tuple[HourStatus, ...]
    damaged: Message | None = None

    @property
    def rows(self) -> int:
        return sum(hour.rows for hour in self.hours)

    def count(self, *states: HourState) -> int:
        return sum(hour.state in states for hour in self.hours)


class Undeleted(Struct, frozen=True):
    """Hours whose rows were asked to leave PostgreSQL hours ago, and have not, with the command that has them go."""

    hours: tuple[str, ...]
    delete: str


class LogStatus(Struct, frozen=True):
    """One log of the catalog: the last 30 days, newest first. No days mean that the log could not be read.

    `causes` group the failures of its hours.
    """

    name: str
    start: Annotated[str | None, Meta(description="The first hour that is exported by itself, YYYYMMDDTHH.")]
    days: tuple[DayStatus, ...]
    audit: AuditStatus | None
    causes: tuple[Cause, ...] = ()
    undeleted: Undeleted | None = None

    @property
    def hours(self) -> tuple[HourStatus, ...]:
        return tuple(hour for day in self.days for hour in day.hours)

    def count(self, state: HourState) -> int:
        return sum(hour.state is state for hour in self.hours)

    @property
    def accepted(self) -> list[tuple[Accepted, list[str]]]:
        """What was accepted by whom and why, the newest of each, with its hours in order."""
        told: dict[tuple[str, str], tuple[Accepted, list[str]]] = {}
        for hour in sorted(self.hours, key=lambda hour: hour.hour):
            if it := hour.accepted:
                _, hours = told.get((it.by, it.reason), (it, []))
                told[it.by, it.reason] = it, [*hours, hour.hour]
        return list(told.values())


class Orphan(Struct, frozen=True):
    """A table or view that left the catalog. Readers keep it until somebody drops it."""

    kind: Literal["table", "view"]
    name: str
    drop: Annotated[str, Meta(description="The command that drops it.")]


class Report(Struct, frozen=True):
    """The status of one deployment. All times are UTC. `tables`, `views`, `failing`, `failures` and `orphans` are
    null, and a log is missing, when `problems` says that they could not be read. No text is longer than 4,000
    characters.
    """

    made_at: Instant
    environment: str
    summary: Annotated[str, Meta(description="One line of plain English.")]
    attention: Annotated[bool, Meta(description="Whether anything here waits for a human.")]
    problems: tuple[Problem, ...]
    tables: tuple[TableStatus, ...] | None
    views: tuple[ViewStatus, ...] | None
    failures: Failures | None
    logs: tuple[LogStatus, ...]
    failing: Annotated[
        tuple[Failing, ...] | None, Meta(description="What was told in the last 26 hours, the last first.")
    ] = ()
    orphans: Annotated[
        tuple[Orphan, ...] | None, Meta(description="What left the catalog and was not dropped, views first.")
    ] = ()
    version: Literal[1] = 1

    @property
    def complete(self) -> bool:
        """Whether all of it could be read."""
        return not self.problems

    def told(self, summary: str, attention: bool) -> Report:
        return msgspec.structs.replace(self, summary=summary, attention=attention)

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(_clipped(msgspec.to_builtins(self))), indent=1) + b"\n"


def _clipped(value: object) -> object:
    """The same with every text cut to LONGEST."""
    match value:
        case str():
            return clip(value, LONGEST)
        case dict():
            return {key: _clipped(of) for key, of in value.items()}
        case list() | tuple():
            return [_clipped(of) for of in value]
        case _:
            return value
