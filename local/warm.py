"""Processes forked from one that has imported what functions need: such a start takes a tenth of the processor's time.

The libraries of Google and of Apache Arrow, which functions import when they first need them, are most of that.

The parent imports and does nothing else, so that nothing is shared with a child but code: no client, and no thread but
those that the libraries begin for themselves.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from local import ROOT

#: What the functions import, and what runs them.
_IMPORTED = [
    "__main__",  # or each child would import what we were started with
    "functions_framework._cli",
    "functions_framework._http.gunicorn",
    "gunicorn.workers.gthread",
    *("duckdb", "pgpq", "pyarrow.compute", "pyarrow.parquet"),
    *("google.cloud.bigquery", "google.cloud.pubsub_v1", "google.cloud.storage", "google.cloud.storage.fileio"),
    "shared.daily.arrival",
    "shared.daily.export",
    "shared.daily.refresh",
    "shared.entry",
    "shared.hourly.run",
    "shared.upkeep.housekeeping",
    "shared.upkeep.reconcile",
    "shared.operate.status",
]
_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html


@cache
def _parent() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    # It passes over what it can't import, and knows of our path only this (https://github.com/python/cpython/issues/135335).
    ours = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([ours] if ours else [])])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if ours is None else os.environ.update(PYTHONPATH=ours)
    return context


class Forked:
    """A process that runs a call, in a session of its own. Its names are those of `subprocess.Popen`.

    It dies with us, its environment is `env` alone, and what it writes goes to `log`.
    """

    def __init__(self, call: Callable[..., object], arguments: tuple[object, ...], env: Mapping[str, str], log: Path):
        self._process: ForkServerProcess = _parent().Process(
            target=_run, args=(call, arguments, dict(env), str(log)), daemon=True
        )
        self._process.start()
        self.pid = int(self._process.pid or 0)  # which it has, once it is started

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, sent: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and we have yet to hear of it
                os.kill(self.pid, sent)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(call: Callable[..., object], arguments: tuple[object, ...], env: Mapping[str, str], log: str) -> None:
    # Its parent ends when nobody holds this any more; a child that did would keep it, and so itself, alive without us.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output, stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    call(*arguments)


def serve(arguments: Sequence[str]) -> None:
    """Run functions-framework's program."""
    from functions_framework._cli import _cli
    from gunicorn.config import ControlSocket

    # The default is made when gunicorn is imported, of what the environment was then.
    ControlSocket.default = f"{os.environ['XDG_RUNTIME_DIR']}/gunicorn.ctl"
    _cli(arguments)
