"""Names of the daily flow: the objects of a snapshot, and the temporary table that it is extracted from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from shared.names import ADOPTED, SnapshotId, is_identifier

_SNAPSHOT_TABLE = re.compile(r"(?P<table>.+)_(?P<snapshot>\d{8}T\d{6}Z)_(?P<attempt>\d{1,9})", re.ASCII)


_OBJECT = re.compile(
    r"(?P<table>[^/]+)/(?P<snapshot>[^/]+)/(?:(?P<manifest>manifest\.json)|(?P<attempt>[A-Za-z0-9_-]+)/(?P<file>part-[^/]*\.parquet))"
)


@dataclass(frozen=True)
class SnapshotFolder:
    """`{prefix}/{table}/{snapshot_id}`: where the objects of one snapshot live."""

    prefix: str
    table: str
    snapshot: SnapshotId

    def __str__(self) -> str:
        return f"{self.prefix}/{self.table}/{self.snapshot}"

    @property
    def manifest(self) -> str:
        return f"{self}/manifest.json"

    def attempt(self, attempt: int) -> str:
        """The folder of one try at the extract; a later try never meets an earlier one's files."""
        return f"{self}/{attempt}/"

    def part_pattern(self, attempt: int) -> str:
        """The wildcard that BigQuery's extract numbers its files by."""
        return f"{self.attempt(attempt)}part-*.parquet"


@dataclass(frozen=True)
class PartName:
    """The name of a part: `{folder}/{attempt}/part-*.parquet`."""

    folder: SnapshotFolder
    attempt: str
    file: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.attempt}/{self.file}"


@dataclass(frozen=True)
class ManifestName:
    """The name of a snapshot's manifest: `{folder}/manifest.json`."""

    folder: SnapshotFolder

    def __str__(self) -> str:
        return self.folder.manifest


def parse_object_name(name: str, prefix: str) -> PartName | ManifestName | None:
    """What an object's name means to the daily flow; None when the object is not ours."""
    if not name.startswith(f"{prefix}/"):
        return None
    match = _OBJECT.fullmatch(name, len(prefix) + 1)
    if match is None or not is_identifier(match["table"]):
        return None
    try:
        snapshot = SnapshotId.parse(match["snapshot"])
    except ValueError:
        return None
    if snapshot == ADOPTED:
        return None  # it has no objects
    folder = SnapshotFolder(prefix, match["table"], snapshot)
    return ManifestName(folder) if match["manifest"] else PartName(folder, match["attempt"], match["file"])


def snapshots_of(folders: Iterable[str]) -> list[SnapshotId]:
    """The snapshots that folders in Cloud Storage are named by, oldest first; other folders are not ours."""
    found = []
    for folder in folders:
        try:
            found.append(SnapshotId.parse(folder.rstrip("/").rpartition("/")[2]))
        except ValueError:
            continue
    return sorted(snapshot for snapshot in found if snapshot != ADOPTED)


@dataclass(frozen=True)
class SnapshotTable:
    """The temporary table of one attempt at a snapshot: `<table>_<snapshot_id>_<attempt>`."""

    table: str
    snapshot: SnapshotId
    attempt: int

    def __str__(self) -> str:
        return f"{self.table}_{self.snapshot}_{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The inverse of `str`; None of a table that is not ours."""
        match = _SNAPSHOT_TABLE.fullmatch(name)
        try:
            parsed = match and cls(match["table"], SnapshotId.parse(match["snapshot"]), int(match["attempt"]))
        except ValueError:
            return None
        return parsed if parsed and is_identifier(parsed.table) and str(parsed) == name else None
