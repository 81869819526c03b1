"""Google's exceptions become ours once, at the boundary of an adapter."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError, PermanentError, RetryableError

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError

#: Reasons after which the same request can succeed, whatever status they come with
#: (https://cloud.google.com/bigquery/docs/error-messages, https://cloud.google.com/storage/docs/json_api/v1/status-codes).
TRANSIENT_REASONS = frozenset(
    (
        "backendError",
        "conflict",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "stopped",
        "tableUnavailable",
        "timeout",
        "userRateLimitExceeded",
    )
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise RetryableError for what the service or the network may mend, ConfigurationError where a role or a resource
    is missing, PermanentError for the rest.
    """
    # Imported here because they cost 0.3 s, which a function's start need not pay.
    import google.auth.exceptions
    import requests
    from google.api_core import exceptions as api

    try:
        yield
    except (
        api.ServerError,
        api.DeadlineExceeded,
        api.TooManyRequests,
        api.RetryError,
        google.auth.exceptions.TransportError,
        requests.RequestException,
    ) as e:
        raise RetryableError(f"Google Cloud did not answer well ({type(e).__name__})", where=doing) from e
    except google.auth.exceptions.GoogleAuthError as e:
        raise ConfigurationError(
            f"no usable credentials ({type(e).__name__})",
            where=doing,
            remedy="Run the function as an account of its own; elsewhere: gcloud auth application-default login",
        ) from e
    except (api.Forbidden, api.Unauthorized, api.NotFound) as e:
        if _is_transient(e):
            raise RetryableError(f"a limit is reached: {_message(e)}", where=doing) from e
        raise ConfigurationError(
            f"refused ({e.code}): {_message(e)}",
            where=doing,
            remedy="Make what is missing, or grant the function's account the role it lacks",
        ) from e
    except api.GoogleAPICallError as e:
        if e.code == HTTPStatus.REQUEST_TIMEOUT:  # it has no class of its own
            raise RetryableError("Google Cloud did not answer well (408)", where=doing) from e
        if _is_transient(e):
            raise RetryableError(f"Google Cloud did not answer well ({e.code})", where=doing) from e
        raise PermanentError(f"refused ({e.code}): {_message(e)}", where=doing) from e


def reason(e: "GoogleAPICallError") -> str:
    """The service's code for what went wrong; empty where it gives none."""
    return next((str(error["reason"]) for error in e.errors if isinstance(error, dict) and error.get("reason")), "")


def _is_transient(e: "GoogleAPICallError") -> bool:
    reasons = {error["reason"] for error in e.errors if isinstance(error, dict) and error.get("reason")}
    # The storage client keeps only the status of a refused upload, so a 409 without a reason means that another change
    # came first. BigQuery's duplicate has its reason, and stays permanent.
    conflict = e.code == HTTPStatus.CONFLICT and not reasons
    return conflict or not TRANSIENT_REASONS.isdisjoint(reasons)


def _message(e: Exception) -> str:
    return str(getattr(e, "message", None) or e).splitlines()[0][:500]
