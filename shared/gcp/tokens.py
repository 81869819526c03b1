"""Access tokens for what knows nothing of their renewal: DuckDB, which reads Cloud Storage by itself, and PostgreSQL,
which takes one for a password.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

#: What a token is good for: to read objects, or to log in to an instance of Cloud SQL and nothing else
#: (https://cloud.google.com/sql/docs/postgres/iam-logins).
READ_OBJECTS = "https://www.googleapis.com/auth/devstorage.read_only"
LOG_IN = "https://www.googleapis.com/auth/sqlservice.login"

#: Seconds of life that a token needs at the start of a read. The metadata server has no fresher one before the last
#: five minutes; a token that ends in mid-read fails it, and the retry has a new one.
TOKEN_MARGIN = 240


class AccessToken(Protocol):
    """Where bearer tokens come from."""

    def get(self, *, renew: bool) -> str | None:
        """A token to start a read with, a new one on `renew`; None where none is needed."""


class NoToken:
    """The emulator asks for none."""

    def get(self, *, renew: bool) -> None:
        return None


class FunctionToken:
    """The access token of the account that the function runs as, of one scope, renewed in its last minutes."""

    def __init__(self, scope: str = READ_OBJECTS) -> None:
        self._scope = scope

    @cached_property
    def _credentials(self) -> GoogleCredentials:
        import google.auth

        from shared.gcp.errors import translated

        with translated("looking for credentials"):
            credentials, _ = google.auth.default(scopes=[self._scope])
        return credentials

    def get(self, *, renew: bool) -> str | None:
        from datetime import UTC, datetime, timedelta

        from google.auth.transport.requests import Request

        from shared.gcp.errors import translated

        soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=TOKEN_MARGIN)
        expiry = self._credentials.expiry
        if renew or self._credentials.token is None or (expiry is not None and expiry < soon):
            with translated("renewing the access token"):
                self._credentials.refresh(Request())
        return self._credentials.token


class GoogleCredentials(Protocol):
    """The part of google.auth.credentials.Credentials that is used here; `expiry` is naive UTC."""

    token: str | None

    @property
    def expiry(self) -> datetime | None: ...

    def refresh(self, request: object) -> None: ...
