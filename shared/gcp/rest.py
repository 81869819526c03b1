"""Google's services by REST, for questions that no step of the flows asks, and so no client library is deployed for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from shared.errors import ConfigurationError, RetryableError
from shared.gcp.errors import translated

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

type Document = Mapping[str, Any]

#: Cloud Functions and Cloud Scheduler take no narrower one, not even to read.
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT = 30
_SERVICES = (
    "bigquery|cloudfunctions|cloudscheduler|cloudsql|compute|eventarc|iam|logging|monitoring|pubsub|resourcemanager"
    "|secretmanager|serviceusage|storage"
)
_PERMISSION = re.compile(rf"\b({_SERVICES})\.(?!googleapis)[a-zA-Z]+\.[a-zA-Z]+")


@dataclass(frozen=True)
class Answer:
    """What a service answered: the JSON of its body, and its clock."""

    status: int
    body: Document = field(default_factory=dict)
    date: datetime | None = None

    def found(self, what: str, remedy: str) -> Document:
        """The document. Raises ConfigurationError where it is not there, and RetryableError where nobody can tell: the
        caller may not look, or the service does not answer well.
        """
        if self.status == HTTPStatus.NOT_FOUND:
            raise ConfigurationError("does not exist", where=what, remedy=remedy)
        if self.status != HTTPStatus.OK:
            error = self.body.get("error")
            message = str(error.get("message", "")) if isinstance(error, Mapping) else ""
            told = f"could not be asked ({self.status}): {message[:300]}".rstrip(": ")
            may_not = self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            raise RetryableError(f"{lacking(message)}{told}" if may_not else told, where=what)
        return self.body


def lacking(message: str) -> str:
    """Which permission a service's refusal names (https://cloud.google.com/iam/docs/permissions-reference), as the
    beginning of a sentence.
    """
    found = _PERMISSION.search(message)
    return f"this account lacks {found[0]}: " if found else "this account lacks a permission: "


class Rest(Protocol):
    """Asks a service. Of one that is `emulated`, no more is asked than whether something is there."""

    @property
    def emulated(self) -> bool: ...

    def ask(self, url: str, body: Document | None = None) -> Answer:
        """What it answers to a GET, or with a `body` to a POST. Raises SyncError where it can't be reached."""


class GoogleRest:
    """Asks as the account that this process runs as. `emulators` are the hosts that something else stands in for."""

    def __init__(self, emulators: Mapping[str, str]) -> None:
        self._emulators = emulators

    @property
    def emulated(self) -> bool:
        return bool(self._emulators)

    @cached_property
    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        if self._emulators:
            from google.auth.credentials import AnonymousCredentials

            return AuthorizedSession(AnonymousCredentials())  # type: ignore[no-untyped-call]
        import google.auth

        return AuthorizedSession(google.auth.default(scopes=[_SCOPE])[0])  # type: ignore[no-untyped-call]

    def ask(self, url: str, body: Document | None = None) -> Answer:
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        if self._emulators and host not in self._emulators:
            raise RetryableError("is not emulated", where=host)
        url = f"{self._emulators.get(host, f'{scheme}://{host}')}/{path}"
        with translated(f"asking {host}"):
            answer = (
                self._session.get(url, timeout=_TIMEOUT)
                if body is None
                else self._session.post(url, json=body, timeout=_TIMEOUT)
            )
            date = answer.headers.get("Date")
            return Answer(answer.status_code, _json(answer), parsedate_to_datetime(date) if date else None)


def _json(answer: Any) -> Document:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
