"""Streams into Cloud Storage: there once they end well, and never if they do not."""

import gc
import sys

import pytest

from shared.errors import RetryableError


@pytest.fixture
def ignored(monkeypatch):
    """What the garbage collector meets with: Python prints it, and it is no line of the log."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: found.append(unraisable.exc_value))
    return found


def upload(services, bucket, error=None):
    with services.storage.writer(bucket, "half") as stream:
        stream.write(b"half")
        if error:
            raise error


def test_an_upload_that_is_refused_is_over(services, ignored):
    with pytest.raises(RetryableError):
        upload(services, "no-such-bucket")
    gc.collect()
    assert ignored == []


def test_a_block_that_fails_leaves_no_object(services, ignored):
    with pytest.raises(KeyError):
        upload(services, services.settings.bucket, KeyError())
    gc.collect()
    assert ignored == []
    assert services.storage.find(services.settings.bucket, "half") is None
