"""Fixtures of the tests that need no server."""

import io
import json
import logging
from collections.abc import Callable

import pytest

from shared import log

type Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What has been logged so far, one object per line of standard output."""
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    logger = logging.getLogger("recosync")
    for name, value in {"handlers": [], "propagate": True}.items():
        monkeypatch.setattr(logger, name, value)
    log.configure()
    return lambda: [json.loads(line) for line in output.getvalue().splitlines()]
