"""The doctor, of what no emulator has: Google's answers, in the shapes of their discovery documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import BadRequestError
from shared.operate.doctor import Verdict, buckets, deployed
from shared.operate.doctor.buckets import Bucket, Place
from tests.kit.google import Google, incomplete

EXPORT = Bucket("export", "exports", "recommendation_exports")
HOURLY = Bucket("hourly", "hours", "cloudsql_hourly", ("past_offer_context",))
AGENT = "service-1@gs-project-accounts.iam.gserviceaccount.com"
PERMISSIONS = buckets.PERMISSIONS["operator"]

DEPLOYMENT = b"""{
 "project": "p", "region": "europe-west1", "topic": "projects/p/topics/published",
 "message_topics": ["projects/p/topics/refreshed", "projects/p/topics/hour-done"],
 "connections": {"needed": 60, "free": 90},
 "functions": {
  "gcs_import": {"name": "gcs-import", "uri": "https://import", "service_account": "import@p",
                 "archive": "gcs_import-0123456789ab.zip", "timeout_seconds": 540},
  "bq_export": {"name": "bq-export", "uri": "https://export", "service_account": "export@p",
                "archive": "bq_export-0123456789ab.zip", "timeout_seconds": 1800}},
 "schedules": [{"name": "daily", "function": "bq_export", "time_zone": "Etc/UTC", "paused": false}]
}"""


def bucket(role, **changes):
    prefixes = {"export": ["recommendation_exports/"], "hourly": ["cloudsql_hourly/past_offer_context/date="]}[role]
    return {
        "kind": "storage#bucket",
        "location": "EUROPE-WEST1",
        "locationType": "region",
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
        "softDeletePolicy": {"retentionDurationSeconds": "0" if role == "export" else "604800"},
        "lifecycle": {
            "rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 14, "matchesPrefix": prefixes}},
                {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
            ]
        },
        **changes,
    }


def function(name, account, **changes):
    return {
        "name": f"projects/p/locations/europe-west1/functions/{name}",
        "state": "ACTIVE",
        "buildConfig": {
            "source": {"storageSource": {"bucket": "source", "object": f"{name.replace('-', '_')}-0123456789ab.zip"}}
        },
        "serviceConfig": {"serviceAccountEmail": account, "revision": f"{name}-00001-abc"},
        **changes,
    }


LOCATION = "projects/p/locations/europe-west1"
FUNCTION, TRIGGER = f"{deployed.FUNCTIONS}/{LOCATION}/functions/", f"{deployed.EVENTARC}/{LOCATION}/triggers/import"
SUBSCRIPTION = f"{deployed.PUBSUB}/projects/p/subscriptions/eventarc-import"
REFRESHED = f"{deployed.PUBSUB}/projects/p/topics/refreshed"
TOPIC, JOB = f"{deployed.PUBSUB}/projects/p/topics/published", f"{deployed.SCHEDULER}/{LOCATION}/jobs/daily"
NOTIFICATIONS = f"{buckets.STORAGE}/b/exports/notificationConfigs"
POLICY = f"{deployed.PROJECTS}/projects/p:getIamPolicy"
EVENT = {
    "trigger": f"{LOCATION}/triggers/import",
    "eventType": "google.cloud.storage.object.v1.finalized",
    "retryPolicy": "RETRY_POLICY_RETRY",
}

#: What Google answers where all is well.
WELL = {
    f"{buckets.STORAGE}/b/exports": bucket("export"),
    f"{buckets.STORAGE}/b/hours": bucket("hourly"),
    f"{buckets.STORAGE}/b/exports/iam/testPermissions": {"permissions": list(PERMISSIONS["export"])},
    f"{buckets.STORAGE}/b/hours/iam/testPermissions": {"permissions": list(PERMISSIONS["hourly"])},
    NOTIFICATIONS: {
        "items": [{"topic": "//pubsub.googleapis.com/projects/p/topics/eventarc", "event_types": ["OBJECT_FINALIZE"]}]
    },
    f"{buckets.STORAGE}/projects/p/serviceAccount": {"email_address": AGENT},
    POLICY: {"bindings": [{"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{AGENT}"]}]},
    TOPIC: {"name": "projects/p/topics/published"},
    REFRESHED: {"name": "projects/p/topics/refreshed"},
    f"{deployed.PUBSUB}/projects/p/topics/hour-done": {"name": "projects/p/topics/hour-done"},
    FUNCTION + "gcs-import": function("gcs-import", "import@p", eventTrigger=EVENT),
    FUNCTION + "bq-export": function("bq-export", "export@p"),
    TRIGGER: {
        "transport": {
            "pubsub": {
                "topic": "projects/p/topics/eventarc",
                "subscription": "projects/p/subscriptions/eventarc-import",
            }
        }
    },
    SUBSCRIPTION: {
        "ackDeadlineSeconds": 600,
        "messageRetentionDuration": "86400s",
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
    },
    JOB: {
        "name": f"{LOCATION}/jobs/daily",
        "state": "ENABLED",
        "timeZone": "Etc/UTC",
        # Cloud Scheduler puts a slash behind the address.
        "httpTarget": {"uri": "https://export/", "oidcToken": {"audience": "https://export"}},
    },
}


@pytest.fixture
def google():
    google = Google(WELL)
    yield google
    assert google.refused == []


def checks(google):
    known = deployed.read(DEPLOYMENT, "deployment.json")
    return [
        *buckets.checks(google, EXPORT, PERMISSIONS["export"]),
        *buckets.checks(google, HOURLY, PERMISSIONS["hourly"]),
        *deployed.checks(google, known, EXPORT),
    ]


def test_where_all_is_well_each_line_says_so(google):
    assert [check.line for check in checks(google) if check.verdict is not Verdict.OK] == []
    assert len(checks(google)) == 26


def changed(url, *path, to):
    """One value of one answer is another."""

    def change(google):
        at = google.documents[url]
        for step in path[:-1]:
            at = at[step]
        if to is None:
            del at[path[-1]]
        else:
            at[path[-1]] = to

    return change


def gone(url):
    return lambda google: google.documents.pop(url)


EXPORTS, HOURS = f"{buckets.STORAGE}/b/exports", f"{buckets.STORAGE}/b/hours"
RULES = ("lifecycle", "rule", 0)

#: What is broken, the check that tells it, what it tells, and what mends it.
BROKEN = {
    "no bucket": (gone(EXPORTS), "bucket exports", "does not exist", "bucket_names.export"),
    "access lists": (
        changed(EXPORTS, "iamConfiguration", "uniformBucketLevelAccess", "enabled", to=False),
        "access to exports",
        "access lists",
        "--uniform-bucket-level-access",
    ),
    "versions": (changed(HOURS, "versioning", to={"enabled": True}), "versions in hours", "version", "--no-versioning"),
    "soft delete": (
        changed(EXPORTS, "softDeletePolicy", "retentionDurationSeconds", to="604800"),
        "soft delete of exports",
        "7 days",
        "--clear-soft-delete",
    ),
    "no soft delete": (
        changed(HOURS, "softDeletePolicy", to=None),
        "soft delete of hours",
        "0 days only",
        "--soft-delete-duration=7d",
    ),
    "retention policy": (
        changed(EXPORTS, "retentionPolicy", to={"retentionPeriod": "86400"}),
        "retention policy of exports",
        "neither replaced nor deleted",
        "--clear-retention-period",
    ),
    "no lifecycle": (
        changed(EXPORTS, "lifecycle", to=None),
        "lifecycle of exports",
        "no snapshot is ever",
        "terraform apply",
    ),
    "snapshots go soon": (
        changed(EXPORTS, *RULES, "condition", "age", to=1),
        "lifecycle of exports",
        "after 1 days",
        "retention.snapshots",
    ),
    "another prefix": (
        changed(EXPORTS, *RULES, "condition", "matchesPrefix", to=["other/"]),
        "lifecycle of exports",
        "no snapshot is ever",
        "terraform apply",
    ),
    "hours that stay": (
        changed(HOURS, *RULES, "condition", "matchesPrefix", to=["other-team/"]),
        "lifecycle of hours",
        "no hour of past_offer_context",
        "terraform apply",
    ),
    "a policy that is locked": (
        changed(EXPORTS, "retentionPolicy", to={"retentionPeriod": "86400", "isLocked": True}),
        "retention policy of exports",
        "is locked",
        "Name another bucket in bucket_names.export",
    ),
    "objects that are held": (
        changed(HOURS, "defaultEventBasedHold", to=True),
        "retention policy of hours",
        "each object is held",
        "--no-default-event-based-hold",
    ),
    "lifecycle takes manifests": (
        changed(HOURS, *RULES, "condition", "matchesPrefix", to=["cloudsql_hourly/"]),
        "lifecycle of hours",
        "deletes manifests",
        "matchesPrefix",
    ),
    "lifecycle takes all": (
        changed(HOURS, *RULES, "condition", "matchesPrefix", to=None),
        "lifecycle of hours",
        "deletes manifests",
        "matchesPrefix",
    ),
    "others pay": (
        changed(EXPORTS, "billing", to={"requesterPays": True}),
        "bill of exports",
        "whoever asks for its objects has to pay",
        "gcloud storage buckets update gs://exports --no-requester-pays",
    ),
    "no right": (
        lambda google: google.documents[EXPORTS + "/iam/testPermissions"]["permissions"].remove(
            "storage.objects.delete"
        ),
        "permissions on exports",
        "lacks storage.objects.delete",
        "roles/storage.objectUser",
    ),
    "no topic": (gone(TOPIC), "topic published", "does not exist", "terraform apply"),
    "no topic of views": (gone(REFRESHED), "topic refreshed", "does not exist", "terraform apply"),
    "function not active": (
        changed(FUNCTION + "bq-export", "state", to="FAILED"),
        "function bq-export",
        "FAILED",
        "terraform apply",
    ),
    "other code": (
        changed(FUNCTION + "bq-export", "buildConfig", "source", "storageSource", "object", to="bq_export-old.zip"),
        "function bq-export",
        "built from bq_export-old.zip",
        "terraform apply",
    ),
    "other account": (
        changed(FUNCTION + "bq-export", "serviceConfig", "serviceAccountEmail", to="somebody@p"),
        "function bq-export",
        "runs as somebody@p",
        "terraform apply",
    ),
    "no trigger": (
        changed(FUNCTION + "gcs-import", "eventTrigger", to=None),
        "trigger of gcs-import",
        "has no trigger",
        "terraform apply -replace='module.function[\"gcs_import\"].google_cloudfunctions2_function.this'",
    ),
    "events are not retried": (
        changed(FUNCTION + "gcs-import", "eventTrigger", "retryPolicy", to="RETRY_POLICY_DO_NOT_RETRY"),
        "trigger of gcs-import",
        "not sent again",
        "retry_events = true",
    ),
    "short deadline": (
        changed(SUBSCRIPTION, "ackDeadlineSeconds", to=10),
        "trigger of gcs-import",
        "waits 10 s",
        "gcloud pubsub subscriptions update projects/p/subscriptions/eventarc-import --ack-deadline=600",
    ),
    "short retention": (
        changed(SUBSCRIPTION, "messageRetentionDuration", to="600s"),
        "trigger of gcs-import",
        "for 600s only",
        "--message-retention-duration=1d",
    ),
    "no pause": (
        changed(SUBSCRIPTION, "retryPolicy", to=None),
        "trigger of gcs-import",
        "at once",
        "--min-retry-delay=10s",
    ),
    "no notification": (
        changed(NOTIFICATIONS, "items", to=[]),
        "notification of exports",
        "tells the trigger of gcs_import nothing",
        "terraform apply",
    ),
    "notification of deletions": (
        changed(NOTIFICATIONS, "items", 0, "event_types", to=["OBJECT_DELETE"]),
        "notification of exports",
        "tells the trigger of gcs_import nothing",
        "terraform apply",
    ),
    "notification of others": (
        changed(NOTIFICATIONS, "items", 0, "topic", to="//pubsub.googleapis.com/projects/p/topics/theirs"),
        "notification of exports",
        "tells the trigger of gcs_import nothing",
        "-replace=",
    ),
    "notification of a folder": (
        changed(NOTIFICATIONS, "items", 0, "object_name_prefix", to="other/"),
        "notification of exports",
        "tells the trigger of gcs_import nothing",
        "-replace=",
    ),
    "agent may not publish": (
        changed(POLICY, "bindings", 0, "members", to=["user:a@b"]),
        "Cloud Storage's account",
        "may not publish",
        "roles/pubsub.publisher",
    ),
    "job paused": (
        changed(JOB, "state", to="PAUSED"),
        "job daily",
        "is PAUSED",
        "gcloud scheduler jobs resume daily --location=europe-west1 --project=p",
    ),
    "job that is off": (changed(JOB, "state", to="DISABLED"), "job daily", "is DISABLED", "terraform apply"),
    "job calls another": (
        changed(JOB, "httpTarget", "uri", to="https://old"),
        "job daily",
        "calls https://old",
        "apply",
    ),
    "job's audience": (
        changed(JOB, "httpTarget", "oidcToken", "audience", to="https://old"),
        "job daily",
        "a token for https://old",
        "apply",
    ),
    "job's zone": (changed(JOB, "timeZone", to="Europe/Paris"), "job daily", "planned in Europe/Paris", "apply"),
    "job failed": (changed(JOB, "status", to={"code": 7}), "job daily", "code 7", "log of the function"),
    "clock": (
        lambda google: setattr(google, "date", datetime.now(UTC) - timedelta(minutes=5)),
        "clock",
        "off Google's",
        "Set it right",
    ),
}


@pytest.mark.parametrize(("strike", "about", "told", "remedy"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_told_with_what_mends_it(google, strike, about, told, remedy):
    strike(google)
    wrong = [check for check in checks(google) if check.verdict is Verdict.WRONG]
    (found,) = [check for check in wrong if check.about == about]
    assert (told in found.told, remedy in found.remedy) == (True, True), found.line
    assert incomplete(found.remedy) == []


@pytest.mark.parametrize("status", [403, 500])
def test_what_this_account_may_not_look_at_is_unknown(google, status):
    google.status[JOB] = status
    assert [(c.about, c.verdict) for c in checks(google) if c.verdict is not Verdict.OK] == [
        ("job daily", Verdict.UNKNOWN)
    ]


def test_a_bucket_whose_objects_may_be_kept_is_told(google):
    google.documents[EXPORTS]["objectRetention"] = {"mode": "Enabled"}
    (check,) = [check for check in checks(google) if check.about == "retention policy of exports"]
    assert (check.verdict, "neither replaced nor deleted" in check.told) == (Verdict.OK, True)


def test_a_permission_that_this_account_lacks_is_named(google):
    google.status[JOB] = 403
    (check,) = [check for check in checks(google) if check.about == "job daily"]
    assert "this account lacks cloudscheduler.jobs.get: could not be asked (403)" in check.told


def test_a_job_that_is_paused_on_purpose_is_well(google):
    google.documents[JOB]["state"] = "PAUSED"
    known = deployed.read(DEPLOYMENT.replace(b'"paused": false', b'"paused": true'), "deployment.json")
    *_, last = deployed.checks(google, known, EXPORT)
    assert last.line == "ok       job daily: is paused on purpose"


LINES = f"{deployed.LOGGING}/entries:list"


def test_a_function_that_was_called_for_what_is_not_its_own_has_its_events(google):
    google.documents[LINES] = {"entries": [{"jsonPayload": {"outcome": "foreign"}}]}
    check = deployed.called(google, deployed.read(DEPLOYMENT, "deployment.json"), datetime.now(UTC))
    assert check.line == "ok       events of gcs_import: is called for what is written to the bucket"


def test_a_function_that_no_event_reaches(google, monkeypatch):
    monkeypatch.setattr(deployed, "EVENT_PATIENCE", 0)
    monkeypatch.setattr(deployed, "EVENT_PAUSE", 0)
    google.documents[LINES] = {}
    check = deployed.called(google, deployed.read(DEPLOYMENT, "deployment.json"), datetime.now(UTC))
    assert (check.verdict, "was not called within 0 s" in check.told) == (Verdict.WRONG, True)


def test_a_job_that_runs_though_it_should_be_paused(google):
    known = deployed.read(DEPLOYMENT.replace(b'"paused": false', b'"paused": true'), "deployment.json")
    *_, last = deployed.checks(google, known, EXPORT)
    assert (last.verdict, "is ENABLED, and schedules.paused is true" in last.told) == (Verdict.WRONG, True)


def test_a_rule_for_what_is_not_live_or_has_another_ending_is_none_for_manifests(google):
    rules = google.documents[HOURS]["lifecycle"]["rule"]
    rules.append({"action": {"type": "Delete"}, "condition": {"age": 1, "isLive": False}})
    rules.append({"action": {"type": "Delete"}, "condition": {"age": 1, "matchesSuffix": [".tmp"]}})
    assert [check.line for check in checks(google) if check.verdict is not Verdict.OK] == []


def test_a_catalog_without_logs_has_no_hours_to_delete(google):
    google.documents[HOURS]["lifecycle"] = {}
    bucket = Bucket("hourly", "hours", "cloudsql_hourly")
    assert [c.line for c in buckets.checks(google, bucket, ()) if c.verdict is not Verdict.OK] == []


def test_an_account_that_may_not_look_at_the_bucket_is_asked_for_its_permissions_alone(google):
    google.status[EXPORTS] = 403
    (check,) = buckets.checks(google, EXPORT, PERMISSIONS["export"], whole=False)
    assert (check.about, check.verdict) == ("permissions on exports", Verdict.OK)


def test_an_answer_of_another_shape_ends_no_other_check(google):
    google.documents[f"{buckets.STORAGE}/projects/p/serviceAccount"] = {}
    broken = [(c.about, c.verdict, c.told) for c in checks(google) if c.verdict is not Verdict.OK]
    told = "the check crashed (KeyError): the log says where"
    assert broken == [("Cloud Storage's account", Verdict.UNKNOWN, told)]


def test_another_file_is_refused():
    with pytest.raises(BadRequestError, match="terraform output -json deployment"):
        deployed.read(b'{"project": "p"}', "other.json")


@pytest.mark.parametrize(
    ("location", "dataset", "fits"),
    [
        ({"location": "EUROPE-WEST1"}, "europe-west1", True),
        ({"location": "EUROPE-WEST1"}, "EU", True),
        ({"location": "EU"}, "EU", True),
        ({"location": "EUR4"}, "EU", True),
        ({"location": "EUR4"}, "europe-west4", True),
        (
            {"location": "EU", "customPlacementConfig": {"dataLocations": ["EUROPE-WEST1", "EUROPE-WEST2"]}},
            "europe-west1",
            True,
        ),
        ({"location": "US-CENTRAL1"}, "US", True),
        ({"location": "EUROPE-WEST1"}, "US", False),
        ({"location": "EUROPE-WEST1"}, "europe-west4", False),
        ({"location": "EUROPE-WEST2"}, "EU", False),
        ({"location": "US"}, "EU", False),
        ({"location": "EU"}, "europe-west1", False),
        ({"location": "ASIA1"}, "asia-northeast1", True),
    ],
)
def test_a_bucket_fits_a_data_set_where_the_jobs_of_it_may_read_and_write(location, dataset, fits):
    assert Place.of(location).fits(dataset) is fits
