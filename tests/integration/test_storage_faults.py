"""Cloud Storage that does not answer well, whatever it is asked for: what passes is not noticed, what stays is told as
what it is, and no object is there in part.
"""

from __future__ import annotations

import gc
import io
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import google.auth.credentials
import pyarrow as pa
import pytest
from google.cloud.storage.retry import DEFAULT_RETRY

from local.proxy import standing_before
from local.strict_storage import Break, Fault, Faults, Rules
from shared.errors import ConfigurationError, PermanentError, RetryableError, SyncError
from shared.gcp import storage as adapter
from shared.gcp.parquet import Parquet
from shared.gcp.storage import Storage
from shared.gcp.tokens import FunctionToken
from shared.names import ObjectVersion
from tests.kit.uploads import parquet_bytes

if TYPE_CHECKING:
    from local.cloud import Cloud

ROWS = 24_000
_chance = random.Random(7)  # noqa: S311 - no secret
NUMBERS = pa.table({"n": pa.array([_chance.getrandbits(63) for _ in range(ROWS)]), "place": pa.array(range(ROWS))})
#: A part of several row groups, longer than a body that is cut, and than two chunks of an upload.
CONTENT = parquet_bytes(NUMBERS, row_group_size=4_000)
CHUNK = 128 << 10
OTHER = b"another's"
UNAVAILABLE, TOO_MANY = HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS
GONE, PRECONDITION, UNAUTHORIZED = HTTPStatus.GONE, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNAUTHORIZED


class Credentials(google.auth.credentials.Credentials):
    """A function's, that can be renewed."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.expiry, self._renewals = "token-0", None, itertools.count(1)

    def refresh(self, request: object) -> None:
        self.token = f"token-{next(self._renewals)}"


@dataclass
class Place:
    """A bucket whose every request may meet a fault, and an object in it."""

    storage: Storage
    parquet: Parquet
    faults: Faults
    bucket: str
    version: ObjectVersion

    def put(self, content: bytes, name: str | None = None) -> ObjectVersion:
        name = name or next(_names)
        blob = self.storage._client.bucket(self.bucket).blob(name)
        blob.upload_from_string(content)
        return ObjectVersion(self.bucket, name, int(blob.generation))

    def contents(self) -> set[bytes]:
        """What the objects of the bucket hold."""
        return {self.storage.read(stored.version) for stored in self.storage.objects(self.bucket, "")}

    def holds(self, name: str) -> bytes | None:
        stored = self.storage.find(self.bucket, name)
        return stored and self.storage.read(stored.version)


_names = (f"of/object-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def served(cloud: Cloud) -> Iterator[Place]:
    with (
        pytest.MonkeyPatch.context() as once,
        cloud.deploy("storage-faults", functions={}) as here,
        standing_before(cloud.storage.url) as proxy,
        proxy.fault(Rules()),
        proxy.fault(Faults()) as faults,
    ):
        once.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        storage, token = Storage(here.project), FunctionToken()
        token._credentials = storage._client._http.credentials = Credentials()
        parquet = Parquet(proxy.url, token, storage)
        parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        gc.freeze()  # what is there by now need not be looked through after each test
        yield Place(storage, parquet, faults, here.bucket, ObjectVersion(here.bucket, "", 0))
        gc.unfreeze()


@pytest.fixture
def place(served: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Where only a fresh object is. Pauses are as short as they can be."""
    monkeypatch.setattr(adapter, "CHUNK_BYTES", 2 * CHUNK)
    monkeypatch.setattr(adapter, "RANGE_BYTES", CHUNK)
    monkeypatch.setattr(DEFAULT_RETRY, "_initial", 0.001)
    monkeypatch.setattr(DEFAULT_RETRY, "_maximum", 0.002)
    for stored in served.storage.objects(served.bucket, ""):
        served.storage.delete(stored.version)
    served.version = served.put(CONTENT)
    yield served
    served.faults.clear()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is printed past the log, neither at once nor by what the garbage collector meets with."""
    found: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: found.append(unraisable.exc_value))
    yield
    gc.collect()
    assert (found, capfd.readouterr().err) == ([], "")


@dataclass(frozen=True)
class Operation:
    """What is asked for, and is right in the end; and the request of it that a fault is for."""

    method: str
    where: str
    run: Callable[[Place], None]


def listed(place: Place) -> None:
    assert [stored.version for stored in place.storage.objects(place.bucket, place.version.name)] == [place.version]


def folders(place: Place) -> None:
    assert place.storage.folders(place.bucket, "") == ["of/"]


def found(place: Place) -> None:
    stored = place.storage.find(place.bucket, place.version.name)
    assert stored is not None
    assert (stored.version, stored.bytes) == (place.version, len(CONTENT))


def read(place: Place) -> None:
    assert place.storage.read(place.version) == CONTENT


def fetched(place: Place) -> None:
    assert place.storage.fetch(place.version)


def read_by_ranges(place: Place) -> None:
    with place.storage.opened(place.version) as file:
        file.seek(1_000)
        assert file.read(3 * CHUNK) == CONTENT[1_000 : 1_000 + 3 * CHUNK]
        assert file.seek(0, io.SEEK_END) == len(CONTENT)


def passed(place: Place) -> None:
    with place.storage.passed(place.version) as file:
        assert b"".join(iter(lambda: file.read(CHUNK), b"")) == CONTENT


def copied(place: Place) -> None:
    name = next(_names)
    place.storage.copy(place.version, name)
    assert place.holds(name) == CONTENT


def created(place: Place) -> None:
    name = next(_names)
    assert place.storage.create(place.bucket, name, CONTENT, "application/json")
    assert place.holds(name) == CONTENT
    assert not place.storage.create(place.bucket, name, OTHER, "application/json")


def replaced(place: Place) -> None:
    version = place.put(CONTENT)
    generation = place.storage.replace(version, OTHER, "application/json", {"settled": "true"})
    stored = place.storage.find(place.bucket, version.name)
    assert stored is not None
    assert (stored.version.generation, stored.metadata["settled"]) == (generation, "true")
    assert place.storage.read(stored.version) == OTHER
    assert place.storage.replace(version, CONTENT, "application/json") is None


def written(place: Place) -> None:
    name = next(_names)
    with place.storage.writer(place.bucket, name) as stream:
        for at in range(0, len(CONTENT), 10_000):
            stream.write(CONTENT[at : at + 10_000])
    assert place.holds(name) == CONTENT


def deleted(place: Place) -> None:
    version = place.put(CONTENT)
    place.storage.delete(version)
    assert place.holds(version.name) is None


def footer(place: Place) -> None:
    assert place.parquet.footer(place.put(CONTENT)).row_groups == (4_000,) * 6


def aggregated(place: Place) -> None:
    expected = (sum(NUMBERS["n"].to_pylist()), ROWS)
    assert place.parquet.aggregates([place.version], ["sum(n)", "count(DISTINCT place)"]) == expected


def streamed(place: Place) -> None:
    rows = place.parquet.batches(place.version, ["n", "place"], 2048)
    assert pa.Table.from_batches(place.parquet.stream(place.version, rows)) == NUMBERS


OPERATIONS = {
    "a listing": Operation("GET", r"/o\?.*prefix=", listed),
    "a listing of folders": Operation("GET", r"/o\?.*prefix=", folders),
    "a look": Operation("GET", r"^/storage/.*/o/", found),
    "a whole document": Operation("GET", "^/download/", read),
    "all bytes": Operation("GET", "^/download/", fetched),
    "a file's size": Operation("GET", "^/storage/.*/o/", read_by_ranges),
    "a range": Operation("GET", "^/download/", read_by_ranges),
    "a file that is passed": Operation("GET", "^/download/", passed),
    "a copy": Operation("POST", "/copyTo/", copied),
    "a new document": Operation("POST", "uploadType=multipart", created),
    "a swap": Operation("POST", "uploadType=multipart.*ifGenerationMatch=[1-9]", replaced),
    "the begin of an upload": Operation("POST", "uploadType=resumable", written),
    "a chunk": Operation("PUT", r"upload_id=.* bytes \d+-\d+/\*$", written),
    "the last chunk": Operation("PUT", r"upload_id=.* bytes \d+-\d+/\d+$", written),
    "a deletion": Operation("DELETE", "/o/", deleted),
    "DuckDB's look": Operation("HEAD", "", footer),
    "DuckDB's footer": Operation("GET", "^/[^/]+/of", footer),
    "DuckDB's sums": Operation("GET", "^/[^/]+/of.* bytes=4-", aggregated),
    "DuckDB's rows": Operation("GET", "^/[^/]+/of.* bytes=4-", streamed),
}
PASSING: list[Fault] = [
    *(UNAVAILABLE, TOO_MANY, HTTPStatus.REQUEST_TIMEOUT, UNAUTHORIZED),
    *(Break.RESET, Break.LOST, Break.CUT),
]


#: Nothing can be cut of what answers a HEAD request, and whoever is refused one alone, which Cloud Storage does not do,
#: needs none. Where somebody else was faster, there is no failure.
NO_FAULTS = {
    *(("DuckDB's look", fault) for fault in (Break.CUT, UNAUTHORIZED, GONE, PRECONDITION)),
    *((name, PRECONDITION) for name in ("a copy", "a new document", "a swap")),
}


def cases(*faults: Fault) -> pytest.MarkDecorator:
    """Each operation with each of these faults."""
    pairs = [pair for pair in itertools.product(OPERATIONS, faults) if pair not in NO_FAULTS]
    return pytest.mark.parametrize(("name", "fault"), pairs, ids=[f"{name}-{fault.name}" for name, fault in pairs])


def run(place: Place, name: str, fault: Fault, times: float) -> None:
    """The operation, some of whose requests meet the fault."""
    operation = OPERATIONS[name]
    place.faults.next(operation.method, operation.where, fault, times)
    try:
        operation.run(place)
    finally:
        assert place.faults.clear()


def told(place: Place, name: str, fault: Fault) -> SyncError:
    """What is raised when the fault stays, which is waited for no longer than it takes."""
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(DEFAULT_RETRY, "_timeout", 0.1)
        with pytest.raises(SyncError) as e:
            run(place, name, fault, math.inf)
    return e.value


@pytest.mark.matrix
@cases(*PASSING)
def test_what_passes_is_not_noticed(place: Place, name: str, fault: Fault) -> None:
    run(place, name, fault, 1)
    assert place.contents() <= {CONTENT, OTHER}


@pytest.mark.matrix
@cases(*PASSING)
def test_what_stays_is_to_be_tried_again_and_no_object_is_there_in_part(place: Place, name: str, fault: Fault) -> None:
    kinds: set[type[SyncError]] = {ConfigurationError} if fault is UNAUTHORIZED else {RetryableError}
    if name == "DuckDB's rows":  # in the middle of a stream, the next try renews a token; where it is then is chance
        kinds.add(RetryableError)
    assert type(told(place, name, fault)) in kinds
    assert place.contents() <= {CONTENT, OTHER}
    OPERATIONS[name].run(place)


@pytest.mark.parametrize(
    "name", [name for name, operation in OPERATIONS.items() if operation.method in ("POST", "PUT", "DELETE")]
)
def test_what_another_change_got_in_the_way_of_is_to_be_tried_again(place: Place, name: str) -> None:
    assert type(told(place, name, HTTPStatus.CONFLICT)) is RetryableError
    assert place.contents() <= {CONTENT, OTHER}
    OPERATIONS[name].run(place)


UPLOADS = [name for name, operation in OPERATIONS.items() if operation.run is written]
DUCKDBS = [name for name in OPERATIONS if name.startswith("DuckDB")]


@pytest.mark.matrix
@cases(GONE, PRECONDITION)
def test_what_is_refused_for_good_is_permanent_unless_a_new_upload_may_succeed(
    place: Place, name: str, fault: Fault
) -> None:
    kind = RetryableError if name in UPLOADS else ConfigurationError if name in DUCKDBS else PermanentError
    assert type(told(place, name, fault)) is kind
    assert place.contents() <= {CONTENT, OTHER}


@pytest.mark.parametrize("name", ["a chunk", "the last chunk"])
def test_an_upload_of_which_less_is_kept_than_was_sent_is_to_be_tried_again(place: Place, name: str) -> None:
    error = told(place, name, Break.SHORT)
    assert type(error) is RetryableError
    assert error.what == "Cloud Storage kept less than was sent"
    assert place.contents() == {CONTENT}


def test_a_mistake_of_a_block_that_writes_is_its_own(place: Place) -> None:
    def mistaken() -> None:
        with place.storage.writer(place.bucket, "mistaken") as stream:
            stream.write(CONTENT)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        mistaken()
    assert place.holds("mistaken") is None


@pytest.mark.parametrize("name", ["a listing", "a look", "a whole document", "all bytes", "a new document"])
def test_an_answer_that_is_damaged_is_to_be_asked_for_again(place: Place, name: str) -> None:
    assert type(told(place, name, Break.DAMAGED)) is RetryableError


def test_an_upload_over_an_object_that_came_meanwhile_changes_nothing(place: Place) -> None:
    def contend() -> None:
        with place.storage.writer(place.bucket, "contended") as stream:
            stream.write(CONTENT)
            place.put(OTHER, "contended")

    with pytest.raises(RetryableError):
        contend()
    assert place.holds("contended") == OTHER


def test_a_version_that_was_replaced_is_not_deleted_with_its_successor(place: Place) -> None:
    place.put(OTHER, place.version.name)
    place.storage.delete(place.version)
    assert place.holds(place.version.name) == OTHER


def test_a_copy_over_an_object_changes_nothing(place: Place) -> None:
    place.put(OTHER, "taken")
    place.storage.copy(place.version, "taken")
    assert place.holds("taken") == OTHER
