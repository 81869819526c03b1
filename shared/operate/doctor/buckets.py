"""The buckets, by the documents that Cloud Storage has of them
(https://cloud.google.com/storage/docs/json_api/v1/buckets#resource).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from shared.gcp.rest import Document, Rest
from shared.hourly.names import LogFolder
from shared.names import EPOCH
from shared.operate.doctor.check import Check, Verdict, tried, wrong

STORAGE = "https://storage.googleapis.com/storage/v1"

#: Days for which deleted objects of the hourly bucket can be restored, as docs/runbook.md promises.
SOFT_DELETE_DAYS = 7

_READ = ("storage.objects.get", "storage.objects.list")
_WRITE = (*_READ, "storage.objects.create", "storage.objects.delete")

#: What each account needs to be permitted of the two buckets. A load of BigQuery looks at the bucket as well
#: (https://cloud.google.com/bigquery/docs/batch-loading-data#permissions-load-data-from-cloud-storage).
PERMISSIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "bq_export": {"export": _WRITE},
    "hourly_export": {"export": _WRITE, "hourly": (*_WRITE, "storage.buckets.get")},
    "operator": {"export": _WRITE, "hourly": (*_WRITE, "storage.buckets.get")},
}

#: The regions of the dual-regions that have a name
#: (https://cloud.google.com/storage/docs/locations#predefined-dual-regions).
_DUAL = {
    "ASIA1": ("ASIA-NORTHEAST1", "ASIA-NORTHEAST2"),
    "EUR4": ("EUROPE-NORTH1", "EUROPE-WEST4"),
    "EUR5": ("EUROPE-WEST1", "EUROPE-WEST2"),
    "EUR7": ("EUROPE-WEST2", "EUROPE-WEST3"),
    "EUR8": ("EUROPE-WEST3", "EUROPE-WEST6"),
    "NAM4": ("US-CENTRAL1", "US-EAST1"),
}


#: Regions that the multi-region EU of BigQuery leaves out
#: (https://cloud.google.com/bigquery/docs/locations#multi-regions).
_NOT_IN_EU = ("EUROPE-WEST2", "EUROPE-WEST6")

#: Days that a snapshot has to stand, as Terraform asks for.
SNAPSHOT_DAYS = 7


@dataclass(frozen=True)
class Bucket:
    """A bucket of the deployment: `role` is export or hourly, `prefix` that of the suite's objects, and `logs` those
    whose hours are there.
    """

    role: str
    name: str
    prefix: str
    logs: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The Terraform variable that names it."""
        return f"bucket_names.{self.role}"


@dataclass(frozen=True)
class Place:
    """Where a bucket is: its location and, of a dual-region, the regions of that. All in capitals."""

    location: str
    regions: tuple[str, ...]

    @classmethod
    def of(cls, document: Document) -> Place:
        location = str(document.get("location", "")).upper()
        placement = document.get("customPlacementConfig") or {}
        regions = [str(region).upper() for region in placement.get("dataLocations", _DUAL.get(location, (location,)))]
        return cls(location, tuple(regions))

    def fits(self, dataset: str) -> bool:
        """Whether a data set's jobs may read and write there: the same place, or one within that of the data set
        (https://cloud.google.com/bigquery/docs/exporting-data#data-locations).
        """
        place = dataset.upper()
        within = {"EU": "EUROPE-", "US": "US-"}.get(place)
        if within is not None:
            inside = (region.startswith(within) and region not in _NOT_IN_EU for region in self.regions)
            return self.location == place or all(inside)
        return place in self.regions


def checks(rest: Rest, bucket: Bucket, permissions: Sequence[str], *, whole: bool = True) -> Iterator[Check]:
    """What is asked of a bucket; no more where it can't be looked at, or is emulated. If it is not looked at as a
    `whole`, only the permissions are asked for.
    """
    if not whole:
        looked = _listed if rest.emulated else partial(_permitted, permissions=permissions)
        yield tried(f"permissions on {bucket.name}", partial(looked, rest, bucket))
        return
    document: dict[str, Any] = {}
    found = tried(f"bucket {bucket.name}", partial(_found, rest, bucket, document))
    yield found
    if rest.emulated:
        return
    yield tried(f"permissions on {bucket.name}", partial(_permitted, rest, bucket, permissions))
    if found.verdict is not Verdict.OK:
        return
    for about, step in {
        "access to": _access,
        "versions in": _versions,
        "soft delete of": _soft_delete,
        "retention policy of": _retention,
        "bill of": _bill,
        "lifecycle of": _lifecycle,
    }.items():
        yield tried(f"{about} {bucket.name}", partial(step, bucket, document))


def place(rest: Rest, bucket: Bucket) -> Place:
    """Where a bucket is. Raises SyncError where it can't be looked at."""
    document: dict[str, Any] = {}
    _found(rest, bucket, document)
    return Place.of(document)


def _found(rest: Rest, bucket: Bucket, document: dict[str, Any]) -> str:
    answer = rest.ask(f"{STORAGE}/b/{bucket.name}")
    document.update(answer.found(f"gs://{bucket.name}", f"terraform apply makes it, or correct {bucket.variable}"))
    return f"is there, in {Place.of(document).location}"


def _listed(rest: Rest, bucket: Bucket) -> str:
    """Where the service is emulated, which permissions an account has can only be tried."""
    answer = rest.ask(f"{STORAGE}/b/{bucket.name}/o?maxResults=1")
    answer.found(f"gs://{bucket.name}", f"terraform apply makes it, or correct {bucket.variable}")
    return "this account may list it"


def _permitted(rest: Rest, bucket: Bucket, permissions: Sequence[str]) -> str:
    """By https://cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions."""
    asked = urlencode([("permissions", permission) for permission in permissions])
    answer = rest.ask(f"{STORAGE}/b/{bucket.name}/iam/testPermissions?{asked}")
    where = f"gs://{bucket.name}"
    given = answer.found(where, f"terraform apply makes it, or correct {bucket.variable}").get("permissions", ())
    lacking = [permission for permission in permissions if permission not in given]
    if lacking:
        raise wrong(
            f"this account lacks {', '.join(lacking)}",
            where,
            "terraform apply grants it to the functions; to yourself, roles/storage.objectUser of the bucket and, to"
            " load from it, roles/storage.legacyBucketReader",
        )
    return f"this account has {', '.join(permissions)}"


def _access(bucket: Bucket, document: Document) -> str:
    """Without it, an object's own list could grant what no role does
    (https://cloud.google.com/storage/docs/uniform-bucket-level-access).
    """
    if not document.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {}).get("enabled"):
        raise _update(bucket, "its objects have access lists of their own", "--uniform-bucket-level-access")
    return "is uniform"


def _versions(bucket: Bucket, document: Document) -> str:
    if document.get("versioning", {}).get("enabled"):
        raise _update(bucket, "it keeps each version of what is replaced or deleted", "--no-versioning")
    return "are not kept"


def _soft_delete(bucket: Bucket, document: Document) -> str:
    """Cloud Storage's own default is 7 days (https://cloud.google.com/storage/docs/soft-delete)."""
    days = int(document.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0)) / 86_400
    if bucket.role == "export" and days > 0:
        raise _update(
            bucket, f"it keeps deleted snapshots for {days:g} days, which are paid for twice", "--clear-soft-delete"
        )
    if bucket.role == "hourly" and days < SOFT_DELETE_DAYS:
        raise _update(
            bucket,
            f"deleted hours can be restored for {days:g} days only",
            f"--soft-delete-duration={SOFT_DELETE_DAYS}d",
        )
    return f"is {days:g} days"


def _retention(bucket: Bucket, document: Document) -> str:
    """A retention policy refuses the replacement and the deletion of objects
    (https://cloud.google.com/storage/docs/bucket-lock): BigQuery replaces what a killed extract left, and manifests
    are replaced by design.
    """
    if document.get("defaultEventBasedHold"):
        raise _update(bucket, "each object is held: none could be replaced or deleted", "--no-default-event-based-hold")
    if document.get("retentionPolicy", {}).get("isLocked"):
        raise wrong(
            "it has a retention policy that is locked: objects could be neither replaced nor deleted",
            f"gs://{bucket.name}",
            f"Name another bucket in {bucket.variable}",
        )
    if document.get("retentionPolicy"):
        raise _update(
            bucket,
            "it has a retention policy: objects could be neither replaced nor deleted",
            "--clear-retention-period",
        )
    # Of itself it keeps nothing: https://cloud.google.com/storage/docs/object-lock
    if document.get("objectRetention", {}).get("mode") == "Enabled":
        return "there is none; an object of which somebody sets a retention could be neither replaced nor deleted"
    return "there is none"


def _bill(bucket: Bucket, document: Document) -> str:
    """A request that names no project to bill is refused where the requester pays
    (https://cloud.google.com/storage/docs/requester-pays), and neither the functions nor BigQuery's jobs name one.
    """
    if document.get("billing", {}).get("requesterPays"):
        raise _update(bucket, "whoever asks for its objects has to pay, and no function says so", "--no-requester-pays")
    return "is its project's"


def _lifecycle(bucket: Bucket, document: Document) -> str:
    """By https://cloud.google.com/storage/docs/lifecycle."""
    rules = document.get("lifecycle", {}).get("rule", ())
    deletes = [rule.get("condition", {}) for rule in rules if rule.get("action", {}).get("type") == "Delete"]
    # Of a version that is not live nothing is asked: none are kept.
    live = [condition for condition in deletes if condition.get("isLive") is not False]
    if bucket.role == "hourly":
        return _of_hours(bucket, live)
    ages = [int(condition.get("age", 0)) for condition in live if _reaches(condition, f"{bucket.prefix}/")]
    if not ages:
        raise wrong(
            "no snapshot is ever deleted there", f"gs://{bucket.name}", "terraform apply gives it its lifecycle"
        )
    if min(ages) < SNAPSHOT_DAYS:
        raise wrong(
            f"snapshots are deleted after {min(ages)} days",
            f"gs://{bucket.name}",
            f"Set retention.snapshots to {SNAPSHOT_DAYS} or more, and take other rules away",
        )
    return f"snapshots are deleted after {min(ages)} days"


def _of_hours(bucket: Bucket, deletes: Sequence[Mapping[str, Any]]) -> str:
    if not bucket.logs:
        return "there is no log whose hours it would be of"
    for log in bucket.logs:
        folder = LogFolder(bucket.prefix, log)
        if any(_reaches(condition, folder.manifest(EPOCH)) for condition in deletes):
            raise wrong(
                "its lifecycle also deletes manifests, which are all that knows of an hour",
                f"gs://{bucket.name}",
                f"Give its rules matchesPrefix {bucket.prefix}/LOG/date=, as terraform apply does",
            )
        if not any(_reaches(condition, f"{bucket.prefix}/{log}/date=") for condition in deletes):
            raise wrong(
                f"no hour of {log} is ever deleted there",
                f"gs://{bucket.name}",
                "terraform apply gives it its lifecycle",
            )
    return "hours are deleted, manifests stay"


def _reaches(condition: Mapping[str, Any], name: str) -> bool:
    """Whether a rule is for objects whose names begin so."""
    suffixes = condition.get("matchesSuffix") or [""]
    prefixes = condition.get("matchesPrefix") or [""]
    ends = not name.endswith(".json") or any(name.endswith(suffix) for suffix in suffixes)
    return ends and any(name.startswith(prefix) for prefix in prefixes)


def _update(bucket: Bucket, what: str, option: str) -> Exception:
    return wrong(what, f"gs://{bucket.name}", f"gcloud storage buckets update gs://{bucket.name} {option}")
