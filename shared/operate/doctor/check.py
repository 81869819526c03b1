"""One thing that was looked at: it is well, or this is wrong with it, or nobody can tell from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from shared import log
from shared.errors import ConfigurationError, PermanentError, SyncError, shown
from shared.gcp.rest import lacking

#: Bytes of a remedy: what is cut off of a command, or of a statement for many tables, is no command any more.
MAX_REMEDY = 100_000

_FORBIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Verdict(StrEnum):
    """What came of a check. It is unknown where this account may not look, or a service did not answer."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """What was looked at, what came of it, and what mends it: a command, a statement or a Terraform variable. Where the
    account that looks may not, `forbidden` says so.
    """

    about: str
    verdict: Verdict
    told: str
    remedy: str = ""
    forbidden: bool = False

    @property
    def line(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.verdict:<7}  {self.about}: {self.told}{remedy}"


def tried(about: str, step: Callable[[], str]) -> Check:
    """The outcome of a step that tells what is well, or raises what is not."""
    try:
        return Check(about, Verdict.OK, step())
    except (PermanentError, ConfigurationError) as e:
        place = f"{e.where}: " if e.where else ""
        if is_forbidden(e):
            return Check(about, Verdict.UNKNOWN, f"{lacking(e.what)}{place}{e.what}", ROLES, forbidden=True)
        return Check(about, Verdict.WRONG, f"{place}{e.what}", e.remedy if not isinstance(e, _WrongError) else e.whole)
    except SyncError as e:
        return Check(about, Verdict.UNKNOWN, str(e))
    except Exception as e:  # noqa: BLE001 - an answer of another shape, or a bug; its text may quote a row
        log.error(f"a check crashed: {type(e).__name__}", e)
        return Check(about, Verdict.UNKNOWN, f"the check crashed ({type(e).__name__}): the log says where")


#: What mends it for a person that looks.
ROLES = "terraform output operators_roles names the roles that whoever runs recosync needs"


def is_forbidden(e: SyncError) -> bool:
    """Whether a service let this account not look: as its client library says, or a job of BigQuery."""
    return getattr(e.__cause__, "code", None) in _FORBIDDEN or e.what.startswith("accessDenied")


class _WrongError(ConfigurationError):
    """Something is wrong. `whole` is the remedy as it is, however long."""

    def __init__(self, what: str, *, where: str, remedy: str) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.whole = shown(remedy, MAX_REMEDY)


def wrong(what: str, where: str, remedy: str) -> ConfigurationError:
    """What a step raises of something that has to be mended before the suite is well."""
    return _WrongError(what, where=where, remedy=remedy)
