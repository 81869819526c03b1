"""The failure vocabulary: a failure is retryable or permanent by its type, decided once, where it is first understood.

A permanent failure says what is wrong, where, and what to do about it. No message carries a value from a row or a
secret: messages go to logs, to answers, to the ledger and to terminals. A name that others wrote may be in a message,
such as an object's name: it is cut to a line's length, and escaped where it can't be printed.
"""

import json
import re

#: Bytes of what a failure says, of where it was (an object's name has 1,024 at most), and of what to do about it.
MAX_WHAT, MAX_WHERE, MAX_REMEDY = 4_000, 1_500, 1_000

#: Bytes of a message: of those three with what joins them.
MAX_MESSAGE = MAX_WHAT + MAX_WHERE + MAX_REMEDY + 4


class SyncError(Exception):
    """Base of every failure this suite raises on purpose. Raise one of the two kinds below, never this."""

    retryable: bool

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = (
            shown(what, MAX_WHAT),
            shown(where, MAX_WHERE),
            shown(remedy, MAX_REMEDY),
        )
        #: What was being worked on where it was raised: the log's fields of that place.
        self.context: dict[str, object] = {}
        super().__init__(self.what, self.where, self.remedy)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f". {self.remedy}" if self.remedy else "")


class RetryableError(SyncError):
    """The same call can succeed later with nobody's help: answer so that the caller repeats it."""

    retryable = True


class BusyError(RetryableError):
    """Another worker holds the lock on this very piece of work. Its success or its death lets the retry go on.

    `doing` is what the sessions that hold it did when this was raised. It changes from one moment to the next, and is
    in no message.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", doing: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.doing = shown(doing, MAX_WHERE)


class IncompleteError(RetryableError):
    """A snapshot still misses parts that somebody else is staging."""


class NotReachedError(RetryableError):
    """A state that was waited for has not come in time. No failure is known: it may still come by itself."""


class ConfigurationError(RetryableError):
    """The deployment is wrong, not the work: the event must outlive the redeploy that mends it, so it is retried."""


class CatalogError(ConfigurationError):
    """The work is of another version of the catalog, or of this code, than is deployed here: one of the two is about to
    be deployed. The failure is recorded nowhere, so that whatever finds the work again goes on with it.
    """


class PermanentError(SyncError):
    """Repeating the call cannot help. It is recorded, alerted and acknowledged, and everything is left as it was."""

    retryable = False


class BadRequestError(PermanentError):
    """The caller asked for something that does not exist or makes no sense: HTTP 400, nothing changed."""


class SourceError(PermanentError):
    """The BigQuery source is not what the catalog says: missing, empty, or with other columns or types."""


class DriftError(SourceError):
    """The source's columns are no longer those that the catalog takes: nothing moves until somebody mends the source or
    the catalog.
    """


class DataError(PermanentError):
    """A part, a manifest or a value in them can't become the PostgreSQL rows that the catalog promises."""


class UnreadableError(DataError):
    """A part can't be read to its end: the file is broken, or a value in it does not become what it should."""


class UnlikeCatalogError(DataError):
    """A part has columns that this catalog does not take, and another version of it may."""


class FatalWorkError(PermanentError):
    """Several workers began a piece of work, and each was killed, or ran out of time, before it had an answer."""


class TargetError(PermanentError):
    """PostgreSQL is not as the publish or refresh needs it: other columns, dependants of others, or things hung on a
    table that its parts can't keep.
    """


def printable(text: str) -> str:
    """A text in which characters are escaped that a terminal obeys, that turn its direction of writing, or that UTF-8
    has no bytes for. They are written as JSON writes them, so that a JSON document stays the same document.
    """
    return _DOUBTFUL.sub(lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text)


def shown(text: str, limit: int) -> str:
    """The beginning of a text that others may have written, printable, in `limit` bytes at most."""
    whole = printable(text[: limit + 1])
    encoded = whole.encode()
    if len(encoded) <= limit:
        return whole
    return encoded[: max(limit - len(_CUT.encode()), 0)].decode(errors="ignore") + _CUT


_DOUBTFUL = re.compile(r"[^\n -~]")
_CUT = " […]"
