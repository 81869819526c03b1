"""Cloud Storage: small objects changed by compare-and-swap, large ones written as a stream, and listings."""

import io
import secrets
from collections.abc import Buffer, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from shared.errors import DataError, RetryableError
from shared.gcp.errors import translated
from shared.gcp.forward import Body, Forward
from shared.names import ObjectVersion

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client
    from google.cloud.storage.fileio import BlobWriter
    from requests import Response


#: Bytes that a stream holds back before it sends them: a multiple of 256 KiB
#: (https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload).
CHUNK_BYTES = 4 << 20


#: Bytes that are asked for at once of an object that is read by ranges.
RANGE_BYTES = 1 << 20


#: Seconds to wait for the next bytes of an object that is passed.
PASSING_TIMEOUT = 60


#: Custom metadata of what is written with a precondition: which write it was.
_WRITE = "recosync-write"


#: The size of a document that is read whole: a manifest of 30,000 parts is smaller. Parsed, it is ten times as large.
MAX_DOCUMENT_BYTES = 8 << 20


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells of it. `bytes` is its size; `crc32c` is base64 as Cloud Storage prints it; `created`
    is when this version of it was written.

    `metadata` is what the object's writer stated. `edited` says that somebody has changed the metadata since
    (https://cloud.google.com/storage/docs/metadata#generation-number).
    """

    version: ObjectVersion
    bytes: int
    crc32c: str
    created: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    edited: bool = False


class Storage:
    """One client, made on first use. Every method raises RetryableError or PermanentError as `translated` decides."""

    def __init__(self, project: str) -> None:
        self._project = project

    @cached_property
    def _client(self) -> "Client":
        from google.cloud.storage import Client

        client = Client(project=self._project)
        client._http.hooks["response"].append(_read_refusal)
        return client

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
        """The bytes of one version of a document, such as a manifest; None when it is gone.

        Raises DataError when it has more than MAX_DOCUMENT_BYTES, and takes no more of it into memory.
        """
        from google.api_core.exceptions import NotFound

        with translated(f"reading {version}"), _stream_translated(f"reading {version}"):
            content = _Document()
            try:
                blob = self._client.bucket(version.bucket).blob(version.name, generation=version.generation)
                blob.download_to_file(content)
            except NotFound:
                return None
            except _FullError:
                found = self.find(version.bucket, version.name, version.generation)
                refuse_large(version, found.bytes if found else MAX_DOCUMENT_BYTES + 1)
            return content.getvalue()

    def fetch(self, version: ObjectVersion) -> bool:
        """Fetch all bytes of one version of an object, keep none, and compare their checksum; False when it is gone."""
        from google.api_core.exceptions import NotFound

        with translated(f"reading {version}"), _stream_translated(f"reading {version}"):
            try:
                blob = self._client.bucket(version.bucket).blob(version.name, generation=version.generation)
                blob.download_to_file(_Nowhere(), checksum="crc32c")
            except NotFound:
                return False
            return True

    @contextmanager
    def opened(self, version: ObjectVersion) -> Iterator[BinaryIO]:
        """One version of an object as a file, read by ranges. Its methods raise what the others here do, and DataError
        when it is gone.
        """
        with translated(f"reading {version}"), _gone(str(version)):
            blob = self._client.bucket(version.bucket).blob(version.name, generation=version.generation)
            blob.reload()
            stream = blob.open("rb", chunk_size=RANGE_BYTES)
        yield cast(BinaryIO, _Ranges(cast(IO[bytes], stream), str(version)))

    @contextmanager
    def passed(self, version: ObjectVersion) -> Iterator[BinaryIO]:
        """The same for who passes most bytes in their order: one request, and a sixth of the processor time."""
        with closing(Forward(partial(_Resumed, partial(self._body, version)))) as file:
            yield cast(BinaryIO, _Ranges(cast(IO[bytes], file), str(version)))

    def _body(self, version: ObjectVersion, at: int) -> Body:
        """What an object holds from a byte on."""
        from google.api_core.exceptions import from_http_status
        from google.cloud.storage.retry import DEFAULT_RETRY

        name, client = quote(version.name, safe=""), self._client
        url = f"{client.api_endpoint}/download/storage/v1/b/{version.bucket}/o/{name}"
        parameters = {"alt": "media", "generation": str(version.generation)}

        def asked() -> Body:
            headers = {"Range": f"bytes={at}-", "Accept-Encoding": "identity"}
            answer = client._http.get(url, params=parameters, headers=headers, stream=True, timeout=PASSING_TIMEOUT)
            if not answer.ok:
                raise from_http_status(answer.status_code, "the object was not given")  # type: ignore[no-untyped-call]
            return cast(Body, answer.raw)

        return cast(Body, DEFAULT_RETRY(asked)())

    def copy(self, version: ObjectVersion, name: str) -> None:
        """Copy one version of an object within its bucket, unless it is gone or there is an object of that name."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with translated(f"copying {version}"), suppress(NotFound, PreconditionFailed):
            bucket = self._client.bucket(version.bucket)
            blob = bucket.blob(version.name, generation=version.generation)
            bucket.copy_blob(blob, bucket, name, source_generation=version.generation, if_generation_match=0)

    def create(
        self, bucket: str, name: str, content: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> bool:
        """Write the object unless one is there. False when somebody else wrote it."""
        return self.replace(ObjectVersion(bucket, name, 0), content, content_type, metadata) is not None

    def replace(
        self, version: ObjectVersion, content: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> int | None:
        """Write the object if this version of it is the live one (generation 0: if there is none); its new generation.

        `ifGenerationMatch` lets exactly one writer win (https://cloud.google.com/storage/docs/request-preconditions).
        None when another writer won.
        """
        from google.api_core.exceptions import PreconditionFailed

        with translated(f"writing gs://{version.bucket}/{version.name}"):
            blob, write = self._client.bucket(version.bucket).blob(version.name), secrets.token_hex(8)
            blob.metadata = {**(metadata or {}), _WRITE: write}
            try:
                blob.upload_from_string(content, content_type=content_type, if_generation_match=version.generation)
            except PreconditionFailed:
                # If the answer to our first try was lost, it is that try which came before the second.
                found = self.find(version.bucket, version.name)
                return found.version.generation if found and found.metadata.get(_WRITE) == write else None
            return int(blob.generation)

    @contextmanager
    def writer(self, bucket: str, name: str) -> Iterator[IO[bytes]]:
        """A stream into a new object, which is there once the block ends well. If it does not, there is none; or all of
        it, where no more than the last answer was lost.

        What is in memory is a chunk, whatever the size of the object.
        """
        doing = f"writing gs://{bucket}/{name}"
        with translated(doing), _stream_translated(doing):
            blob = self._client.bucket(bucket).blob(name)
            stream = blob.open("wb", chunk_size=CHUNK_BYTES, ignore_flush=True, if_generation_match=0)
            try:
                yield cast(IO[bytes], stream)
                stream.close()
                if not stream._upload_and_transport[0].finished:
                    raise RetryableError(_KEPT_LESS, where=doing)
            except BaseException as e:
                with suppress(Exception):  # what is left of it expires by itself
                    stream.terminate()
                if isinstance(e, ValueError) and _kept_less(stream):
                    raise RetryableError(_KEPT_LESS, where=doing) from e
                raise
            finally:
                # The garbage collector closes a stream that is still open: it would go on with a failed upload.
                stream._buffer.close()

    def delete(self, version: ObjectVersion) -> None:
        """Delete this version of an object if it is there."""
        from google.api_core.exceptions import NotFound

        with translated(f"deleting {version}"), suppress(NotFound):
            self._client.bucket(version.bucket).delete_blob(version.name, generation=version.generation)


def _read_refusal(answer: "Response", **__: object) -> None:
    """Read what a refusal says. The client leaves it where it is: its connection would be open until the garbage
    collector meets it, and that may print a complaint.
    """
    if not answer.ok:
        _ = answer.content


def refuse_large(version: ObjectVersion, size: int) -> None:
    """Raises DataError when a document of so many bytes is more than is read into memory."""
    if size > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"has {size} bytes; a manifest has at most {MAX_DOCUMENT_BYTES}",
            where=str(version),
            remedy="Move it away. Write the parts anew, and then a smaller manifest",
        )


class _FullError(Exception):
    pass


class _Document(io.BytesIO):
    """What is downloaded, up to MAX_DOCUMENT_BYTES."""

    def write(self, content: Buffer) -> int:
        if self.tell() + memoryview(content).nbytes > MAX_DOCUMENT_BYTES:
            raise _FullError
        return super().write(content)


class _Ranges(io.RawIOBase):
    """A file whose failures are ours."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name, self._doing = stream, name, f"reading {name}"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with translated(self._doing), _gone(self._name), _stream_translated(self._doing):
            return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with translated(self._doing), _stream_translated(self._doing):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class _Resumed:
    """What an object holds from a byte on. Where the answer breaks off, the rest is asked for, once for each piece."""

    def __init__(self, body: Callable[[int], Body], at: int) -> None:
        self._from, self._at, self._body = body, at, body(at)

    def read(self, size: int, /) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            piece = self._body.read(size)
        except HTTPError:
            self.close()
            self._body = self._from(self._at)
            piece = self._body.read(size)
        self._at += len(piece)
        return piece

    def close(self) -> None:
        self._body.close()


class _Nowhere(io.RawIOBase):
    """Where bytes go that nobody needs."""

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer, /) -> int:
        return memoryview(content).nbytes


#: Which Cloud Storage may do with a chunk, and the client does not go on from
#: (https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload).
_KEPT_LESS = "Cloud Storage kept less than was sent"


def _kept_less(stream: "BlobWriter") -> bool:
    """Whether that is why the client takes its stream for one that somebody has moved, and raises ValueError."""
    begun = stream._upload_and_transport
    return begun is not None and begun[0].bytes_uploaded < stream._buffer.tell()


@contextmanager
def _gone(name: str) -> Iterator[None]:
    """A version that is not there never comes back by itself."""
    from google.api_core.exceptions import NotFound

    try:
        yield
    except NotFound as e:
        raise DataError("is gone", where=name, remedy="Restore it, or write it anew") from e


@contextmanager
def _stream_translated(doing: str) -> Iterator[None]:
    """A stream's refusals have exceptions of their own. An upload that is not known any more is begun anew
    (https://cloud.google.com/storage/docs/resumable-uploads#practices).
    """
    from google.api_core.exceptions import from_http_status
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from urllib3.exceptions import HTTPError

    try:
        yield
    except HTTPError as e:
        raise RetryableError("the object could not be read to its end", where=doing) from e
    except DataCorruption as e:
        raise RetryableError("the bytes arrived damaged", where=doing) from e
    except InvalidResponse as e:
        status = e.response.status_code
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.PRECONDITION_FAILED):
            raise RetryableError(f"the upload can't go on ({status})", where=doing) from e
        raise from_http_status(status, "the upload was refused") from e  # type: ignore[no-untyped-call]


def _stored(blob: "Blob") -> StoredObject:
    return StoredObject(
        ObjectVersion(blob.bucket.name, blob.name, int(blob.generation)),
        int(blob.size or 0),
        blob.crc32c or "",
        blob.time_created,
        blob.metadata or {},
        edited=(blob.metageneration or 1) > 1,
    )
