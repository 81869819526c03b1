"""Restore: load an hour into BigQuery again, from its objects, once.

All that the hour has is loaded by one job, which is all or nothing. BigQuery's rows are counted before: an hour that is
there stays, and one that is there in part is replaced only where that was asked for.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from msgspec import UNSET

from shared.errors import BadRequestError, DataError
from shared.hourly import hours, salvage
from shared.hourly.context import LogRun
from shared.hourly.manifest import NOTHING, Content, Deletion, Export, Exporting, HourRecord, Loaded, Restoring
from shared.hourly.rebuild import open_day
from shared.hourly.remedies import Remedies
from shared.names import Hour
from shared.rows.log_table import Range
from shared.words import quantity

type Status = Literal["restored", "exported anew", "stands already", "nothing to restore"]

#: The job of a batch that BigQuery was found to hold.
_NO_JOB = "none"

#: Keys that PostgreSQL is asked for at once.
_KEYS = 10_000


@dataclass(frozen=True)
class Restored:
    """What became of an hour. `before` is how many rows of it BigQuery held."""

    status: Status
    record: HourRecord | None
    before: int


@dataclass(frozen=True)
class Restore:
    """One hour that an operator wants back in BigQuery, in a run over its log.

    `replace` lets rows go that are only a part of the hour.
    """

    run: LogRun
    hour: Hour
    by: str
    replace: bool = False

    def go(self) -> Restored:
        """Bring BigQuery to all that was exported of the hour.

        If objects are gone, the hour is exported anew, provided that PostgreSQL still has all of it. Raises
        BadRequestError or DataError, and leaves everything as it was, where that would lose or double a row, or where
        nothing has the rows any more. What fails after that is noted in the hour's record.
        """
        run, hour = self.run, self.hour
        record, held = open_day(run, hour.day).record(hour), run.raw_table.of_hour(hour)
        if record is not None and record.work is not None and record.failure is None:
            # A run that was killed, a restore among them: nobody else is at the log now.
            anew = isinstance(record.work, Exporting)
            return Restored("exported anew" if anew else "restored", self._through(record), held.rows)
        if record is not None and record.acceptance and not self.replace:
            self._refuse_unlike_accepted(record, held)
            return Restored("stands already", record, held.rows)
        exports = self._exports(record)
        if not exports:
            if record is not None and record.failure is not None:
                raise DataError("no object has rows of it", where=f"hour {hour}", remedy=self._without_objects(held))
            return Restored("nothing to restore", record, held.rows)
        whole = _together(exports)
        if held == whole.content:
            return Restored("stands already", self._verified(record, whole), held.rows)
        found = salvage.standing(run, hour, whole)
        if found is None:
            self._refuse_gone(whole)
        if held.rows:
            self._refuse_partial(held, whole, found)
        dead = () if found or record is None else tuple(sorted(record.attempts))
        work = Restoring(whole.attempt, found, bool(held.rows), datetime.now(UTC), self.by, dead)
        after = run.store.advance(
            hour, record, self._cleared(record).change(work=work, deletion=self._deletion(record))
        )
        return Restored("restored" if found else "exported anew", self._through(after), held.rows)

    def _exports(self, record: HourRecord | None) -> list[Export]:
        """What was exported of the hour, by its record and by the objects of which the record does not tell.

        The objects of an hour that was accepted are looked at as if there were no record.
        """
        if record is None or record.acceptance:
            return salvage.exports(self.run, self.hour, [], ())
        return [*record.exports, *salvage.exports(self.run, self.hour, record.exports, record.attempts)]

    def _verified(self, record: HourRecord | None, whole: Export) -> HourRecord:
        """The record of an hour that is all in BigQuery: as it was, without a failure; or verified anew."""
        run, hour = self.run, self.hour
        if record is not None and record.work is None and not record.acceptance and record.content == whole.content:
            cleared = record.change()
            if record.deletion is not None and self._source() != record.source_content:
                # Rows that were deleted are back, as after a restore of PostgreSQL.
                cleared = cleared.change(deletion=Deletion(record.deletion.asked_at))
            return self._through(record if cleared == record else run.store.advance(hour, record, cleared))
        found = salvage.standing(run, hour, whole)
        if found is None:
            remedy = self._without_objects(whole.content)
            raise DataError("is all in BigQuery, and objects of it are gone", where=f"hour {hour}", remedy=remedy)
        work = Loaded(found, _NO_JOB, datetime.now(UTC))
        after = self._cleared(record).change(work=work, deletion=self._deletion(record))
        return self._through(run.store.advance(hour, record, after))

    def _cleared(self, record: HourRecord | None) -> HourRecord:
        """The record without what the restored batch takes the place of."""
        return (record or HourRecord()).change(batches=(), work=None, deletion=None, accepted=UNSET)

    def _deletion(self, record: HourRecord | None) -> Deletion | None:
        """A deletion goes over all rows once more: those that are gone stay gone.

        Of an hour whose manifest was lost, nobody knows whether there was one. It counts as asked for, if the source
        has nothing of the hour.
        """
        if record is not None and record.deletion is not None:
            return Deletion(record.deletion.asked_at)
        if record is not None and record.batches:
            return None
        return None if self._source().rows else Deletion(datetime.now(UTC))

    def _source(self) -> Content:
        return Content.of(*self.run.log_table.content(Range.of(self.hour)))

    def _through(self, record: HourRecord) -> HourRecord:
        """See the hour through, and the deletion that was asked for."""
        record = hours.finish(self.run, self.hour, record)
        goes = record.failure is None and record.deletion is not None
        return hours.delete_asked(self.run, self.hour, record) if goes else record

    def _refuse_gone(self, whole: Export) -> None:
        """Raise DataError unless PostgreSQL has all of the hour, whose objects are gone."""
        has = self._source()
        if has == whole.content:
            return
        gone = next(part.data.name for part in whole.parts if self.run.objects.standing(part.data) is None)
        raise DataError(
            f"is gone, and PostgreSQL has {has.rows:,} of the hour's {quantity(whole.content.rows, 'row')}",
            where=self.run.objects.uri(gone),
            remedy="Restore the object: gcloud storage restore (soft delete keeps it for 7 days), then:"
            f" {self._remedies.restore}. Later, this records what BigQuery holds: {self._remedies.accept}",
        )

    def _refuse_partial(self, held: Content, whole: Export, found: Export | None) -> None:
        """Raise where BigQuery holds other rows than all of the hour, and these are not to go, or would be lost."""
        holds = f"BigQuery holds {quantity(held.rows, 'row')} of it, {whole.content.rows:,} were exported"
        where = f"hour {self.hour} of {self.run.raw_table.ref}"
        if not self.replace:
            remedy = f"This deletes the rows that are there, and loads all: {self._remedies.restore} --replace"
            raise BadRequestError(holds, where=where, remedy=remedy)
        keys = self.run.raw_table.keys(self.hour)
        lost = salvage.strange(self.run, keys, [found]) if found else self._not_in_source(keys)
        if lost:
            raise DataError(
                f"{holds}; {quantity(len(lost), 'row')} of BigQuery's nobody else has",
                where=where,
                remedy=f"If BigQuery is right: {self._remedies.accept}. Else delete these rows there, then:"
                f" {self._remedies.restore}",
            )

    def _refuse_unlike_accepted(self, record: HourRecord, held: Content) -> None:
        if record.acceptance is not None and held != record.content:
            raise BadRequestError(
                f"was accepted by {record.acceptance.by} with {quantity(record.content.rows, 'row')}, BigQuery holds"
                f" {held.rows:,} now",
                where=f"hour {self.hour}",
                remedy="Bring BigQuery back to the accepted rows by time travel. To load what the objects have instead:"
                f" {self._remedies.restore} --replace",
            )

    def _not_in_source(self, keys: Sequence[int]) -> list[int]:
        some = (keys[n : n + _KEYS] for n in range(0, len(keys), _KEYS))
        present = {key for asked in some for key in self.run.log_table.present(asked)}
        return [key for key in keys if key not in present]

    def _without_objects(self, held: Content) -> str:
        if held.rows:
            return f"If what BigQuery holds of it is right: {self._remedies.accept}"
        return f"To export what PostgreSQL still has of it: {self._remedies.ask}"

    @property
    def _remedies(self) -> Remedies:
        return Remedies(self.run.table.name, self.hour)


def _together(exports: Sequence[Export]) -> Export:
    """All of an hour as one export, under an attempt of its own: no load of before has its name."""
    rounded: Counter[str] | None = Counter()
    for export in exports:
        rounded = None if rounded is None or export.rounded is None else rounded + Counter(export.rounded)
    return Export(
        number=1,
        attempt=secrets.token_hex(4),
        parts=tuple(part for export in exports for part in export.parts),
        content=sum((export.content for export in exports), NOTHING),
        before=NOTHING,
        rounded=None if rounded is None else dict(rounded),
        exported_at=max(export.exported_at for export in exports),
    )
