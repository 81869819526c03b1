"""The snapshot manifest, version 1: the object written last, that says which parts count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from shared.catalog import could_be_of_another
from shared.db.profile import Profile
from shared.errors import CatalogError, DataError
from shared.names import ObjectVersion, PartName, SnapshotFolder, SnapshotId, parse_object_name

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
    """What our own export knows besides: when it began and ended, when the source was last changed before that (None
    where nobody knows), and what BigQuery counted. `types` are the PostgreSQL types of the columns in the catalog that
    it was exported for; None in a manifest of before that was noted.
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

    Raises DataError that says what is wrong with it: any uploader may write one. Raises CatalogError when it was
    written for another version of the catalog, or of this code: our own export, which alone knows the `origin`, names
    the columns of its catalog and no others.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise _wrong(folder, "is not JSON") from None
    try:
        _refuse_later(document, folder)
        manifest = _parse(cast(dict[str, object], document), folder)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise _wrong(folder, f"is not a manifest of version {VERSION}: {type(e).__name__} at {e}") from None
    if (manifest.table, manifest.snapshot) != (folder.table, folder.snapshot):
        raise _wrong(folder, "names another table or snapshot than its folder")
    names = [name for name, _ in manifest.columns]
    if names != list(columns):
        what = f"has the columns {', '.join(names)}, the catalog says {', '.join(columns)}"
        if manifest.origin is not None or could_be_of_another(names, columns):
            raise CatalogError(what, where=folder.manifest, remedy=OTHER_CATALOG)
        raise _wrong(folder, what)
    if len({part.name for part in manifest.parts}) != len(manifest.parts):
        raise _wrong(folder, "names a part twice")
    if manifest.source_rows is not None and manifest.source_rows != manifest.rows:
        raise _wrong(folder, f"counts {manifest.rows} rows in its parts but {manifest.source_rows} in the source")
    return manifest


def _refuse_later(document: object, folder: SnapshotFolder) -> None:
    """Raise CatalogError of a manifest that a later version of this code wrote."""
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is int and version > VERSION:
        raise CatalogError(
            f"is a manifest of version {version}, and this code knows {VERSION}",
            where=folder.manifest,
            remedy="Deploy the functions that are as new as what wrote it",
        )


def _parse(document: dict[str, object], folder: SnapshotFolder) -> Manifest:
    if document["version"] != VERSION:
        raise ValueError("version")
    source_rows = document["source_rows"]
    columns = cast(list[dict[str, object]], document["columns"])
    parts = cast(list[dict[str, object]], document["parts"])
    return Manifest(
        table=_text(document, "table"),
        snapshot=SnapshotId.parse(_text(document, "snapshot_id")),
        source_rows=None if source_rows is None else _count(document, "source_rows"),
        columns=tuple((_text(column, "name"), _text(column, "type")) for column in columns),
        parts=tuple(_part(part, folder) for part in parts),
        origin=_origin(cast(dict[str, object], document["origin"])) if "origin" in document else None,
    )


def _origin(document: dict[str, object]) -> Origin:
    modified = document["source_modified"]
    return Origin(
        started=_instant(document, "started"),
        exported=_instant(document, "exported"),
        source_modified=None if modified is None else _instant(document, "source_modified"),
        profile=Profile.from_json(document["profile"]),
        types=_types(cast(Mapping[str, object], document["types"])) if "types" in document else None,
    )


def _types(document: Mapping[str, object]) -> Mapping[str, str]:
    return {name: _text(document, name) for name in document}


def _origin_document(origin: Origin) -> dict[str, object]:
    return {
        "started": origin.started.isoformat(),
        "exported": origin.exported.isoformat(),
        "source_modified": origin.source_modified.isoformat() if origin.source_modified else None,
        "profile": origin.profile.to_json(),
        **({} if origin.types is None else {"types": dict(origin.types)}),
    }


def _instant(document: dict[str, object], key: str) -> datetime:
    at = datetime.fromisoformat(_text(document, key))
    if at.tzinfo is None:
        raise ValueError(f"{key}, which has no time zone")
    return at.astimezone(UTC)


def _part(part: dict[str, object], folder: SnapshotFolder) -> ManifestPart:
    name = _text(part, "name")
    parsed = parse_object_name(name, folder.prefix)
    if not isinstance(parsed, PartName) or parsed.folder != folder:
        raise ValueError("parts.name, which is no part of this snapshot")
    return ManifestPart(
        name, _count(part, "generation"), _count(part, "rows"), _count(part, "bytes"), _text(part, "crc32c")
    )


def _text(document: Mapping[str, object], key: str) -> str:
    value = document[key]
    if not isinstance(value, str):
        raise TypeError(key)
    value.encode()  # half a surrogate pair can be written in JSON, but not to PostgreSQL
    if "\0" in value:
        raise ValueError(f"{key}, which holds a NUL")
    return value


def _count(document: dict[str, object], key: str) -> int:
    """A whole number; Cloud Storage's JSON prints generations as text, so text of digits passes too."""
    value = document[key]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(key)
    return value


def _wrong(folder: SnapshotFolder, what: str) -> DataError:
    return DataError(what, where=folder.manifest, remedy="Write the parts, then a correct manifest, as a new snapshot")
