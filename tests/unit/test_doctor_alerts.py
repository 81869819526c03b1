"""The doctor, of who is woken and who else hears: Google's answers, in the shapes of their discovery documents."""

from __future__ import annotations

import pytest

from shared.catalog import Place, load
from shared.operate.doctor import Verdict, alerts, deployed, hearers
from shared.operate.doctor.buckets import STORAGE, Bucket
from tests.kit.google import Google, incomplete
from tests.unit.test_doctor import DEPLOYMENT, FUNCTION, LOCATION, TOPIC, WELL, changed, function, gone

EXPORT = Bucket("export", "exports", "recommendation_exports")
HOURLY = Bucket("hourly", "hours", "cloudsql_hourly", ("past_offer_context",))
MISSING, SLOW = "recosync dev: A daily snapshot is missing", "recosync dev: A view takes long to build"
CHANNEL = "projects/p/notificationChannels/1"
POLICIES, CHANNELS = f"{alerts.MONITORING}/projects/p/alertPolicies", f"{alerts.MONITORING}/{CHANNEL}"
SERIES = f"{alerts.MONITORING}/projects/p/timeSeries"
COUNT = f"{deployed.LOGGING}/projects/p/metrics/recosync_dev_refresh_seconds"
REFRESH_TRIGGER = f"{deployed.EVENTARC}/{LOCATION}/triggers/refresh"
NOTIFICATIONS = {name: f"{STORAGE}/b/{name}/notificationConfigs" for name in ("exports", "hours")}


def policy(name, query, **changes):
    return {
        "name": f"projects/p/alertPolicies/{len(name)}",
        "displayName": name,
        "enabled": True,
        "combiner": "OR",
        "notificationChannels": [CHANNEL],
        "conditions": [{"conditionPrometheusQueryLanguage": {"query": query, "duration": "0s"}}],
        **changes,
    }


#: What Google answers where all is well, besides.
ALERTED = {
    **WELL,
    POLICIES: {
        "alertPolicies": [
            policy(
                MISSING,
                'max(last_over_time(custom_googleapis_com:recosync_table_age_seconds{environment="dev"}[3h])) > 1'
                ' or max(last_over_time(custom_googleapis_com:recosync_log_gaps{environment="dev"}[3h])) > 1',
            ),
            policy(SLOW, 'rate(logging_googleapis_com:user_recosync_dev_refresh_seconds_bucket{le="1"}[30m]) > 1'),
        ],
        "totalSize": 2,
    },
    CHANNELS: {"name": CHANNEL, "type": "email", "enabled": True},
    SERIES: {"timeSeries": [{"metric": {"type": "custom.googleapis.com/recosync/table_age_seconds"}}]},
    COUNT: {"name": "recosync_dev_refresh_seconds", "filter": "severity>=ERROR"},
    FUNCTION + "mv-refresh": function(
        "mv-refresh",
        "refresh@p",
        eventTrigger={"trigger": f"{LOCATION}/triggers/refresh", "retryPolicy": "RETRY_POLICY_RETRY"},
    ),
    REFRESH_TRIGGER: {
        "transport": {
            "pubsub": {
                "topic": "projects/p/topics/published",
                "subscription": "projects/p/subscriptions/eventarc-refresh",
            }
        }
    },
    f"{TOPIC}/subscriptions": {"subscriptions": ["projects/p/subscriptions/eventarc-refresh"]},
    f"{deployed.PUBSUB}/projects/p/topics/eventarc/subscriptions": {
        "subscriptions": ["projects/p/subscriptions/eventarc-import"]
    },
    NOTIFICATIONS["hours"]: {"kind": "storage#notifications"},
}


@pytest.fixture
def google():
    google = Google(ALERTED)
    yield google
    assert google.refused == []


def known():
    refresh = b"""{"mv_refresh": {"name": "mv-refresh", "uri": "https://refresh", "service_account": "refresh@p",
                   "archive": "mv_refresh-0123456789ab.zip", "timeout_seconds": 540},"""
    names = f'"alerts": ["{MISSING}", "{SLOW}"], "functions":'.encode()
    return deployed.read(
        DEPLOYMENT.replace(b'"functions": {', b'"functions": ' + refresh).replace(b'"functions":', names), "it"
    )


def checks(google, catalog=None):
    return [
        *hearers.checks(google, known(), [EXPORT, HOURLY]),
        *alerts.checks(google, known(), catalog or load()),
    ]


def test_where_all_is_well_each_line_says_so(google):
    found = checks(google)
    assert [check.line for check in found if check.verdict is not Verdict.OK] == []
    assert [check.told for check in found] == [
        "nobody but the suite itself",
        "nobody but the suite itself",
        "nobody but the suite itself",
        "is on, and tells 1 of 1 channels",
        "is on, and tells 1 of 1 channels",
        "log_gaps, table_age_seconds have points",
        "recosync_dev_refresh_seconds are there",
    ]


BROKEN = {
    "no policy": (changed(POLICIES, "alertPolicies", 0, to=None), f"alert {MISSING}", "does not exist", "apply"),
    "one that is off": (
        changed(POLICIES, "alertPolicies", 0, "enabled", to=False),
        f"alert {MISSING}",
        "is off",
        "terraform apply turns it on",
    ),
    "one that is not valid": (
        changed(POLICIES, "alertPolicies", 1, "validity", to={"code": 3, "message": "no such metric"}),
        f"alert {SLOW}",
        "is not valid (3): no such metric",
        "terraform apply",
    ),
    "one that wakes nobody": (
        changed(POLICIES, "alertPolicies", 1, "notificationChannels", to=[]),
        f"alert {SLOW}",
        "wakes nobody",
        "Set notification_channels",
    ),
    "a channel that is off": (
        changed(CHANNELS, "enabled", to=False),
        f"alert {SLOW}",
        f"wakes nobody: {CHANNEL} is off",
        "Set notification_channels",
    ),
    "a channel that nobody has confirmed": (
        changed(CHANNELS, "verificationStatus", to="UNVERIFIED"),
        f"alert {MISSING}",
        "wakes nobody",
        "Set notification_channels",
    ),
    "no channel": (gone(CHANNELS), f"alert {MISSING}", "does not exist", "Name another in notification_channels"),
    "no numbers": (
        changed(SERIES, "timeSeries", to=None),
        "numbers that alerts read",
        "nothing was written of log_gaps, table_age_seconds for 3 hours",
        "roles/monitoring.metricWriter",
    ),
    "no count": (gone(COUNT), "counts that alerts read", "does not exist", "terraform apply"),
    "a count that is off": (
        changed(COUNT, "disabled", to=True),
        "counts that alerts read",
        "is off, and counts nothing",
        "terraform apply",
    ),
}


@pytest.mark.parametrize(("strike", "about", "told", "remedy"), BROKEN.values(), ids=BROKEN)
def test_what_would_wake_nobody_is_told(google, strike, about, told, remedy):
    strike(google)
    wrong = {check.about: check for check in checks(google) if check.verdict is Verdict.WRONG}
    assert (told in wrong[about].told, remedy in wrong[about].remedy) == (True, True), wrong[about].line
    assert [command for check in wrong.values() for command in incomplete(check.remedy)] == []


def test_all_pages_of_policies_are_read(google, monkeypatch):
    first, second = ({"alertPolicies": [each]} for each in google.documents[POLICIES]["alertPolicies"])
    pages = iter([{**first, "nextPageToken": "more"}, second])
    ask = google.ask

    def paged(url, body=None):
        if url.startswith(f"{POLICIES}?"):
            google.documents[POLICIES] = next(pages)
        return ask(url, body)

    monkeypatch.setattr(google, "ask", paged)
    assert [check.line for check in checks(google) if check.verdict is not Verdict.OK] == []


def test_numbers_of_what_the_catalog_does_not_have_are_not_missed(google, tmp_path):
    (tmp_path / "catalog.toml").write_text(
        "[tables.t]\nsource = 'acme-project.stock.t'\n[tables.t.columns]\nn = 'bigint'\n"
    )
    told = [check.told for check in checks(google, load(Place.of(tmp_path)))]
    assert "table_age_seconds have points" in told


def test_others_that_hear_are_told_and_not_judged(google):
    theirs = "projects/other/subscriptions/theirs"
    google.documents[f"{TOPIC}/subscriptions"]["subscriptions"].append(theirs)
    google.documents[NOTIFICATIONS["hours"]]["items"] = [
        {"topic": "//pubsub.googleapis.com/projects/other/topics/hours"}
    ]
    google.documents[f"{deployed.PUBSUB}/projects/other/topics/hours/subscriptions"] = {}
    found = {check.about: (check.verdict, check.told) for check in checks(google)}
    assert found["hearers of published"] == (Verdict.OK, f"also {theirs}")
    silent = "nobody but the suite itself; projects/other/topics/hours is told, and nobody subscribes to it"
    assert found["hearers of hours"] == (Verdict.OK, silent)


def test_a_deployment_that_names_no_alerts_is_asked_for_none(google):
    found = alerts.checks(google, deployed.read(DEPLOYMENT, "deployment.json"), load())
    assert list(found) == []
