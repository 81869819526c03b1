"""The objects of batches in Cloud Storage: parts and the keys beside them, as they stand there now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from shared.errors import DataError, RetryableError
from shared.gcp.storage import StoredObject
from shared.hourly.manifest import Content, Part, StoredFile
from shared.hourly.names import BatchFile, LogFolder
from shared.names import Hour, ObjectVersion
from shared.services import HourlyServices

#: An object as a listing has it, and what its name says.
type Listed = tuple[BatchFile, StoredObject]


@dataclass(frozen=True)
class BatchObjects:
    """The objects of one log's batches."""

    services: HourlyServices
    folder: LogFolder

    @property
    def bucket(self) -> str:
        return self.services.settings.bucket

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    def place(self, hour: Hour) -> str:
        """Where those of an hour are, for people."""
        return self.uri(self.folder.hour(hour))

    def of_hour(self, hour: Hour) -> Iterator[Listed]:
        """The live objects of an hour, by name."""
        return self._listed(self.folder.hour(hour))

    def of_day(self, day: date) -> Iterator[Listed]:
        """The live objects of a day's hours, by name."""
        return self._listed(self.folder.day(day))

    def written(self, file: BatchFile) -> StoredFile:
        """An object that was written just now."""
        found = self.services.storage.find(self.bucket, str(file))
        if found is None:
            raise RetryableError("is gone right after it was written", where=str(file))
        return StoredFile.of(found)

    def complete(self, parts: Iterable[Part]) -> bool:
        """Whether all are still the objects that were written: a load can't ask for a generation by itself."""
        files = (file for part in parts for file in (part.data, part.keys))
        found = ((file, self.services.storage.find(self.bucket, file.name)) for file in files)
        return all(stored is not None and stored.version.generation == file.generation for file, stored in found)

    def standing(self, file: StoredFile) -> StoredFile | None:
        """The live object with the content that was written; None when it is gone, or is another.

        One that was deleted and restored has another generation, and the same content.
        """
        stored = self.services.storage.find(self.bucket, file.name)
        same = stored is not None and (stored.bytes, stored.crc32c) == (file.bytes, file.crc32c)
        return StoredFile.of(stored) if stored is not None and same else None

    def keys(self, files: Iterable[StoredFile]) -> list[ObjectVersion]:
        """The live objects with keys. Raises DataError for one that is gone, or is another."""
        found = []
        for file in files:
            stands = self.standing(file)
            if stands is None:
                raise DataError(
                    "is not what was written" if self.services.storage.find(self.bucket, file.name) else "is gone",
                    where=self.uri(file.name),
                    remedy="Restore it, then ask for its hour by date and hour (soft delete keeps it for 7 days)."
                    " Later, recosync accept records what BigQuery holds of the hour",
                )
            found.append(stands.version(self.bucket))
        return found

    def content(self, parts: Iterable[Part]) -> Content:
        """What the keys beside the parts say, read back."""
        aggregates = ['count("key")', 'sum("key")', 'bit_xor("key")']
        keys = self.keys(part.keys for part in parts)
        return Content.of(*self.services.parquet.aggregates(keys, aggregates))

    def remove(self, hour: Hour, attempts: Collection[str]) -> None:
        """Delete the objects of attempts that no manifest names, nor ever will."""
        if attempts:
            for file, stored in self.of_hour(hour):
                if file.batch.attempt in attempts:
                    self.services.storage.delete(stored.version)

    def _listed(self, prefix: str) -> Iterator[Listed]:
        for stored in self.services.storage.objects(self.bucket, prefix):
            file = BatchFile.parse(stored.version.name, self.folder)
            if file is not None:
                yield file, stored
