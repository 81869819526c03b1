"""An uploader for tests: parts and manifests of any content, put where the contract says."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from shared.daily import arrival
from shared.daily.manifest import Manifest, ManifestPart
from shared.daily.names import SnapshotFolder
from shared.names import ObjectVersion, SnapshotId
from shared.services import Services


@dataclass
class Upload:
    """One snapshot of one table on its way into the bucket."""

    services: Services
    table: str
    snapshot: SnapshotId
    parts: list[ManifestPart] = field(default_factory=list)

    @property
    def folder(self) -> SnapshotFolder:
        return SnapshotFolder(self.services.settings.prefix, self.table, self.snapshot)

    def part(
        self, content: pa.Table | bytes, *, rows: int = 0, row_group_size: int | None = None, attempt: int = 1
    ) -> ObjectVersion:
        """Write a part; bytes go as they are, and `rows` is how many they hold."""
        if not isinstance(content, bytes):
            content, rows = parquet_bytes(content, row_group_size), content.num_rows
        name = f"{self.folder.attempt(attempt)}part-{len(self.parts):012d}.parquet"
        version, size, crc32c = self._put(name, content)
        self.parts.append(ManifestPart(name, version.generation, rows, size, crc32c))
        return version

    def manifest(self, *, source_rows: int | None = None, **changes: object) -> ObjectVersion:
        """Write the manifest that names the parts written so far. `changes` replace fields of it."""
        columns = tuple((column.name, "STRING") for column in self.services.catalog.tables[self.table].columns)
        manifest = Manifest(self.table, self.snapshot, source_rows, columns, tuple(self.parts))
        return self.raw_manifest(Manifest(**{**vars(manifest), **changes}).to_json())

    def raw_manifest(self, content: bytes) -> ObjectVersion:
        return self._put(self.folder.manifest, content)[0]

    def _put(self, name: str, content: bytes) -> tuple[ObjectVersion, int, str]:
        bucket = self.services.settings.bucket
        blob = self.services.storage._client.bucket(bucket).blob(name)
        blob.upload_from_string(content)
        blob.reload()
        return ObjectVersion(bucket, name, int(blob.generation)), int(blob.size), blob.crc32c


def parquet_bytes(rows: pa.Table, row_group_size: int | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="snappy", row_group_size=row_group_size)
    return sink.getvalue()


def arrive(services: Services, *versions: ObjectVersion, size: int = 1) -> list[str]:
    """Handle the finalize events of these objects, in this order."""
    return [arrival.handle(services, version, size) for version in versions]


def rows(table: str, services: Services, values: Mapping[str, Sequence[object]]) -> pa.Table:
    """An Arrow table with the catalog's columns in order; those not given are NULL, of a type that fits, or tell the
    rows apart if they are the table's key.
    """
    types = {
        "character varying": pa.string(), "text": pa.string(), "integer": pa.int64(), "bigint": pa.int64(),
        "real": pa.float64(), "double precision": pa.float64(), "numeric": pa.decimal128(38, 9), "boolean": pa.bool_(),
        "timestamp without time zone": pa.timestamp("us", tz="UTC"), "date": pa.date32(), "geometry": pa.binary(),
        "json": pa.string(), "jsonb": pa.string(), "smallint": pa.int64(),
    }  # fmt: skip
    length = max((len(column) for column in values.values()), default=0)
    arrays = {}
    known = services.catalog.tables[table]
    for column in known.columns:
        key = column.name in known.key
        given = values.get(column.name, list(map(str, range(length))) if key else [None] * length)
        arrays[column.name] = (
            given if isinstance(given, pa.Array) else pa.array(given, types[column.type.sql.partition("(")[0]])
        )
    return pa.table(arrays)
