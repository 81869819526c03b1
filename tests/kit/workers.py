"""Workers to kill: processes of their own that run the product's code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from shared.names import ObjectVersion


@contextmanager
def worker(env: Mapping[str, str], code: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that runs `code` with `services` at hand; killed at the end if it still runs."""
    prelude = "import sys; from shared.services import Services; services = Services.from_environment()"
    command = [sys.executable, "-c", f"{prelude}\n{code}", *map(str, arguments)]
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


#: Code of a worker that handles the finalize event of an object.
IMPORT = """
from shared.daily import arrival
from shared.names import ObjectVersion
arrival.handle(services, ObjectVersion(sys.argv[1], sys.argv[2], int(sys.argv[3])), 1)
"""


@contextmanager
def importing(env: Mapping[str, str], version: ObjectVersion) -> Iterator[subprocess.Popen[bytes]]:
    with worker(env, IMPORT, version.bucket, version.name, version.generation) as process:
        yield process
