"""What the product logged during one test, a line each, for the report of one that fails."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Of each process, the last lines are enough, and a report is read from its top.
LAST = 12
WIDTH = 200

#: Fields of every line, and those that a reader of a test knows.
_COMMON = ("severity", "message", "logger", "exception", "retryable")


class LogLines:
    """Collects the lines of this process, and finds those of the functions' processes in their log files."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._own: deque[str] = deque(maxlen=LAST)
        self._read: dict[Path, int] = {}
        handler = _Handler(self._own)
        logging.getLogger().addHandler(handler)
        logging.getLogger("recosync").setLevel(logging.INFO)

    def begin(self) -> None:
        """A test begins: what was logged before is not its own."""
        self._own.clear()
        self._read = {file: file.stat().st_size for file in self._files()}

    def sections(self) -> Iterator[tuple[str, str]]:
        """A title and its lines, for each process that has logged something since."""
        if self._own:
            yield "what the test's own process logged", "\n".join(self._own)
        for file in self._files():
            with file.open(errors="replace") as log:
                log.seek(self._read.get(file, 0))
                lines = deque(map(_shown, log), maxlen=LAST)
            if lines:
                yield f"what {file.stem} logged", "\n".join(lines)

    def _files(self) -> list[Path]:
        """The logs of functions: their names begin with their project's, as no emulator's does."""
        return sorted(self.folder.glob("*-*-[0-9].log")) if self.folder else []


class _Handler(logging.Handler):
    def __init__(self, lines: deque[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "recosync":
            self._lines.append(_line(record.levelname, record.getMessage(), getattr(record, "fields", {})))


def _shown(line: str) -> str:
    """A line of a function's log. What is no JSON is shown as it is: a crash, above all."""
    try:
        fields = json.loads(line)
        return _line(fields["severity"], fields["message"], fields)
    except (ValueError, KeyError, TypeError):
        return line.rstrip()[:WIDTH]


def _line(severity: str, message: str, fields: Mapping[str, object]) -> str:
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _COMMON and "/" not in name)
    return f"{severity:7} {message}  {shown}"[:WIDTH]
