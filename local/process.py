"""Child processes that never outlive us: start, wait until ready, stop, kill, and read their peak memory.

Knows nothing of what the processes are.
"""

import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from local import ROOT
from local.warm import Forked

# The kernel sends the death signal when the *thread* that forked ends, so all forks happen in one thread
# that lives as long as we do.
_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
# Below the range that Linux takes the ports of outgoing connections from: a port that was free a moment ago
# is not then somebody's client socket when the server binds it.
_PORTS = range(10_000, 32_000)
_chance = random.SystemRandom()  # tests seed the other one, all alike


class ProcessError(Exception):
    """A process of the emulated cloud did not come up, or ended by itself: its log says why."""


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other process gets from here while we live."""
    while True:
        port = _chance.choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                # A name without a file, which the machine's users share and which is gone when we are.
                claim.bind(f"\0recosync-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
            claim.detach()  # it stays open until we end
            return port


def answers(url: str) -> bool:
    """Whether an HTTP server answers at `url`, with whatever status."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError:
        return False
    return True


class Process:
    """One child process with its log file; it dies with us even when we are killed.

    With `user`, it runs as that user (for servers that refuse to run as root).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        self.name, self.log, self._stop_signal = name, log, stop_signal
        as_user = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        death = ["setpriv", *as_user, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"]
        with log.open("ab") as output:
            self._child: subprocess.Popen[bytes] | Forked = _FORKER.submit(
                subprocess.Popen[bytes],
                [*death, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=ROOT if user is None else "/",
                # Ctrl-C at the terminal is for us alone; we then stop the children in order.
                start_new_session=True,
            ).result()

    @classmethod
    def forked(cls, name: str, log: Path, child: Forked) -> Self:
        """One that was started already, and writes to that log."""
        process = cls.__new__(cls)
        process.name, process.log, process._stop_signal, process._child = name, log, signal.SIGTERM, child
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Return when `ready` says so; raise with the end of the log when the process ends or is too slow."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running or time.monotonic() > deadline:
                state = "is not ready" if self.running else f"ended with {self._child.returncode}"
                self.kill()
                raise ProcessError(f"{self.name} {state}\n{self.tail()}")
            time.sleep(0.02)

    def stop(self, seconds: float = 10, stop_signal: signal.Signals | None = None) -> None:
        """End it the polite way, then the hard way."""
        if self.running:
            self._child.send_signal(stop_signal or self._stop_signal)
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL the process and whatever it started."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self._child.wait()

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
