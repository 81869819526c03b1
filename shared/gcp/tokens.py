"""Access tokens for what reads Cloud Storage by itself: DuckDB takes one, and knows nothing of its renewal."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

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
    """The access token of the account that the function runs as, renewed in its last minutes."""

    @cached_property
    def _credentials(self) -> GoogleCredentials:
        import google.auth

        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
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
