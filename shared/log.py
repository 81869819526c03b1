"""JSON lines on standard output, in the fields that Cloud Logging reads.

`severity`, `message`, `logging.googleapis.com/trace` and `logging.googleapis.com/labels` are special fields of
structured logging (https://cloud.google.com/logging/docs/structured-logging); every other field lands in jsonPayload.
What is being worked on (table, snapshot, part) is bound once with `bound(...)` and stands in every line beneath it.
"""

import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from types import MappingProxyType

from shared.errors import ConfigurationError, SyncError, printable, shown

#: Bytes of a line: longer ones are hard to read, and of more than 256 KiB Cloud Logging makes several entries
#: (https://cloud.google.com/logging/quotas#log-limits).
MAX_LINE = 8_000

#: The frames of a traceback that are told, the innermost.
MAX_FRAMES = 20

_fields: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "log_fields",
    default=MappingProxyType({}),
)

#: The attribute by which a failure that is not ours takes the fields along.
_CONTEXT = "recosync_context"

_SEVERITIES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "CRITICAL",
}

#: What a line begins with that tells for whom a step waits. Commands show such lines.
WAITING = "waiting: "


class JsonFormatter(logging.Formatter):
    """One JSON object per record, of MAX_LINE bytes at most. Exceptions show their type and frames, not their text:
    drivers put row values there.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": _SEVERITIES.get(record.levelno, "DEFAULT"),
            "message": record.getMessage(),
            "logger": record.name,
            **_fields.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _safe_traceback(record.exc_info[1])
        text, limit = _encoded(line), MAX_LINE
        while len(text) > MAX_LINE and limit:
            limit //= 2
            line = {name: _cut(value, limit) for name, value in line.items()}
            text = _encoded(line)
        return text.decode()


def configure(level: int = logging.INFO) -> None:
    """Send the suite's own log to standard output as JSON lines. Safe to call again."""
    logger = logging.getLogger("recosync")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(level)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to every line logged inside the block, in this thread and in those started by `submit`.

    A failure takes the fields along, because it is logged further up.
    """
    token = _fields.set({**_fields.get(), **{k: v if isinstance(v, dict) else str(v) for k, v in fields.items()}})
    try:
        yield
    except SyncError as e:
        e.context = {**_fields.get(), **e.context}
        raise
    except Exception as e:
        e.__dict__[_CONTEXT] = {**_fields.get(), **context_of(e)}
        raise
    finally:
        _fields.reset(token)


def context_of(e: Exception) -> Mapping[str, object]:
    """The fields that were bound where it was raised."""
    found: Mapping[str, object] = e.context if isinstance(e, SyncError) else e.__dict__.get(_CONTEXT, {})
    return found


def submit[**P, R](executor: Executor, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """`executor.submit` that takes the bound fields along: a thread starts with an empty context of its own."""
    context = contextvars.copy_context()
    return executor.submit(lambda: context.run(call, *args, **kwargs))


def info(message: str, **fields: object) -> None:
    """Something an operator may want to follow."""
    _log(logging.INFO, message, fields)


def warning(message: str, cause: Exception | None = None, **fields: object) -> None:
    """Something that mends itself, but not forever. What a SyncError says follows the message."""
    _log(logging.WARNING, message, fields, cause)


def error(message: str, cause: Exception | None = None, **fields: object) -> None:
    """Something that needs a human; alert policies count these lines. What a SyncError says follows the message."""
    _log(logging.ERROR, message, fields, cause)


def failure(message: str, cause: SyncError) -> None:
    """A failure after which nothing else is owed to the caller: WARNING where a later run may succeed by itself."""
    mends = cause.retryable and not isinstance(cause, ConfigurationError)
    (warning if mends else error)(message, cause)


def _log(level: int, message: str, fields: dict[str, object], cause: Exception | None = None) -> None:
    root: BaseException | None = cause
    if cause is not None:
        fields |= {"error": type(cause).__name__}
    if isinstance(cause, SyncError):
        # What led to it is worth the frames.
        message = f"{message}: {cause}"
        fields = {**cause.context, **fields, "retryable": cause.retryable}
        root = cause.__cause__
    logging.getLogger("recosync").log(level, "%s", message, extra={"fields": fields}, exc_info=root)


def _encoded(value: object) -> bytes:
    return printable(json.dumps(value, default=str, ensure_ascii=False)).encode()


def _cut(value: object, limit: int) -> object:
    """A field's value, cut and as text if it has more than so many bytes."""
    if isinstance(value, str) and len(value) > limit:
        return shown(value, limit)
    encoded = _encoded(value)
    return value if len(encoded) <= limit else shown(value if isinstance(value, str) else encoded.decode(), limit)


def _safe_traceback(exc: BaseException) -> list[str]:
    frames = traceback.extract_tb(exc.__traceback__, limit=-MAX_FRAMES)
    return [type(exc).__name__, *(f"{f.filename}:{f.lineno} in {f.name}" for f in frames)]
