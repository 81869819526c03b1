"""Cloud Monitoring on loopback: it takes points as the service does, refuses what that refuses, and keeps the rest.

The rules are those of timeSeries.create
(https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/create), of custom metrics
(https://cloud.google.com/monitoring/custom-metrics/creating-metrics) and of their quotas
(https://cloud.google.com/monitoring/quotas#custom_metrics_quotas).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local import discovery

_PATH = re.compile(r"/v3/projects/([a-z][a-z0-9:.-]{2,}[a-z0-9])/timeSeries")
_TYPE = re.compile(r"custom\.googleapis\.com/[A-Za-z0-9_][A-Za-z0-9_/]{0,199}")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,99}")
_SERIES = {"metric", "resource", "metricKind", "valueType", "points"}
_MOST_SERIES, _MOST_LABELS = 200, 30
_PAST, _FUTURE = timedelta(hours=25), timedelta(minutes=5)

#: The name of a series in a project: its metric, without what comes before the last slash, and its labels.
type Key = tuple[str, str, frozenset[tuple[str, str]]]


class RefusedError(Exception):
    """What the service would say with 400."""


@dataclass
class Series:
    """The points of each series, by the project, the metric's short name and its labels."""

    points: dict[Key, list[tuple[datetime, float]]] = field(default_factory=dict)

    def take(self, project: str, body: Mapping[str, Any], now: datetime) -> None:
        """Keep a request's points, all of them or none. Raises RefusedError."""
        many = body.get("timeSeries")
        if set(body) != {"timeSeries"} or not isinstance(many, list) or not 0 < len(many) <= _MOST_SERIES:
            raise RefusedError(f"Field timeSeries must have 1 to {_MOST_SERIES} elements, and be the only one")
        found = [_point(project, series, now) for series in many]
        if len({key for key, _, _ in found}) < len(found):
            raise RefusedError("Duplicate TimeSeries encountered: only one point can be written per TimeSeries")
        for key, at, _ in found:
            if any(at <= known for known, _ in self.points.get(key, [])):
                raise RefusedError("Points must be written in order: one or more of them is not after the last one")
        for key, at, value in found:
            self.points.setdefault(key, []).append((at, value))

    def last(self, project: str, name: str) -> dict[str, float]:
        """The last value of each series of a metric, by its label, or by nothing where it has none of its own."""
        return {
            ", ".join(value for label, value in sorted(labels) if label != "environment"): points[-1][1]
            for (of, metric, labels), points in self.points.items()
            if (of, metric) == (project, name)
        }


def _point(project: str, series: Mapping[str, Any], now: datetime) -> tuple[Key, datetime, float]:
    if not set(series) <= _SERIES:
        raise RefusedError(f"Unknown name {sorted(set(series) - _SERIES)} at 'time_series'")
    metric, labels = series["metric"]["type"], series["metric"].get("labels", {})
    if not _TYPE.fullmatch(metric):
        raise RefusedError(f"The metric type must be below custom.googleapis.com: {metric}")
    if len(labels) > _MOST_LABELS or not all(_LABEL.fullmatch(label) for label in labels):
        raise RefusedError("A label is a lower case word, and a metric has 30 at most")
    if series["resource"] != {"type": "global"}:
        raise RefusedError("The resource must be known, with its labels")
    if (series["metricKind"], series["valueType"]) != ("GAUGE", "DOUBLE"):
        raise RefusedError("The kind is not that of the descriptor")
    if len(series["points"]) != 1:
        raise RefusedError("Field points must have one element")
    (point,) = series["points"]
    if set(point) != {"interval", "value"} or set(point["interval"]) != {"endTime"}:
        raise RefusedError("A gauge's point has an end and a value")
    at = datetime.fromisoformat(point["interval"]["endTime"])
    if not now - _PAST <= at <= now + _FUTURE:
        raise RefusedError("The end time must be at most 25 hours in the past and 5 minutes in the future")
    key = (project, metric.rsplit("/", 1)[1], frozenset(labels.items()))
    return key, at, float(point["value"]["doubleValue"])


class Monitoring:
    """The service, in a thread of this process."""

    def __init__(self) -> None:
        self.series = Series()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.series = self.series  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        path = _PATH.fullmatch(self.path)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if path is None:
            self._answer(HTTPStatus.NOT_FOUND, {})
            return
        try:
            discovery.service("monitoring.v3").check("POST", self.path, content)
            self.server.series.take(path[1], json.loads(content), datetime.now(UTC))  # type: ignore[attr-defined]
        except (RefusedError, discovery.UnknownError, KeyError, TypeError, ValueError) as e:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": {"code": 400, "message": str(e)}})
        else:
            self._answer(HTTPStatus.OK, {})

    def _answer(self, status: HTTPStatus, body: Mapping[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: what is written is asked for."""
