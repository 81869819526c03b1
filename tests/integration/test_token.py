"""Objects are read with the function's own access token, by ranges, and the token is renewed."""

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.daily import arrival
from shared.errors import ConfigurationError, DataError, RetryableError
from shared.gcp.parquet import Parquet
from shared.gcp.tokens import FunctionToken
from shared.names import SnapshotId
from tests.kit.buckets import FIRST, SMALL, Bucket, Credentials, objects, serving
from tests.kit.sessions import one
from tests.kit.uploads import Upload, parquet_bytes, rows

COUNT, GROUP = 150_000, 3_000


class Setup:
    """A part in a bucket that asks for tokens, and the services of a function that has some."""

    def __init__(self, services, token: str | None = FIRST, life: timedelta | None = timedelta(hours=1)) -> None:
        table = "non_recommendable_items_data"
        self.upload = Upload(services, table, SnapshotId.parse("20260101T000000Z"))
        ids = [f"user-{n * 7919 % COUNT}-{n}" for n in range(COUNT)]
        content = parquet_bytes(rows(table, services, {"user_id": ids, "item_id": ids}), row_group_size=GROUP)
        self.bucket = Bucket(content)
        self.version = self.upload.part(content)
        self.credentials = Credentials(self.bucket, token, life)
        self.services = services

    @contextmanager
    def serving(self) -> Iterator[None]:
        token = FunctionToken()
        token._credentials = self.credentials
        with serving(self.bucket) as url:
            self.services = replace(self.services, parquet=Parquet(url, token, self.services.storage))
            yield

    def stage(self) -> str:
        return arrival.handle(self.services, self.version, 1)

    @property
    def statuses(self) -> list[int]:
        return [request.status for request in self.bucket.requests]


def staged_rows(database) -> list[int]:
    return [n for (n,) in database.execute("SELECT rows FROM recosync.part")]


def test_every_request_bears_the_token_and_names_the_generation(services, database):
    setup = Setup(services)
    with setup.serving():
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert {request.authorization for request in setup.bucket.requests} == {"Bearer token-1"}
    expected = f"/{setup.version.bucket}/{setup.version.name}?generation={setup.version.generation}"
    assert {request.path for request in setup.bucket.requests} == {expected}
    assert setup.credentials.renewals == 0


def test_an_object_is_read_by_ranges_and_once(services):
    setup = Setup(services)
    with setup.serving():
        setup.stage()
    reads = [request for request in setup.bucket.requests if request.method == "GET"]
    assert {request.status for request in reads} == {206}
    assert len(reads) > 3
    assert max(request.bytes for request in reads) < len(setup.bucket.content) / 2
    assert sum(request.bytes for request in reads) < 1.5 * len(setup.bucket.content)


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Any write to a file, in /tmp or elsewhere, fails in here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_object_is_not_copied_to_a_file(services, database, tmp_path):
    setup = Setup(services)
    with setup.serving(), no_file_may_grow():
        with pytest.raises(OSError, match="File too large"):
            (tmp_path / "file").write_text("x")
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]


@pytest.mark.parametrize(
    ("token", "life"),
    [(None, None), ("token-0", timedelta(hours=-1)), ("token-0", timedelta(minutes=3))],
    ids=["none yet", "expired", "too short-lived for a part"],
)
def test_a_token_that_would_not_last_is_renewed_before_it_is_used(services, token, life):
    setup = Setup(services, token, life)
    with setup.serving():
        assert setup.stage() == "staged"
    assert 401 not in setup.statuses
    assert setup.credentials.renewals == 1


def test_a_token_that_the_service_refuses_is_renewed(services):
    setup = Setup(services, "token-0")
    with setup.serving():
        assert setup.stage() == "staged"
    assert setup.statuses[0] == 401
    assert setup.credentials.renewals == 1


def test_a_token_that_is_refused_in_mid_stream_is_renewed_by_the_next_try(services, database):
    setup = Setup(services)
    with setup.serving():
        # The reader is some row groups ahead of the stream; the first of these requests are made before it starts.
        setup.bucket.revoke_after = COUNT // GROUP
        with pytest.raises(RetryableError):
            setup.stage()
        assert staged_rows(database) == []
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert setup.credentials.renewals == 1


@pytest.mark.parametrize("requests", [1, 2, 3, 4])
def test_a_token_that_is_refused_before_the_stream_is_renewed_at_once(services, database, requests):
    setup = Setup(services)
    with setup.serving():
        setup.bucket.revoke_after = requests
        assert setup.stage() == "staged"
    assert staged_rows(database) == [COUNT]
    assert 401 in setup.statuses
    assert setup.credentials.renewals == 1


def test_an_object_that_is_gone_is_not_waited_for(services, database):
    setup = Setup(services)
    services.storage._client.bucket(setup.version.bucket).blob(setup.version.name).delete()
    setup.bucket.status = 404
    with setup.serving():
        assert setup.stage() == "gone"
    assert staged_rows(database) == []


def test_threads_that_read_at_once_share_each_token_without_conflict():
    with objects(Bucket(SMALL, revoke_after=40)) as found, ThreadPoolExecutor(8) as executor:
        footers = list(executor.map(found.footer, range(150)))
    assert {footer.rows for footer in footers} == {100}
    assert found.credentials.renewals >= 1


@pytest.mark.parametrize(
    ("status", "failure"),
    [(404, DataError), (408, RetryableError), (429, RetryableError), (502, RetryableError), (503, RetryableError)],
)
def test_an_answer_that_no_token_mends_renews_none(status, failure):
    bucket = Bucket(SMALL, status=status)
    with objects(bucket) as found:
        found.parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        with pytest.raises(failure) as e:
            found.footer()
    assert type(e.value) is failure
    assert {request.status for request in bucket.requests} == {status}
    assert found.credentials.renewals == (status == 502)  # DuckDB does not tell it from a refusal


@pytest.mark.parametrize("status", [401, 403])
def test_an_object_that_a_new_token_may_not_read_either_is_a_wrong_deployment(status):
    with objects(Bucket(SMALL, status=status)) as found:
        found.parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        with pytest.raises(ConfigurationError, match=rf"\(HTTP {status}\)\. Grant the function's account"):
            found.footer()
    assert found.credentials.renewals == 1


@pytest.mark.parametrize(
    ("status", "failure"), [(401, RetryableError), (403, ConfigurationError), (404, DataError), (429, RetryableError)]
)
def test_a_stream_that_is_refused_means_what_its_status_says(services, status, failure):
    setup = Setup(services)
    with setup.serving():
        parquet = setup.services.parquet
        parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        stream = parquet.stream(setup.version, parquet.batches(setup.version, ["user_id"], 2048))
        next(stream)
        setup.bucket.status = status
        with pytest.raises(failure) as e:
            list(stream)
    assert type(e.value) is failure


def test_a_connection_that_breaks_in_mid_body_is_no_fault_of_the_part(services, database):
    setup = Setup(services)
    with setup.serving():
        parquet = setup.services.parquet
        parquet.objects.connection().execute("SET GLOBAL http_retry_wait_ms = 1")
        stream = parquet.stream(setup.version, parquet.batches(setup.version, ["user_id"], 2048))
        next(stream)
        setup.bucket.breaks_after = 1000
        with pytest.raises(RetryableError):
            list(stream)
        with pytest.raises(RetryableError):
            setup.stage()
    assert one(database, "SELECT count(*) FROM recosync.failure") == 0
