"""Cloud Storage: small objects, listings, and put-if-absent."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from shared.gcp.errors import translated
from shared.names import ObjectVersion

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of an object. `bytes` is its size; `crc32c` is base64 as the service prints it."""

    version: ObjectVersion
    bytes: int
    crc32c: str


class Storage:
    """One client, made on first use. Every method raises RetryableError or PermanentError as `translated` decides."""

    def __init__(self, project: str) -> None:
        self._project = project

    @cached_property
    def _client(self) -> "Client":
        from google.cloud.storage import Client

        return Client(project=self._project)

    def objects(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The live objects whose names start with `prefix`, by name."""
        with translated(f"listing gs://{bucket}/{prefix}"):
            for blob in self._client.list_blobs(bucket, prefix=prefix):
                yield _stored(blob)

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """The names one level below `prefix` (which ends in / or in part of a name), up to the next slash, sorted."""
        with translated(f"listing gs://{bucket}/{prefix}"):
            pages = self._client.list_blobs(bucket, prefix=prefix, delimiter="/")
            for _ in pages:  # prefixes are known only once the pages are read
                pass
            return sorted(pages.prefixes)

    def find(self, bucket: str, name: str, generation: int | None = None) -> StoredObject | None:
        """The live object, or that generation of it; None when it is not there."""
        from google.api_core.exceptions import NotFound

        with translated(f"looking up gs://{bucket}/{name}"):
            try:
                blob = self._client.bucket(bucket).get_blob(name, generation=generation)
            except NotFound:
                return None
            return None if blob is None else _stored(blob)

    def read(self, version: ObjectVersion) -> bytes | None:
        """The bytes of one version of an object; None when it is gone."""
        from google.api_core.exceptions import NotFound

        with translated(f"reading {version}"):
            try:
                blob = self._client.bucket(version.bucket).blob(version.name, generation=version.generation)
                content: bytes = blob.download_as_bytes()
            except NotFound:
                return None
            return content

    def create(self, bucket: str, name: str, content: bytes, content_type: str) -> bool:
        """Write the object unless one is there: `ifGenerationMatch=0` lets exactly one writer win
        (https://cloud.google.com/storage/docs/request-preconditions). False when somebody else did."""
        from google.api_core.exceptions import PreconditionFailed

        with translated(f"writing gs://{bucket}/{name}"):
            try:
                self._client.bucket(bucket).blob(name).upload_from_string(
                    content, content_type=content_type, if_generation_match=0
                )
            except PreconditionFailed:
                return False
            return True


def _stored(blob: "Blob") -> StoredObject:
    return StoredObject(
        ObjectVersion(blob.bucket.name, blob.name, int(blob.generation)),
        int(blob.size or 0),
        blob.crc32c or "",
    )
