"""Names of the hourly flow: the objects of an hour, the manifest of a day, and the temporary table of a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Self

from shared.names import EPOCH, BatchId, Hour, format_day, is_identifier, parse_day

_OBJECT = re.compile(
    r"date=(?P<day>\d{8})/hour=(?P<hour>\d\d)/(?P<kind>part|keys)-(?P<number>\d+)-(?P<attempt>[0-9a-f]+)-(?P<index>\d+)\.parquet",
    re.ASCII,
)
_BATCH_TABLE = re.compile(
    r"(?P<table>.+)_(?P<hour>\d{8}T\d\d)_(?P<number>\d{1,9})_(?P<attempt>[0-9a-f]+)_(?P<load>\d{1,9})", re.ASCII
)


class Kind(StrEnum):
    """A part holds rows and is loaded. The keys beside it say which rows these are."""

    PART = "part"
    KEYS = "keys"


@dataclass(frozen=True)
class LogFolder:
    """`{prefix}/{table}`: where the objects of one log live."""

    prefix: str
    table: str

    def __str__(self) -> str:
        return f"{self.prefix}/{self.table}"

    def day(self, day: date) -> str:
        """What the names of a day's parts and keys begin with."""
        return f"{self}/date={format_day(day)}/"

    def hour(self, hour: Hour) -> str:
        """What the names of an hour's parts and keys begin with."""
        return f"{self.day(hour.day)}hour={hour.number:02d}/"

    @property
    def manifests(self) -> str:
        """What the names of manifests begin with."""
        return f"{self}/manifests/"

    def manifest(self, day: date) -> str:
        return f"{self.manifests}{format_day(day)}.json"

    def damaged(self, day: date, generation: int) -> str:
        """Where a manifest that could not be read is kept."""
        return f"{self}/damaged/{format_day(day)}-{generation}.json"

    def day_of(self, manifest: str) -> date | None:
        """The day of a manifest, by its object's name; None when the object is no manifest, or of no day of ours."""
        stem = manifest.removeprefix(self.manifests).removesuffix(".json")
        try:
            day = parse_day(stem)
        except ValueError:
            return None
        return day if self.manifest(day) == manifest and EPOCH <= day < date.max else None


@dataclass(frozen=True)
class BatchFile:
    """`{folder}/date=YYYYMMDD/hour=HH/part-{batch}-{attempt}-{index}.parquet`, or `keys-…`."""

    folder: LogFolder
    kind: Kind
    batch: BatchId
    index: int

    def __str__(self) -> str:
        of = f"{self.batch.number}-{self.batch.attempt}-{self.index}"
        return f"{self.folder.hour(self.batch.hour)}{self.kind}-{of}.parquet"

    @classmethod
    def parse(cls, name: str, folder: LogFolder) -> BatchFile | None:
        """What an object's name means to the hourly flow; None when the object is not ours."""
        match = _OBJECT.fullmatch(name, len(str(folder)) + 1) if name.startswith(f"{folder}/") else None
        if match is None:
            return None
        try:
            hour = Hour.of_day(parse_day(match["day"]), int(match["hour"]))
        except ValueError:
            return None
        batch = BatchId(hour, int(match["number"]), match["attempt"])
        file = cls(folder, Kind(match["kind"]), batch, int(match["index"]))
        return file if str(file) == name else None


def attempt_of(name: str) -> str | None:
    """The attempt that wrote an object of an hour; None when the name is of no such object."""
    match = _OBJECT.search(name)
    return match["attempt"] if match else None


@dataclass(frozen=True)
class BatchTable:
    """The temporary table of one attempt to load a batch: `<log>_<hour>_<number>_<attempt>_<load attempt>`."""

    table: str
    batch: BatchId
    load_attempt: int

    def __str__(self) -> str:
        return f"{self.table}_{self.batch}_{self.load_attempt}".replace("-", "_")

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The inverse of `str`; None of a table that is not ours."""
        match = _BATCH_TABLE.fullmatch(name)
        try:
            batch = match and BatchId(Hour.parse(match["hour"]), int(match["number"]), match["attempt"])
            parsed = match and batch and cls(match["table"], batch, int(match["load"]))
        except ValueError:
            return None
        return parsed if parsed and is_identifier(parsed.table) and str(parsed) == name else None
