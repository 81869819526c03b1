"""Hour manifests in Cloud Storage, each changed only by compare-and-swap on its generation.

Runs may overlap: a worker that froze wakes up beside its successor. Whoever swaps first has the hour. The other worker
finds a record that is not the one that it worked from, and leaves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from shared import log
from shared.errors import BusyError, RetryableError
from shared.gcp.storage import MAX_DOCUMENT_BYTES, Storage
from shared.hourly import manifest
from shared.hourly.manifest import Audit, DamagedError, DayManifest, HourRecord
from shared.hourly.names import LogFolder
from shared.names import Hour, ObjectVersion

#: Tries at a swap. An object takes one change a second for long, more in bursts
#: (https://cloud.google.com/storage/quotas#objects), so the pauses grow to two seconds.
TRIES = 12

#: Custom metadata of a manifest, so that one listing tells which days need a look.
_SETTLED = "settled"


@dataclass(frozen=True)
class _Read:
    generation: int
    manifest: DayManifest


class Store:
    """The manifests of one log. The store keeps what it has read: a swap that fails reads again. There is one listing
    of a store: it grows with the log's age, and whoever swaps what it tells of knows it.
    """

    def __init__(self, storage: Storage, bucket: str, folder: LogFolder) -> None:
        self._storage, self._bucket, self.folder = storage, bucket, folder
        self._days: dict[date, _Read] = {}
        self._listed: dict[date, bool] | None = None

    def listing(self) -> Mapping[date, bool]:
        """Every day that has a manifest, oldest first, and whether the day is settled. If somebody else wrote a
        manifest, or edited its metadata, nobody can say so before the manifest is read.
        """
        if self._listed is None:
            self._listed = {
                day: stored.metadata.get(_SETTLED) == "true" and not stored.edited
                for stored in self._storage.objects(self._bucket, self.folder.manifests)
                if (day := self.folder.day_of(stored.version.name)) is not None
            }
        return dict(sorted(self._listed.items()))

    def read(self, day: date) -> DayManifest | None:
        """The day's manifest; None when there is none. Raises DamagedError."""
        if day not in self._days:
            name = self.folder.manifest(day)
            for _ in range(TRIES):
                stored = self._storage.find(self._bucket, name)
                if stored is None:
                    return None
                if stored.bytes > MAX_DOCUMENT_BYTES:
                    raise DamagedError(f"has {stored.bytes} bytes; it has at most {MAX_DOCUMENT_BYTES}", where=name)
                content = self._storage.read(stored.version)
                if content is None:
                    continue  # replaced in between
                parsed = manifest.parse(content, self.folder.table, day, f"gs://{self._bucket}/{name}")
                self._days[day] = _Read(stored.version.generation, parsed)
                if self._listed is not None:
                    self._listed[day] = parsed.settled
                break
            else:
                raise RetryableError("is replaced faster than it is read", where=name)
        return self._days[day].manifest

    def create(self, new: DayManifest, day: date, replaces: int) -> None:
        """Write a day's manifest where there is none (generation 0), or over a damaged one. Raises BusyError when
        somebody else did.
        """
        if not self._swap(day, replaces, new):
            self._days.pop(day, None)
            raise BusyError("another run made it", where=self.folder.manifest(day))

    def set_aside(self, day: date) -> int:
        """Copy a damaged manifest out of the way; its generation, 0 if it is gone."""
        stored = self._storage.find(self._bucket, self.folder.manifest(day))
        if stored is None:
            return 0
        self._storage.copy(stored.version, self.folder.damaged(day, stored.version.generation))
        return stored.version.generation

    def advance(self, hour: Hour, before: HourRecord | None, after: HourRecord) -> HourRecord:
        """Swap an hour's record for the one that a step made of it.

        Raises BusyError when the hour is not as the step found it: another run has it. The other hours of the day may
        change meanwhile.
        """

        def change(day: DayManifest) -> DayManifest | None:
            if day.record(hour) == after:
                return None  # our own swap got through, only the answer was lost
            if day.record(hour) != before:
                raise BusyError("another run has taken this hour over", where=str(hour))
            return day.with_record(hour, after)

        self._change(hour.day, change)
        if before is None or not after.stands_as(before):
            log.info(f"hour is {after.state}", hour=str(hour), state=str(after.state))
        return after

    def audited(self, day: date, audit: Audit) -> None:
        """Note the day's audit, unless another run has."""
        self._change(day, lambda found: found.with_audit(audit) if found.audit is None else None)

    def _change(self, day: date, change: Callable[[DayManifest], DayManifest | None]) -> None:
        pause = 0.02
        for _ in range(TRIES):
            found = self.read(day)
            if found is None:
                raise RetryableError("the manifest is gone", where=self.folder.manifest(day))
            after = change(found)
            if after is None or self._swap(day, self._days[day].generation, after):
                return
            del self._days[day]
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - nobody gains by guessing it
            pause = min(pause * 2, 2.0)
        raise RetryableError("others change it all the time", where=self.folder.manifest(day))

    def _swap(self, day: date, generation: int, new: DayManifest) -> bool:
        version = ObjectVersion(self._bucket, self.folder.manifest(day), generation)
        metadata = {_SETTLED: "true" if new.settled else "false"}
        written = self._storage.replace(version, new.to_json(), "application/json", metadata)
        if written is not None:
            self._days[day] = _Read(written, new)
            if self._listed is not None:
                self._listed[day] = new.settled
        return written is not None
