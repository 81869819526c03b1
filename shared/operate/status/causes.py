"""What many failures come down to: failures of one kind, in the same words but for names and numbers,
have one cause.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from shared.operate.status.report import Acknowledgement, Cause

#: Whatever has a digit in it: a count, a time, an id, the name of a part.
_NUMBERED = re.compile(r"[\w.-]*\d[\w.,:-]*")


@dataclass(frozen=True)
class Fact:
    """A failure of `subject`; `about` are other names that its message may have."""

    at: datetime
    kind: str
    subject: str
    message: str
    over: bool = False
    about: tuple[str, ...] = ()
    acknowledged: Acknowledgement | None = None


def grouped(facts: Iterable[Fact], names: Collection[str]) -> tuple[Cause, ...]:
    """The causes: those that wait for a human, those that were acknowledged, those that are over; of each the newest
    first. `names` are what messages may differ in.
    """
    groups: dict[tuple[bool, Acknowledgement | None, str], list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: fact.at, reverse=True):
        groups.setdefault((fact.over, fact.acknowledged, identity(fact, names)), []).append(fact)
    # Sorting is stable: the newest of each come first.
    return tuple(_cause(groups[key], key[2]) for key in sorted(groups, key=lambda key: (key[0], key[1] is not None)))


def identity(fact: Fact, names: Collection[str]) -> str:
    """The id of a failure's cause, such as `DataError-1f0a9c2b`: the same for every failure of one cause."""
    words = _words(fact.message, (*names, fact.subject, *fact.about))
    return f"{fact.kind}-{hashlib.blake2b(words.encode(errors='replace'), digest_size=4).hexdigest()}"


def _cause(facts: list[Fact], named: str) -> Cause:
    newest = facts[0]
    return Cause(
        kind=newest.kind,
        message=newest.message,
        count=len(facts),
        subjects=tuple(dict.fromkeys(fact.subject for fact in facts)),
        first_at=facts[-1].at,
        last_at=newest.at,
        over=newest.over,
        id=named,
        acknowledged=newest.acknowledged,
    )


def _words(message: str, names: Iterable[str]) -> str:
    """The message without names and numbers."""
    # The longest first, for one name may be in another.
    known = "|".join(re.escape(name) for name in sorted(filter(None, names), key=len, reverse=True))
    return _NUMBERED.sub("#", re.sub(known, "#", message) if known else message)
