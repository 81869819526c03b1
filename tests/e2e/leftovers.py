"""What still carries a run's name, whether a Terraform state knows of it or not, and the command that removes it.

Terraform removes what its state says. A machine that died in the middle of an apply may have made more than that.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.e2e.programs import FailedError, Programs

_QUIET = {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API": "false"}
#: What gcloud says where there can be nothing of a kind.
_NO_API = ("SERVICE_DISABLED", "has not been used in project", "is not enabled")


@dataclass(frozen=True)
class Kind:
    """A kind of thing: what Terraform calls it, if Terraform makes it; what lists all of a project's, a line each; and
    what removes one by the words of its line.
    """

    what: str
    type: str | None
    list: str
    remove: str


#: In the order in which they can be removed.
KINDS = (
    Kind(
        "Scheduler job",
        "google_cloud_scheduler_job",
        "gcloud scheduler jobs list --project={project} --location={region} --format=value(name.basename())",
        "gcloud scheduler jobs delete {0} --project={project} --location={region} --quiet",
    ),
    Kind(
        "function",
        "google_cloudfunctions2_function",
        "gcloud functions list --project={project} --v2 --regions={region} --format=value(name.basename())",
        "gcloud functions delete {0} --project={project} --gen2 --region={region} --quiet",
    ),
    Kind(
        "Cloud Run service",
        None,
        "gcloud run services list --project={project} --region={region} --format=value(metadata.name)",
        "gcloud run services delete {0} --project={project} --region={region} --quiet",
    ),
    Kind(
        "Eventarc trigger",
        None,
        "gcloud eventarc triggers list --project={project} --location={region} --format=value(name.basename())",
        "gcloud eventarc triggers delete {0} --project={project} --location={region} --quiet",
    ),
    Kind(
        "subscription",
        "google_pubsub_subscription",
        "gcloud pubsub subscriptions list --project={project} --format=value(name.basename())",
        "gcloud pubsub subscriptions delete {0} --project={project} --quiet",
    ),
    Kind(
        "topic",
        "google_pubsub_topic",
        "gcloud pubsub topics list --project={project} --format=value(name.basename())",
        "gcloud pubsub topics delete {0} --project={project} --quiet",
    ),
    Kind(
        "alert policy",
        "google_monitoring_alert_policy",
        "gcloud alpha monitoring policies list --project={project} --format=value(name,displayName)",
        "gcloud alpha monitoring policies delete {0} --project={project} --quiet",
    ),
    Kind(
        "dashboard",
        "google_monitoring_dashboard",
        "gcloud monitoring dashboards list --project={project} --format=value(name,displayName)",
        "gcloud monitoring dashboards delete {0} --project={project} --quiet",
    ),
    Kind(
        "metric of the log",
        "google_logging_metric",
        "gcloud logging metrics list --project={project} --format=value(name)",
        "gcloud logging metrics delete {0} --project={project} --quiet",
    ),
    Kind(
        "bucket",
        "google_storage_bucket",
        "gcloud storage buckets list --project={project} --format=value(name)",
        "gcloud storage rm --recursive gs://{0} --project={project} --quiet",
    ),
    Kind(
        "secret",
        "google_secret_manager_secret",
        "gcloud secrets list --project={project} --format=value(name.basename())",
        "gcloud secrets delete {0} --project={project} --quiet",
    ),
    Kind(
        "repository of images",
        "google_artifact_registry_repository",
        "gcloud artifacts repositories list --project={project} --location={region} --format=value(name.basename())",
        "gcloud artifacts repositories delete {0} --project={project} --location={region} --quiet",
    ),
    Kind(
        "data set",
        "google_bigquery_dataset",
        "bq ls --datasets --project_id={project} --max_results=10000 --format=csv",
        "bq rm -r -f --dataset {project}:{0}",
    ),
    Kind(
        "role on the project",
        "google_project_iam_member",
        "gcloud projects get-iam-policy {project} --flatten=bindings[].members"
        " --format=value(bindings.members,bindings.role)",
        "gcloud projects remove-iam-policy-binding {project} --member={0} --role={1} --all --quiet",
    ),
    Kind(
        "service account",
        "google_service_account",
        "gcloud iam service-accounts list --project={project} --format=value(email)",
        "gcloud iam service-accounts delete {0} --project={project} --quiet",
    ),
    Kind(
        "connector",
        "google_vpc_access_connector",
        "gcloud compute networks vpc-access connectors list --project={project} --region={region}"
        " --format=value(name.basename())",
        "gcloud compute networks vpc-access connectors delete {0} --project={project} --region={region} --quiet",
    ),
    Kind(
        "Cloud SQL instance",
        "google_sql_database_instance",
        "gcloud sql instances list --project={project} --format=value(name)",
        "gcloud sql instances delete {0} --project={project} --quiet",
    ),
    Kind(
        "reserved range of addresses",
        "google_compute_global_address",
        "gcloud compute addresses list --global --project={project} --format=value(name)",
        "gcloud compute addresses delete {0} --global --project={project} --quiet",
    ),
    Kind(
        "subnetwork",
        "google_compute_subnetwork",
        "gcloud compute networks subnets list --project={project} --regions={region} --format=value(name)",
        "gcloud compute networks subnets delete {0} --project={project} --region={region} --quiet",
    ),
    Kind(
        "network",
        "google_compute_network",
        "gcloud compute networks list --project={project} --format=value(name)",
        "gcloud compute networks delete {0} --project={project} --quiet",
    ),
)


@dataclass(frozen=True)
class Left:
    """What is left and the command that removes it; or what could not be looked for, and the command that looks."""

    what: str
    command: tuple[str, ...]
    found: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {shlex.join(self.command)}"


def sweep(programs: Programs, project: str, region: str, suffix: str) -> list[Left]:
    """Remove whatever carries the suffix; what is left after that."""
    left = []
    for one in _found(programs, project, region, suffix):
        left.append(one)
        if one.found:
            programs.say(f"  removes what Terraform did not: {one.what}")
            programs.attempt(*one.command, env=_QUIET)
    return list(_found(programs, project, region, suffix)) if left else []


def _found(programs: Programs, project: str, region: str, suffix: str) -> Iterator[Left]:
    for kind in KINDS:
        fill = commands(project=project, region=region)
        look = fill(kind.list)
        try:
            code, printed, errors = programs.attempt(*look, env=_QUIET)
        except FailedError as failed:
            code, printed, errors = 1, "", f"{failed}"
        if code and not any(sign in errors for sign in _NO_API):
            yield Left(f"perhaps a {kind.what}: it could not be looked for", look, found=False)
        for line in printed.splitlines() if code == 0 else ():
            if suffix in line:
                words = line.split()
                yield Left(f"{kind.what} {words[0]}", fill(kind.remove, *words))


def commands(**names: str) -> Callable[..., tuple[str, ...]]:
    """What makes a kind's command one of a project, for the words of a line."""

    def fill(command: str, *words: str) -> tuple[str, ...]:
        # Split before it is filled: a name is one word, whatever is in it.
        return tuple(word.format(*words, **names) for word in command.split())

    return fill
