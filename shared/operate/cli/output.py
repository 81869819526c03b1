"""What a command says: an answer on standard output, a failure in one line on standard error, an exit code."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, TextIO

import typer

from shared import log
from shared.errors import BadRequestError, NotReachedError, SyncError, printable
from shared.operate.cli import layout
from shared.operate.cli.layout import INDENT, wrapped

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

type Json = Mapping[str, object]

#: Before the second line of a text, and those after it.
CONTINUED = "  "


class Exit(IntEnum):
    """The exit codes. docs/cli.md explains them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    RETRY = 3
    HELD = 4
    DIFFERS = 5
    LATE = 6

    @classmethod
    def of(cls, error: SyncError) -> Exit:
        if isinstance(error, BadRequestError):
            return cls.USAGE
        if isinstance(error, NotReachedError):
            return cls.LATE
        return cls.RETRY if error.retryable else cls.FAILED


class Output:
    """How one command speaks: to people, or with `as_json`, to a script. Neither gets a character that a terminal
    obeys, whoever named the object or the column in which the character stands.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        #: What stands in the document of a command that fails: what it had done before.
        self.done: Json = {}

    def document(self, body: Json) -> None:
        """The command's result, for scripts only."""
        if self.as_json:
            print(printable(json.dumps(body, indent=1, default=str, ensure_ascii=False)))  # noqa: T201

    def raw(self, document: bytes) -> None:
        """A result that is a JSON document already."""
        sys.stdout.write(printable(document.decode()))

    def line(self, text: str) -> None:
        """A line of the result, or several, for people only."""
        if not self.as_json:
            width = _width(sys.stdout)
            lines = [line for part in text.split("\n") for line in wrapped(part, width, _before(part) + CONTINUED)]
            _print(lines, sys.stdout)

    def command(self, text: str) -> None:
        """A command that somebody may want to run next, whole on a line of its own; for people only."""
        if not self.as_json:
            _print([INDENT + text], sys.stdout)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table, for people only, unless it has no rows."""
        if not self.as_json and rows:
            _print([title, *layout.table(columns, rows, _width(sys.stdout)), ""], sys.stdout)

    def problem(self, text: str, commands: Sequence[str] = ()) -> None:
        """A failure, on standard error, and the commands that help, each whole on a line of its own."""
        told = wrapped(" ".join(text.split()), _width(sys.stderr), CONTINUED)
        _print([*told, *(INDENT + command for command in commands)], sys.stderr)

    def note(self, text: str) -> None:
        """What is going on, on standard error: the result is not there yet."""
        self.problem(text)

    @contextmanager
    def progress(self, doing: str, total: int | None = None) -> Iterator[Bar]:
        """A bar on standard error while the block works, when somebody looks at it; endless when `total` is unknown."""
        if self.as_json or not sys.stderr.isatty():
            yield Bar(None, None)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
        if total is not None:
            columns.insert(2, MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            yield Bar(shown, shown.add_task(doing, total=total))


class Bar:
    """A progress bar, or nothing where nobody looks."""

    def __init__(self, shown: Progress | None, task: TaskID | None) -> None:
        self._shown, self._task = shown, task

    def advance(self, by: int = 1, doing: str | None = None) -> None:
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, advance=by, description=doing)

    def reach(self, done: int) -> None:
        """Stand where so much is done: what was done already has told nothing."""
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, completed=done)

    @contextmanager
    def counting(self, *beginnings: str) -> Iterator[None]:
        """Advance with every line of the suite's log that begins so: the steps of a flow are told nowhere else."""
        handler = _Counter(self, beginnings)
        logger = logging.getLogger("recosync")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _Counter(logging.Handler):
    def __init__(self, bar: Bar, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self._bar, self._beginnings = bar, beginnings

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._beginnings):
            self._bar.advance()


class _Waits(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(log.WAITING):
            self._output.note(record.getMessage())


@contextmanager
def reporting(as_json: bool, verbose: bool) -> Iterator[Output]:
    """Run a command's work. Its failure becomes one line, with `as_json` a document too, and its exit code."""
    output = Output(as_json=as_json)
    with _log_to_stderr(verbose, output):
        try:
            yield output
        except SyncError as e:
            output.document({**output.done, "error": str(e), "retryable": e.retryable})
            output.problem(f"recosync: {e}")
            raise typer.Exit(Exit.of(e)) from None
        except BrokenPipeError:
            # Whoever read it has seen enough (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.FAILED) from None
        except Exception as e:
            if isinstance(e, typer.Exit | typer.Abort | typer.BadParameter):
                raise
            # A bug. Its text may quote a row, so it stays out, as in the functions' log.
            log.error(f"crashed: {type(e).__name__}", e)
            output.document({**output.done, "error": f"crashed: {type(e).__name__}", "retryable": False})
            output.problem(f"recosync: crashed ({type(e).__name__}): --verbose shows where")
            raise typer.Exit(Exit.FAILED) from None


class _LineFormatter(logging.Formatter):
    """`12:00:00 INFO part staged  rows=1000`, from the record that the functions print as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = json.loads(log.JsonFormatter().format(record))
        severity, message = fields.pop("severity"), fields.pop("message")
        del fields["logger"]
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        return printable(f"{self.formatTime(record, '%H:%M:%S')} {severity} {message}  {told}".rstrip())


@contextmanager
def _log_to_stderr(verbose: bool, output: Output) -> Iterator[None]:
    """The suite's log in lines for people, if they ask for it; never on standard output, which is the answer's. If they
    don't, they hear of it whom a step waits for.
    """
    logger = logging.getLogger("recosync")
    handler: logging.Handler = logging.StreamHandler() if verbose else _Waits(output)
    handler.setFormatter(_LineFormatter())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


def _print(lines: Sequence[str], stream: TextIO) -> None:
    print(printable("\n".join(lines)), file=stream, flush=True)


def _before(line: str) -> str:
    """The blanks that it begins with."""
    return line[: len(line) - len(line.lstrip(" "))]


def _width(stream: TextIO) -> int | None:
    """How many characters a line takes: as COLUMNS says, or a terminal; None for a pipe, which has no width.

    What went wrong stays one line for whoever reads it from a pipe, whatever COLUMNS says.
    """
    if stream is sys.stderr and not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        return int(given)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None
