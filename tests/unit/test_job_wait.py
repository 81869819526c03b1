"""A job that was just given may be unknown for a while, and no longer."""

import itertools
from types import SimpleNamespace

import pytest

from shared.errors import RetryableError
from shared.gcp import bigquery
from shared.gcp.bigquery import UNKNOWN_SECONDS, BigQuery, Job
from shared.names import JobName, SnapshotId

NAME = JobName("load", "iris_france", SnapshotId.parse("20260101T050000Z"), 1)


@pytest.fixture
def waited(monkeypatch):
    """Wait for a job of which BigQuery gives these answers, the last one again and again; the seconds that it took."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(bigquery, "time", clock)

    def waited(*answers, deadline=1_000):
        given = itertools.chain(answers, itertools.repeat(answers[-1]))
        monkeypatch.setattr(BigQuery, "job", lambda *_: next(given))
        try:
            return BigQuery("project").wait(NAME, "EU", deadline), clock.now
        except RetryableError as e:
            return str(e), clock.now

    return waited


def job(*, done):
    return Job(NAME, done, None, None)


def test_a_job_that_is_unknown_at_first_is_waited_for(waited):
    found, seconds = waited(None, None, None, job(done=False), job(done=True))
    assert (found.done, 0 < seconds < 5) == (True, True)


def test_a_job_that_stays_unknown_is_told_after_a_minute(waited):
    told, seconds = waited(None)
    assert "does not know the job" in told
    assert UNKNOWN_SECONDS - 5 < seconds <= UNKNOWN_SECONDS


@pytest.mark.parametrize(("answer", "what"), [(None, "does not know"), (job(done=False), "is still running")])
def test_no_wait_outlasts_the_call(waited, answer, what):
    told, seconds = waited(answer, deadline=10)
    assert (what in told, seconds <= 10) == (True, True)
