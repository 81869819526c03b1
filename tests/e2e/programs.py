"""The programs that a run starts, one at a time, and what a Ctrl-C does to them.

Each program is in a session of its own, so a Ctrl-C comes to the run alone, which hands it on once. Terraform then
stops after what it is making, and writes its state; had the terminal sent it the signal too, it would stop at once, and
forget. A second Ctrl-C is handed on as a second one. During the removal none is.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Of a program that failed, so many of its last lines are told.
_LINES = 25
#: Of what a program printed, so many characters are kept.
_KEPT = 20_000


class InterruptedRunError(Exception):
    """Somebody wants no more of the run but its removal."""


class FailedError(Exception):
    """A program failed: which, and what it said last."""


class Programs:
    """Runs programs. What they print goes to a file, and is told if they fail."""

    def __init__(self, log: Path) -> None:
        self._log, self._asked, self._handed = log, 0, 0
        self._child: subprocess.Popen[bytes] | None = None
        self._at_work, self._told, self.removing = False, False, False
        for number in SIGNALS:
            signal.signal(number, self._interrupted)

    def say(self, line: str) -> None:
        """Tell whoever watches. A terminal that is gone must not keep the removal from being made."""
        with suppress(OSError):
            # Not print, whose buffer a signal's handler may find in use.
            os.write(1, f"{line}\n".encode())
        self._note(line)

    def run(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """What the program printed. Raises FailedError if it failed, and InterruptedRunError after a Ctrl-C."""
        code, printed, errors = self.attempt(*command, cwd=cwd, env=env)
        if code:
            last = "\n".join((printed + errors).rstrip().splitlines()[-_LINES:])
            raise FailedError(f"{' '.join(command[:3])} … failed with {code}:\n{last}")
        return printed

    def attempt(
        self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, shown: bool = False
    ) -> tuple[int, str, str]:
        """Exit code, output and errors of a program that may fail. `shown`: to whoever watches, and not kept."""
        self._note(f"$ {' '.join(command)}")
        folder, self._at_work, self._handed = self._log.parent, True, 0
        # Files: what a program has said so far can be read there, and nobody waits for what it leaves behind.
        with (folder / "printed").open("w+b") as printed, (folder / "errors").open("w+b") as errors:
            try:
                self._child = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=None if shown else printed,
                    stderr=None if shown else errors,
                    start_new_session=True,
                )
                self._hand_on()  # what came while it was started
                code = self._child.wait()
            except OSError as missing:
                raise FailedError(f"{command[0]}: {missing}") from None
            finally:
                self._child, self._at_work = None, False
            told = [file.seek(0) or file.read().decode(errors="replace") for file in (printed, errors)]
        self._note("".join(told))
        self.check()
        return code, told[0], told[1]

    def check(self) -> None:
        """Raise InterruptedRunError if somebody has pressed Ctrl-C."""
        if self._asked and not self._told and not self.removing:
            self._told = True
            raise InterruptedRunError

    def _interrupted(self, number: int, _: object) -> None:
        name = signal.Signals(number).name
        if self.removing or self._told:
            self.say(f"{name}: the removal goes on, because what is left would be paid for")
            return
        self._asked += 1
        if self._at_work:
            self.say(f"{name}: stops after what it is at, and removes what was made. Once more, and it stops at once")
            self._hand_on()
        else:
            self.check()

    def _hand_on(self) -> None:
        while self._child is not None and not self.removing and self._handed < self._asked:
            self._handed += 1
            with suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGINT)

    def _note(self, text: str) -> None:
        # Not a whole plan.
        if text := text.rstrip()[-_KEPT:]:
            with suppress(OSError), self._log.open("a") as log:
                log.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
