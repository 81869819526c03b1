"""Cloud Monitoring: write numbers, by its REST API. Its client library would add a dependency and its import to every
start of a function; a request is one JSON body.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol

from shared.errors import ConfigurationError
from shared.gcp.errors import translated

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

ENDPOINT = "https://monitoring.googleapis.com"

#: Series that one request may hold (https://cloud.google.com/monitoring/quotas).
MOST_SERIES = 200

_DOING = "writing to Cloud Monitoring"
_SCOPE = "https://www.googleapis.com/auth/monitoring.write"
_TIMEOUT = 30

#: How the service refuses a point that is not after the last one of its series, or comes sooner than 5 s after it
#: (https://cloud.google.com/monitoring/custom-metrics/troubleshooting): another call has just written the same.
_OVERTAKEN = ("must be written in order", "more frequently than", "older than the most recent point")


class Numbered(Protocol):
    """A number with a name and labels."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Monitoring:
    """The metrics of one project. `emulator` is the URL of what stands in for the service."""

    project: str
    environment: str
    emulator: str | None = None

    def write(self, numbers: Sequence[Numbered], at: datetime) -> None:
        """Write one point of each number, as the metric `custom.googleapis.com/recosync/{name}`. The first point makes
        the metric (https://cloud.google.com/monitoring/custom-metrics/creating-metrics#auto-creation).

        Raises RetryableError when the service does not answer well, ConfigurationError when it lacks a role, and
        PermanentError when it refuses a point for another reason than that a call at the same time wrote it, too.
        """
        from google.api_core.exceptions import from_http_response
        from google.auth.transport.requests import AuthorizedSession

        url = f"{self.emulator or ENDPOINT}/v3/projects/{self.project}/timeSeries"
        with translated(_DOING), AuthorizedSession(self._credentials()) as session:  # type: ignore[no-untyped-call]
            for body in bodies(self.environment, numbers, at):
                answer = session.post(url, json=body, timeout=_TIMEOUT)
                if answer.status_code == HTTPStatus.BAD_REQUEST and any(why in answer.text for why in _OVERTAKEN):
                    continue
                if answer.status_code == HTTPStatus.FORBIDDEN:
                    raise ConfigurationError(
                        "the account may not write metrics", where=_DOING, remedy="Grant roles/monitoring.metricWriter"
                    )
                if not answer.ok:
                    raise from_http_response(answer)  # type: ignore[no-untyped-call]

    def _credentials(self) -> "Credentials":
        if self.emulator is not None:
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        import google.auth

        found: Credentials = google.auth.default(scopes=[_SCOPE])[0]
        return found


def bodies(environment: str, numbers: Sequence[Numbered], at: datetime) -> Iterator[dict[str, Any]]:
    """The bodies of timeSeries.create
    (https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/create).
    """
    interval = {"endTime": at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    for some in batched(numbers, MOST_SERIES):
        yield {
            "timeSeries": [
                {
                    "metric": {
                        "type": f"custom.googleapis.com/recosync/{number.name}",
                        "labels": {"environment": environment, **number.labels},
                    },
                    "resource": {"type": "global"},
                    "metricKind": "GAUGE",
                    "valueType": "DOUBLE",
                    "points": [{"interval": interval, "value": {"doubleValue": float(number.value)}}],
                }
                for number in some
            ]
        }
