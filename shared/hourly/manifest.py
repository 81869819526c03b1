"""The hour manifest, version 1: one JSON object per day that says how far each hour has come.

Everything in it is a value: a step makes a new record of its hour, which `store` then swaps in. The checksum covers
every byte that follows it, so that a manifest that somebody edited or cut off is recognised.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from shared.documents import Count, Instant, MalformedError, Number, Reader, Text
from shared.errors import MAX_MESSAGE, ConfigurationError, DataError, shown
from shared.gcp.storage import StoredObject
from shared.hourly.names import attempt_of
from shared.names import EPOCH, BatchId, Hour, ObjectVersion, format_day

#: What an hour can hold, so that no sum of such numbers is longer than JSON's readers take.
Rows = Annotated[int, Meta(ge=0, le=10**15)]

#: The sum of as many keys of 64 bits, as decimal text.
Sum = Annotated[str, Meta(pattern=r"\A(?:0|-?[1-9][0-9]{0,34})\Z")]

#: The token of an attempt at an export: it is part of the names of objects and jobs.
Attempt = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]

HourText = Annotated[str, Meta(pattern=r"\A[0-9]{8}T[0-9]{2}\Z")]
HourNumber = Annotated[str, Meta(pattern=r"\A(?:[01][0-9]|2[0-3])\Z")]


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows, in whatever order: their number, and the sum and the bitwise XOR of their keys.

    Sum and XOR are decimal text: many readers of JSON round numbers beyond 2^53.
    """

    rows: Rows = 0
    key_sum: Sum = "0"
    key_xor: Sum = "0"

    @classmethod
    def of(cls, rows: object, key_sum: object, key_xor: object) -> Content:
        """From the three aggregates, as any of the systems gives them; NULL of no rows is 0."""
        return cls(int(str(rows)), str(int(str(key_sum or 0))), str(int(str(key_xor or 0))))

    def __add__(self, other: Content) -> Content:
        xor = int(self.key_xor) ^ int(other.key_xor)
        return Content(self.rows + other.rows, str(int(self.key_sum) + int(other.key_sum)), str(xor))

    def __sub__(self, other: Content) -> Content:
        xor = int(self.key_xor) ^ int(other.key_xor)
        return Content(self.rows - other.rows, str(int(self.key_sum) - int(other.key_sum)), str(xor))


NOTHING = Content()


class StoredFile(Struct, frozen=True, forbid_unknown_fields=True):
    """An object as Cloud Storage described it when it was written; `crc32c` is base64."""

    name: Text
    generation: Number
    bytes: Count
    crc32c: Text

    @classmethod
    def of(cls, stored: StoredObject) -> StoredFile:
        return cls(stored.version.name, stored.version.generation, stored.bytes, stored.crc32c)

    def version(self, bucket: str) -> ObjectVersion:
        return ObjectVersion(bucket, self.name, self.generation)


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """One Parquet object that is loaded, and the object beside it with the rows' keys, times and versions."""

    rows: Rows
    data: StoredFile
    keys: StoredFile


class Export(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch that stands in Cloud Storage. `content` is PostgreSQL's own account of the batch, `before` what BigQuery
    held of the hour before it.

    `rounded` counts the values of each column whose excess digits were rounded away; None where nobody knows that any
    more. `load_attempt` tells the load job's id: a job that failed has used up its own.
    """

    number: Number
    attempt: Attempt
    parts: Annotated[tuple[Part, ...], Meta(min_length=1)]
    content: Content
    before: Content
    rounded: dict[Text, Rows] | None
    exported_at: Instant
    load_attempt: Number = 1
    superseded: tuple[Attempt, ...] = ()

    @property
    def attempts(self) -> set[str]:
        """The attempts that wrote its objects, and those that they superseded. One that was restored has parts of
        several.
        """
        written = {attempt for part in self.parts if (attempt := attempt_of(part.data.name))}
        return {self.attempt, *self.superseded, *written}


class BatchReceipt(Struct, frozen=True, forbid_unknown_fields=True):
    """What three systems counted of a batch, each by itself. They agree, or the batch is not verified.

    PostgreSQL's count of a batch whose manifest was rebuilt is None: nobody knows it any more.
    """

    postgresql: Content | None
    parquet: Content
    bigquery: Content


class Batch(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch that was found in BigQuery. `job` is the load that brought it there."""

    export: Export
    job: Text
    receipt: BatchReceipt
    loaded_at: Instant
    verified_at: Instant


class Exporting(Struct, frozen=True, forbid_unknown_fields=True, tag="exporting", tag_field="step"):
    """Objects of this attempt may exist; none of them counts yet.

    Objects of the attempts that it has `superseded` will never count: their workers were killed, or find the hour taken
    over.
    """

    number: Number
    attempt: Attempt
    began_at: Instant
    superseded: tuple[Attempt, ...] = ()


class Restoring(Struct, frozen=True, forbid_unknown_fields=True, tag="restoring", tag_field="step"):
    """An operator had the hour loaded into BigQuery again, all of it as one batch: `export`, or what PostgreSQL still
    has where that is None. `empties` says that what BigQuery holds of the hour goes first.

    `superseded` are attempts whose objects are not among those of the export.
    """

    attempt: Attempt
    export: Export | None
    empties: bool
    began_at: Instant
    by: Text
    superseded: tuple[Attempt, ...] = ()


class Exported(Struct, frozen=True, forbid_unknown_fields=True, tag="exported", tag_field="step"):
    """These rows are the batch, for good; a load of them may be running."""

    export: Export


class Loaded(Struct, frozen=True, forbid_unknown_fields=True, tag="loaded", tag_field="step"):
    """The load is done, and not yet verified."""

    export: Export
    job: Text
    loaded_at: Instant


type Work = Exporting | Restoring | Exported | Loaded


class Acceptance(Struct, frozen=True, forbid_unknown_fields=True):
    """What BigQuery held of an hour when an operator called it the truth. `by` and `reason` are the operator's words.

    `source` is what PostgreSQL held then, with its `keys`: no run exports these rows. `attempts` are those whose
    objects stood before, and count for nothing since.
    """

    at: Instant
    by: Text
    reason: Text
    content: Content
    source: Content
    keys: tuple[StoredFile, ...]
    attempts: tuple[Attempt, ...]


class Deletion(Struct, frozen=True, forbid_unknown_fields=True):
    """A deletion that was asked for. `batches` of the hour's batches have left the source, with `rows` rows.

    `kept` are rows that were changed after their export, and stay.
    """

    asked_at: Instant
    batches: Count = 0
    rows: Rows = 0
    kept: Content = NOTHING


class Failure(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the hour can't go on until somebody has mended the cause."""

    at: Instant
    error: str

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "error", shown(self.error, MAX_MESSAGE))


class Owed(Struct, frozen=True, forbid_unknown_fields=True):
    """A message that is owed: this batch of the hour was verified; or, of batch 0, the hour was found without rows."""

    batch: Count
    at: Instant


class State(StrEnum):
    """An hour's state, for readers: it follows from the rest of the record."""

    EXPORTING = "exporting"
    RESTORING = "restoring"
    EXPORTED = "exported"
    LOADED = "loaded"
    FAILED = "failed"
    EMPTY = "empty"
    DONE = "done"
    DELETING = "deleting"
    DELETED = "deleted"


class HourRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """How far an hour has come: verified batches, at most one under way, and what went wrong for good.

    If it was `accepted`, the batches are those that came late after that. `owed` are the messages of it that are to be
    sent. `emptied` says that it was done, without rows, before its first batch came. A record of which there is nothing
    of the kind to say does not have the field: code from before there was such a thing reads it.
    """

    batches: tuple[Batch, ...] = ()
    work: Work | None = None
    deletion: Deletion | None = None
    failure: Failure | None = None
    state: State | None = None
    accepted: Acceptance | UnsetType = UNSET
    owed: tuple[Owed, ...] | UnsetType = UNSET
    emptied: Literal[True] | UnsetType = UNSET

    def __post_init__(self) -> None:
        state = self._state()
        if self.state not in (None, state):
            raise ValueError(f"the state should be {state}")
        msgspec.structs.force_setattr(self, "state", state)

    def _state(self) -> State:
        if self.failure is not None:
            return State.FAILED
        if self.work is not None:
            return State(str(self.work.__struct_config__.tag))
        if not self.batches and self.acceptance is None:
            return State.EMPTY
        if self.deletion is None:
            return State.DONE
        return State.DELETING if self.undeleted else State.DELETED

    @property
    def undeleted(self) -> bool:
        """Whether verified rows are asked to leave the source, and have not."""
        return self.deletion is not None and self.deletion.batches != len(self.batches)

    @property
    def acceptance(self) -> Acceptance | None:
        return None if self.accepted is UNSET else self.accepted

    @property
    def owes(self) -> tuple[Owed, ...]:
        """The messages of it that are to be sent."""
        return () if self.owed is UNSET else self.owed

    @property
    def was_empty(self) -> bool:
        """Whether it was done without rows before its first batch came."""
        return self.emptied is not UNSET

    def owing(self, batch: int, at: dt.datetime) -> HourRecord:
        """The same record, with one more message that is owed."""
        return msgspec.structs.replace(self, owed=(*self.owes, Owed(batch, at)))

    def stands_as(self, other: HourRecord) -> bool:
        """Whether nothing differs but the messages that are owed."""
        return msgspec.structs.replace(self, owed=UNSET) == msgspec.structs.replace(other, owed=UNSET)

    def told(self) -> HourRecord:
        """The same record, once its messages are sent."""
        return msgspec.structs.replace(self, owed=UNSET)

    @property
    def settled(self) -> bool:
        """Whether no run needs to come back to it: it is done, or only a human can help."""
        return self.state in (State.FAILED, State.EMPTY, State.DONE, State.DELETED)

    @property
    def content(self) -> Content:
        """All rows that are verified, or accepted."""
        return sum(self._late, self.acceptance.content if self.acceptance else NOTHING)

    @property
    def parts(self) -> list[Part]:
        """All objects that are verified."""
        return [part for batch in self.batches for part in batch.export.parts]

    @property
    def keys(self) -> list[StoredFile]:
        """The objects with the keys of all rows of the source that no run exports again."""
        return [*(part.keys for part in self.parts), *(self.acceptance.keys if self.acceptance else ())]

    @property
    def exports(self) -> list[Export]:
        """What stands in Cloud Storage as the hour's, whether it is verified yet or not."""
        work = self.work.export if isinstance(self.work, Restoring | Exported | Loaded) else None
        return [batch.export for batch in self.batches] + ([work] if work else [])

    @property
    def attempts(self) -> set[str]:
        """The attempts at an export that it knows of, dead ones among them."""
        known = {attempt for export in self.exports for attempt in export.attempts}
        if isinstance(self.work, Exporting | Restoring):
            known.update((self.work.attempt, *self.work.superseded))
        return known.union(self.acceptance.attempts if self.acceptance else ())

    @property
    def source_content(self) -> Content | None:
        """What PostgreSQL should hold of them now; None while a deletion is under way."""
        if self.deletion is None:
            return sum(self._late, self.acceptance.source if self.acceptance else NOTHING)
        return self.deletion.kept if self.deletion.batches == len(self.batches) else None

    @property
    def _late(self) -> Iterable[Content]:
        return (batch.export.content for batch in self.batches)

    def change(self, **fields: object) -> HourRecord:
        """A record that differs in these fields. A record that moves on loses its failure."""
        return msgspec.structs.replace(self, **{"state": None, "failure": None, **fields})


class Difference(Struct, frozen=True, forbid_unknown_fields=True):
    """An hour whose rows are not as many as its manifest says, or are others."""

    hour: HourText
    expected: Rows
    found: Rows


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """The day's count of the source, hour by hour, and of rows that no run exports by itself: those of hours before the
    first owned, those of hours to come, and those without a time. None is too many to count.

    `in_bigquery` are hours of which BigQuery no longer holds what was verified. Without any, the field is left out:
    code from before there was such a count reads it.
    """

    at: Instant
    differences: tuple[Difference, ...]
    earlier_rows: Rows | None = None
    rows_without_time: Rows | None = None
    later_rows: Rows | None = 0
    in_bigquery: tuple[Difference, ...] | UnsetType = UNSET

    @property
    def lost(self) -> tuple[Difference, ...]:
        """The hours of which BigQuery no longer holds what was verified."""
        return () if self.in_bigquery is UNSET else self.in_bigquery


class DayManifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The hours of one day. `start` is the first hour that the hourly flow owns, in every manifest the same."""

    table: Text
    date: str
    start: HourText
    hours: dict[HourNumber, HourRecord] = {}
    audit: Audit | None = None
    version: Literal[1] = 1

    @classmethod
    def new(cls, table: str, day: dt.date, start: Hour) -> DayManifest:
        return cls(table, format_day(day), str(start))

    def record(self, hour: Hour) -> HourRecord | None:
        """The hour's record, None when nobody has begun it."""
        return self.hours.get(f"{hour.number:02d}")

    def with_record(self, hour: Hour, record: HourRecord) -> DayManifest:
        hours = {**self.hours, f"{hour.number:02d}": record}
        return msgspec.structs.replace(self, hours=dict(sorted(hours.items())))

    def with_audit(self, audit: Audit) -> DayManifest:
        return msgspec.structs.replace(self, audit=audit)

    @property
    def settled(self) -> bool:
        """Whether no run needs to come back to any hour of the day, be it for a message that is owed."""
        start = Hour.parse(self.start)
        owned = range(start.number if format_day(start.day) == self.date else 0, 24)
        return all(record.settled and not record.owes for record in self.hours.values()) and all(
            f"{number:02d}" in self.hours for number in owned
        )

    def to_json(self) -> bytes:
        body = msgspec.json.format(msgspec.json.encode(self), indent=1).removeprefix(b"{\n")
        return _SEAL % _checksum(body) + body


class DamagedError(DataError):
    """A manifest that is cut off, edited by hand, or no manifest at all. It is rebuilt where that needs no guess."""


class OtherVersionError(ConfigurationError):
    """A manifest that another version of this code wrote."""


def parse(content: bytes, table: str, day: dt.date, where: str) -> DayManifest:
    """The manifest of a table's day.

    Raises DamagedError that says what is wrong with it, OtherVersionError when another version of this code wrote it.
    """
    sealed = _SEALED.match(content)
    body = content[sealed.end() :] if sealed else b""
    if sealed is None or sealed[1] != _checksum(body):
        raise DamagedError("was cut off or edited by hand: its checksum is not that of what follows it", where=where)
    try:
        manifest = _READER.read(b"{" + body)
        _check(manifest)
    except MalformedError as e:
        # It is as its writer wanted it: rebuilding it would throw away what that one knew.
        raise OtherVersionError(
            f"was written by another version of this system: {e}", where=where, remedy="Deploy that version, or a newer"
        ) from None
    if (manifest.table, manifest.date) != (table, format_day(day)):
        raise DamagedError("is another table's or day's", where=where)
    return manifest


def _check(manifest: DayManifest) -> None:
    """Raise MalformedError for what no type says: a start that is none, or more batches deleted than there are."""
    try:
        start = Hour.parse(manifest.start)
    except ValueError:
        raise MalformedError("start is no hour written YYYYMMDDTHH") from None
    if start.day < EPOCH:
        raise MalformedError("start is before 1970")
    for number, record in manifest.hours.items():
        if record.deletion is not None and record.deletion.batches > len(record.batches):
            raise MalformedError(f"hours.{number}.deletion.batches is more than there are")


def batch_id(hour: Hour, of: Export | Exporting) -> BatchId:
    return BatchId(hour, of.number, of.attempt)


_READER = Reader(DayManifest)

#: How a manifest begins; the checksum is that of every byte after.
_SEAL = b'{\n "checksum": "sha256:%s",\n'
_SEALED = re.compile(re.escape(_SEAL).replace(b"%s", b"([0-9a-f]{64})"))


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
