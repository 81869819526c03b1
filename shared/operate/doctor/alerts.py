"""Whether somebody is woken: each alert policy, whom it tells, and that what it reads is written.

Before the first call of hourly_export nothing is written, and that is told as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlencode

from shared.catalog import Catalog
from shared.gcp.rest import Rest
from shared.operate.doctor.check import Check, tried, wrong
from shared.operate.doctor.deployed import LOGGING, Deployment

MONITORING = "https://monitoring.googleapis.com/v3"

#: How old the last point of a gauge may be: hourly_export writes each after each call, and alerts look as far back.
FRESH = timedelta(hours=3)

_APPLY = "terraform apply"
_TYPE = "custom.googleapis.com/recosync"
#: How PromQL spells metrics (https://cloud.google.com/monitoring/promql/promql-mapping#translate-google-cloud).
_GAUGE = re.compile(r"custom_googleapis_com:recosync_(\w+)")
_LOGGED = re.compile(r"logging_googleapis_com:user_(\w+?)(?:_bucket|_count|_sum)?\{")
_ENVIRONMENT = re.compile(r'environment="([^"]+)"')


def checks(rest: Rest, deployment: Deployment, catalog: Catalog) -> Iterator[Check]:
    """Each policy of the deployment, and each metric that the policies read."""
    of = _Alerts(rest, deployment, catalog)
    for name in deployment.alerts:
        yield tried(f"alert {name}", partial(of.policy, name))
    if deployment.alerts:
        yield tried("numbers that alerts read", of.gauges)
        yield tried("counts that alerts read", of.counts)


class _Alerts:
    def __init__(self, rest: Rest, deployment: Deployment, catalog: Catalog) -> None:
        self._rest, self._deployment, self._catalog = rest, deployment, catalog

    @property
    def _project(self) -> str:
        return f"projects/{self._deployment.project}"

    @cached_property
    def _policies(self) -> Mapping[str, Mapping[str, Any]]:
        """By https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies/list."""
        found: dict[str, Mapping[str, Any]] = {}
        token: str | None = ""
        while token is not None:
            query = urlencode({"pageSize": 1000, **({"pageToken": token} if token else {})})
            page = self._rest.ask(f"{MONITORING}/{self._project}/alertPolicies?{query}").found("alerts", _APPLY)
            found.update({str(each.get("displayName")): each for each in page.get("alertPolicies", ())})
            token = page.get("nextPageToken") or None
        return found

    def policy(self, name: str) -> str:
        found = self._policies.get(name)
        if found is None:
            raise wrong("does not exist", name, f"{_APPLY} makes it")
        if found.get("enabled") is False:
            raise wrong("is off", name, f"{_APPLY} turns it on")
        if code := found.get("validity", {}).get("code"):
            raise wrong(f"is not valid ({code}): {found['validity'].get('message', '')}", name, _APPLY)
        channels = found.get("notificationChannels", ())
        if not channels:
            raise wrong("wakes nobody", name, "Set notification_channels")
        off = [channel for channel in channels if not self._is_on(channel)]
        if len(off) == len(channels):
            raise wrong(f"wakes nobody: {', '.join(off)} is off", name, "Set notification_channels to one that is on")
        return f"is on, and tells {len(channels) - len(off)} of {len(channels)} channels"

    def _is_on(self, channel: str) -> bool:
        """By https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.notificationChannels."""
        found = self._rest.ask(f"{MONITORING}/{channel}").found(channel, "Name another in notification_channels")
        return found.get("enabled") is not False and found.get("verificationStatus") != "UNVERIFIED"

    @property
    def _queries(self) -> str:
        """The queries of the deployment's policies, one after the other."""
        return "\n".join(
            str(condition.get("conditionPrometheusQueryLanguage", {}).get("query", ""))
            for name in self._deployment.alerts
            for condition in self._policies.get(name, {}).get("conditions", ())
        )

    def gauges(self) -> str:
        """Whether each has a point (https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list).
        Those of what the catalog does not have are never written.
        """
        queries, now = self._queries, datetime.now(UTC)
        environments = set(_ENVIRONMENT.findall(queries))
        kinds = {"table_": self._catalog.tables, "log_": self._catalog.hourly}
        names = sorted(
            name
            for name in set(_GAUGE.findall(queries))
            if all(there or not name.startswith(kind) for kind, there in kinds.items())
        )
        silent = [name for name in names for of in environments if not self._has_points(name, of, now)]
        if silent:
            raise wrong(
                f"nothing was written of {', '.join(silent)} for {FRESH / timedelta(hours=1):g} hours",
                "hourly_export",
                "Call it; if that mends nothing, its log says why: it needs roles/monitoring.metricWriter",
            )
        return f"{', '.join(names)} have points" if names else "there are none"

    def _has_points(self, name: str, environment: str, now: datetime) -> bool:
        query = {
            "filter": f'metric.type="{_TYPE}/{name}" AND metric.labels.environment="{environment}"',
            "interval.startTime": f"{now - FRESH:%Y-%m-%dT%H:%M:%SZ}",
            "interval.endTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "view": "HEADERS",
            "pageSize": 1,
        }
        url = f"{MONITORING}/{self._project}/timeSeries?{urlencode(query)}"
        return bool(self._rest.ask(url).found(name, _APPLY).get("timeSeries"))

    def counts(self) -> str:
        """Whether what counts lines of the log is there
        (https://cloud.google.com/logging/docs/reference/v2/rest/v2/projects.metrics). Most have no point on a good day.
        """
        names = sorted(set(_LOGGED.findall(self._queries)))
        for name in names:
            found = self._rest.ask(f"{LOGGING}/{self._project}/metrics/{name}").found(name, f"{_APPLY} makes it")
            if found.get("disabled"):
                raise wrong("is off, and counts nothing", name, f"{_APPLY} turns it on")
        return f"{', '.join(names)} are there"
