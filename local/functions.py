"""The functions as real processes: functions-framework under gunicorn, as Cloud Functions runs them."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local import ROOT
from local.process import Process, answers, free_port
from local.warm import Forked, serve


@dataclass(frozen=True)
class Spec:
    """How a function is deployed. `trigger` tells where an event function's events come from, `role` which PostgreSQL
    role it has, if not the deployment's own.
    """

    signature: Literal["http", "cloudevent"]
    trigger: Literal["storage", "topic"] | None = None
    instances: int = 1
    role: str | None = None

    @property
    def threads(self) -> int:
        """Requests that one instance takes at once."""
        return 8 if self.signature == "http" else 1


FLEET: Mapping[str, Spec] = {
    "bq_export": Spec("http"),
    "gcs_import": Spec("cloudevent", "storage", instances=2),
    "mv_refresh": Spec("cloudevent", "topic"),
    "hourly_export": Spec("http"),
    "status": Spec("http", role="status"),
}

#: Heaps of a function's process, as terraform/functions.tf has it.
ARENAS = "2"


@dataclass(frozen=True)
class Runtime:
    """What runs functions, and where they are. When `warm`, each is forked from a process that has imported our own."""

    python: str = sys.executable
    source: Path = ROOT / "functions"
    warm: bool = False


COLD, WARM = Runtime(), Runtime(warm=True)


class Instance:
    """One instance of a function. It keeps its address through restarts."""

    def __init__(self, name: str, spec: Spec, log: Path, env: Mapping[str, str], runtime: Runtime) -> None:
        self.name, self.log, self._runtime = name, log, runtime
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._arguments = ["--source", str(runtime.source / name / "main.py")]
        self._arguments += ["--target", name, "--signature-type", spec.signature]
        self._arguments += ["--host", "127.0.0.1", "--port", str(port)]
        # The functions' own tree, not the folder we happen to be in.
        python = {"PYTHONPATH": str(runtime.source.parent), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        # gunicorn would put a socket into HOME, where those of two instances collide.
        sockets = log.parent / str(port)
        sockets.mkdir()
        own = {
            "THREADS": str(spec.threads),
            "K_SERVICE": name,
            "XDG_RUNTIME_DIR": str(sockets),
            "MALLOC_ARENA_MAX": ARENAS,
        }
        self._own_env = {**python, **own}
        self._env = {**env, **self._own_env}
        self.start()

    def start(self) -> None:
        """Start it; `ready` waits for it."""
        if self._runtime.warm:
            child = Forked(serve, (self._arguments,), os.environ | self._env, self.log)
            self.process = Process.forked(self.name, self.log, child)
        else:
            command = [self._runtime.python, "-m", "functions_framework", *self._arguments]
            self.process = Process(self.name, command, self.log, self._env)

    def ready(self) -> None:
        # The one path that the framework answers by itself, without calling the function.
        self.process.wait_ready(lambda: answers(f"{self.url}/robots.txt"))

    def stop(self) -> None:
        self.process.stop()

    def restart(self, env: Mapping[str, str] | None = None) -> None:
        """Start it anew, in another environment if one is given."""
        self.stop()
        if env is not None:
            self._env = {**env, **self._own_env}
        self.start()
        self.ready()

    def kill(self) -> None:
        """As if the machine were gone."""
        self.process.kill()

    def kill_worker(self) -> None:
        """As when it needs more memory than it may have; a new one is started at once."""
        os.kill(self.worker_pid, signal.SIGKILL)

    @property
    def worker_pid(self) -> int:
        """The process that runs the function; the one above it starts another if it dies."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def peak_rss(self) -> int:
        """The most memory that the worker ever held, in bytes."""
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
        return int(kilobytes) * 1024
