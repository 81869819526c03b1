"""One thing that was looked at: it is well, or this is wrong with it, or nobody can tell from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from shared import log
from shared.errors import ConfigurationError, PermanentError, SyncError


class Verdict(StrEnum):
    """What came of a check. It is unknown where this account may not look, or a service did not answer."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """What was looked at, what came of it, and what mends it: a command, a statement or a Terraform variable."""

    about: str
    verdict: Verdict
    told: str
    remedy: str = ""

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
        return Check(about, Verdict.WRONG, f"{place}{e.what}", e.remedy)
    except SyncError as e:
        return Check(about, Verdict.UNKNOWN, str(e))
    except Exception as e:  # noqa: BLE001 - an answer of another shape, or a bug; its text may quote a row
        log.error(f"a check crashed: {type(e).__name__}", e)
        return Check(about, Verdict.UNKNOWN, f"the check crashed ({type(e).__name__}): the log says where")


def wrong(what: str, where: str, remedy: str) -> ConfigurationError:
    """What a step raises of something that has to be mended before the suite is well."""
    return ConfigurationError(what, where=where, remedy=remedy)
