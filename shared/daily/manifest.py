"""The snapshot manifest, version 1: the object written last, that says which parts count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from shared.catalog import could_be_of_another
from shared.daily.names import PartName, SnapshotFolder, parse_object_name
from shared.documents import MAX_INT64, Count, Digits, Instant, MalformedError, Reader, Text
from shared.errors import CatalogError, DataError
from shared.names import EPOCH, ObjectVersion, SnapshotId, is_identifier
from shared.rows.profile import Profile, ProfileDocument
from shared.words import quantity

VERSION = 1

#: What to do about what was written for another catalog than this deployment's.
OTHER_CATALOG = "Deploy the functions with the catalog that it was written for, or write it again for this one"


@dataclass(frozen=True)
class ManifestPart:
    """A part as the manifest lists it; `name` is the whole object name, `crc32c` base64."""

    name: str
    generation: int
    rows: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class Origin:
    """What our own export states besides: when it began and ended, when the source was last changed before that (None
    where nobody knows), and what BigQuery counted. `types` are the PostgreSQL types of the columns in the catalog that
    it exported for; None in a manifest from before exports stated them.
    """

    started: datetime
    exported: datetime
    source_modified: datetime | None
    profile: Profile
    types: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Manifest:
    """`source_rows` is the source's own count; None where the footers are the receipt. Columns are (name, source
    type). `origin` is None where another uploader wrote it.
    """

    table: str
    snapshot: SnapshotId
    source_rows: int | None
    columns: tuple[tuple[str, str], ...]
    parts: tuple[ManifestPart, ...]
    origin: Origin | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def versions(self, bucket: str) -> list[tuple[ObjectVersion, int]]:
        """Each part's identity with its rows."""
        return [(ObjectVersion(bucket, part.name, part.generation), part.rows) for part in self.parts]

    def to_json(self) -> bytes:
        document: dict[str, object] = {
            "version": VERSION,
            "table": self.table,
            "snapshot_id": str(self.snapshot),
            "source_rows": self.source_rows,
            "columns": [{"name": name, "type": type_} for name, type_ in self.columns],
            "parts": [
                {
                    "name": p.name,
                    "generation": p.generation,
                    "rows": p.rows,
                    "bytes": p.bytes,
                    "crc32c": p.crc32c,
                }
                for p in self.parts
            ],
        }
        if self.origin is not None:
            document["origin"] = _origin_document(self.origin)
        return json.dumps(document, indent=1).encode()


def parse(content: bytes, folder: SnapshotFolder, columns: Sequence[str]) -> Manifest:
    """The manifest that belongs into `folder` and names the catalog's `columns`.

    Raises DataError that says what is wrong with the manifest: any uploader may write one. Raises CatalogError when the
    manifest was written for another version of the catalog, or of this code. Only our own export states an `origin`,
    and it names the columns of its own catalog and no others.
    """
    try:
        _refuse_later(content, folder)
        manifest = _READER.read(content).manifest(folder)
    except MalformedError as e:
        raise _wrong(folder, f"is not a manifest of version {VERSION}: {e}") from None
    if (manifest.table, manifest.snapshot) != (folder.table, folder.snapshot):
        raise _wrong(folder, "names another table or snapshot than its folder")
    names = [name for name, _ in manifest.columns]
    if names != list(columns):
        named = ", ".join(name if is_identifier(name) else "…" for name in names)
        what = f"has the columns {named}, the catalog says {', '.join(columns)}"
        if manifest.origin is not None or could_be_of_another(names, columns):
            raise CatalogError(what, where=folder.manifest, remedy=OTHER_CATALOG)
        raise _wrong(folder, what)
    if manifest.rows > MAX_INT64:
        raise _wrong(folder, f"counts more than {MAX_INT64} rows in its parts")
    if len({part.name for part in manifest.parts}) != len(manifest.parts):
        raise _wrong(folder, "names a part twice")
    if manifest.source_rows is not None and manifest.source_rows != manifest.rows:
        raise _wrong(
            folder, f"counts {quantity(manifest.rows, 'row')} in its parts but {manifest.source_rows:,} in the source"
        )
    return manifest


def _refuse_later(content: bytes, folder: SnapshotFolder) -> None:
    """Raise CatalogError of a manifest that a later version of this code wrote."""
    version = _VERSION_READER.read(content).version
    if version > VERSION:
        raise CatalogError(
            f"is a manifest of version {version}, and this code knows {VERSION}",
            where=folder.manifest,
            remedy="Deploy the functions that are as new as what wrote it",
        )


class _Version(Struct, frozen=True):
    version: Annotated[int, Meta(ge=VERSION, le=999)]


class _Part(Struct, frozen=True):
    name: Text
    generation: Count | Digits
    rows: Count | Digits
    bytes: Count | Digits
    crc32c: Text


class _Column(Struct, frozen=True):
    name: Text
    type: Text


class _Origin(Struct, frozen=True):
    started: Instant
    exported: Instant
    source_modified: Instant | None
    profile: ProfileDocument
    types: dict[Text, Text] | None = None

    def __post_init__(self) -> None:
        instants = (self.started, self.exported, self.source_modified or self.exported)
        if any(not EPOCH.year <= at.year < MAXYEAR for at in instants):
            raise ValueError("has a time of before 1970 or after 9998")

    def origin(self) -> Origin:
        return Origin(
            self.started.astimezone(UTC),
            self.exported.astimezone(UTC),
            self.source_modified.astimezone(UTC) if self.source_modified else None,
            self.profile.profile(),
            self.types,
        )


class _Document(_Version, frozen=True):
    """A manifest as its JSON is."""

    table: Text
    snapshot_id: Text
    source_rows: Count | Digits | None
    columns: list[_Column]
    parts: list[_Part]
    origin: _Origin | None = None

    def manifest(self, folder: SnapshotFolder) -> Manifest:
        """Raises MalformedError for what is no part or snapshot by its name."""
        for index, part in enumerate(self.parts):
            parsed = parse_object_name(part.name, folder.prefix)
            if not isinstance(parsed, PartName) or parsed.folder != folder:
                raise MalformedError(f"parts[{index}].name is no part of this snapshot")
        try:
            snapshot = SnapshotId.parse(self.snapshot_id)
        except ValueError:
            raise MalformedError("snapshot_id is not written YYYYMMDDTHHMMSSZ") from None
        return Manifest(
            self.table,
            snapshot,
            None if self.source_rows is None else int(self.source_rows),
            tuple((column.name, column.type) for column in self.columns),
            tuple(
                ManifestPart(part.name, int(part.generation), int(part.rows), int(part.bytes), part.crc32c)
                for part in self.parts
            ),
            self.origin.origin() if self.origin else None,
        )


def _origin_document(origin: Origin) -> dict[str, object]:
    return {
        "started": origin.started.isoformat(),
        "exported": origin.exported.isoformat(),
        "source_modified": origin.source_modified.isoformat() if origin.source_modified else None,
        "profile": origin.profile.to_json(),
        **({} if origin.types is None else {"types": dict(origin.types)}),
    }


def _wrong(folder: SnapshotFolder, what: str) -> DataError:
    return DataError(what, where=folder.manifest, remedy="Write the parts, then a correct manifest, as a new snapshot")


_VERSION_READER, _READER = Reader(_Version), Reader(_Document)
