"""Workers to kill: processes of their own that run the product's code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from local.warm import Forked
from shared.names import ObjectVersion

if TYPE_CHECKING:
    from datetime import datetime

    from shared.services import HourlyServices, Services


@contextmanager
def worker(env: Mapping[str, str], code: str, *arguments: object) -> Iterator[Forked]:
    """A process of its own that runs `code` with `services` at hand."""
    with started(env, run, code, *map(str, arguments)) as process:
        yield process


@contextmanager
def started(env: Mapping[str, str], call: Callable[..., object], *arguments: object) -> Iterator[Forked]:
    """A process of its own that makes a call; killed at the end if it still runs. What it wrote is written again here,
    where the report of a failing test has it.
    """
    with NamedTemporaryFile("r") as output:
        process = Forked(call, arguments, env, Path(output.name))
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            sys.stdout.write(output.read())


def do(step: Callable[[Services], object]) -> None:
    """In the worker: take a step of the daily flow."""
    from shared.services import Services

    step(Services.from_environment())


def do_hourly(step: Callable[[HourlyServices], object]) -> None:
    """In the worker: take a step of the hourly flow."""
    from shared.services import HourlyServices

    step(HourlyServices.from_environment())


def ask(services: HourlyServices, body: Mapping[str, object], now: datetime) -> None:
    """A step: a call of hourly_export, which nothing fails for good. Raises RetryableError if it is to be repeated."""
    from shared.errors import RetryableError
    from shared.hourly import request, run

    answer, status = run.run(services, request.parse(services, body, None, now))
    assert all(failure["retryable"] for failure in answer["failed"]), answer
    if status != 200:
        raise RetryableError(str(answer["failed"]))


def run(code: str, *arguments: str) -> None:
    """In the worker."""
    from shared.services import Services

    sys.argv[1:] = arguments
    exec(code, {"sys": sys, "services": Services.from_environment()})  # noqa: S102 - a test's own


#: Code of a worker that handles the finalize event of an object.
IMPORT = """
from shared.daily import arrival
from shared.names import ObjectVersion
arrival.handle(services, ObjectVersion(sys.argv[1], sys.argv[2], int(sys.argv[3])), 1)
"""


#: Code that comes before it: the worker may live 2 seconds.
SHORT_LIVED = """
from dataclasses import replace
services = replace(services, settings=replace(services.settings, life=2))
"""


@contextmanager
def importing(env: Mapping[str, str], version: ObjectVersion, before: str = "") -> Iterator[Forked]:
    with worker(env, before + IMPORT, version.bucket, version.name, version.generation) as process:
        yield process
