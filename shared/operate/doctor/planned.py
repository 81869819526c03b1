"""What a first `terraform apply` needs to be there before it, by the variables of its plan
(https://developer.hashicorp.com/terraform/internals/json-format).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from ipaddress import ip_network
from urllib.parse import urlencode

from msgspec import Struct

from shared.documents import MalformedError, Reader
from shared.errors import BadRequestError
from shared.gcp.rest import Document, Rest
from shared.operate.doctor.check import Check, tried, wrong
from shared.operate.doctor.deployed import PROJECTS

SERVICES = "https://serviceusage.googleapis.com/v1"
INSTANCES = "https://sqladmin.googleapis.com/v1"
COMPUTE = "https://compute.googleapis.com/compute/v1"
SECRETS = "https://secretmanager.googleapis.com/v1"

#: The APIs that Terraform itself asks, before it enables any.
APIS = ("cloudresourcemanager", "serviceusage")

#: A permission of each kind of thing that an apply makes, or grants on
#: (https://cloud.google.com/iam/docs/permissions-reference).
PERMISSIONS = (
    "artifactregistry.repositories.create",
    "bigquery.datasets.create",
    "cloudfunctions.functions.create",
    "cloudscheduler.jobs.create",
    "eventarc.triggers.create",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.create",
    "logging.logMetrics.create",
    "monitoring.alertPolicies.create",
    "pubsub.topics.create",
    "resourcemanager.projects.setIamPolicy",
    "run.services.setIamPolicy",
    "secretmanager.secrets.create",
    "serviceusage.services.enable",
    "storage.buckets.create",
)

#: The service agent of Eventarc, and its role (https://cloud.google.com/eventarc/docs/access-control#service-agent).
AGENT = "service-{}@gcp-sa-eventarc.iam.gserviceaccount.com"
AGENTS_ROLE = "roles/eventarc.serviceAgent"

#: The smallest subnetwork for instances of functions
#: (https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#ip_address_allocation).
LONGEST_PREFIX = 26

#: The oldest version of PostgreSQL, as Cloud SQL spells it without its beginning.
OLDEST = 15


class CloudSql(Struct, frozen=True):
    """The variable `cloud_sql`."""

    instance: str
    connection_limit: int


class Direct(Struct, frozen=True):
    """What `vpc.direct` names."""

    subnetwork: str


class Vpc(Struct, frozen=True):
    """The variable `vpc`, as far as it is looked at."""

    direct: Direct | None = None


class _Value[T](Struct, frozen=True):
    value: T


class _Optional(Struct, frozen=True):
    value: dict[str, object] | None = None


class _Variables(Struct, frozen=True):
    project_id: _Value[str]
    region: _Value[str]
    cloud_sql: _Value[CloudSql]
    vpc: _Value[Vpc]
    database_iam: _Optional = _Optional()


class _Document(Struct, frozen=True):
    variables: _Variables


@dataclass(frozen=True)
class Plan:
    """What the plan is of."""

    project: str
    region: str
    cloud_sql: CloudSql
    subnetwork: str | None
    iam: bool


_READER = Reader(_Document)


def read(text: bytes, where: str) -> Plan:
    """Raises BadRequestError for anything but what `terraform show -json` prints of a plan."""
    try:
        of = _READER.read(text).variables
    except MalformedError as e:
        raise BadRequestError(f"is not what `terraform show -json` prints of a plan: {e}", where=where) from None
    direct = of.vpc.value.direct
    return Plan(
        of.project_id.value,
        of.region.value,
        of.cloud_sql.value,
        direct.subnetwork if direct is not None else None,
        of.database_iam.value is not None,
    )


def checks(rest: Rest, plan: Plan) -> Iterator[Check]:
    """What is there for the apply, as far as this account may look."""
    yield tried("APIs to begin with", partial(_apis, rest, plan))
    yield tried("your permissions", partial(_permissions, rest, plan))
    yield tried("Eventarc's service agent", partial(_agent, rest, plan))
    yield tried(f"instance {plan.cloud_sql.instance}", partial(_instance, rest, plan))
    if plan.subnetwork is not None:
        yield tried(f"subnetwork {plan.subnetwork}", partial(_subnetwork, rest, plan, plan.subnetwork))
    if not plan.iam:
        for secret in (f"{plan.cloud_sql.instance}_database_url", f"{plan.cloud_sql.instance}_status_database_url"):
            yield tried(f"secret {secret}", partial(_secret, rest, plan, secret))


def _apis(rest: Rest, plan: Plan) -> str:
    """By https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchGet."""
    names = [f"projects/{plan.project}/services/{api}.googleapis.com" for api in APIS]
    asked = urlencode([("names", name) for name in names])
    enable = f"gcloud services enable {' '.join(f'{api}.googleapis.com' for api in APIS)} --project={plan.project}"
    found = rest.ask(f"{SERVICES}/projects/{plan.project}/services:batchGet?{asked}").found(plan.project, enable)
    on = {
        str(each.get("name", "")).rpartition("/")[2]
        for each in found.get("services", ())
        if each.get("state") == "ENABLED"
    }
    lacking = [api for api in APIS if f"{api}.googleapis.com" not in on]
    if lacking:
        raise wrong(f"{', '.join(lacking)} is off", plan.project, enable)
    return "are on: the apply enables the others"


def _permissions(rest: Rest, plan: Plan) -> str:
    """By https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions."""
    url = f"{PROJECTS}/projects/{plan.project}:testIamPermissions"
    given = rest.ask(url, {"permissions": list(PERMISSIONS)}).found(plan.project, "Correct project_id")
    lacking = [each for each in PERMISSIONS if each not in given.get("permissions", ())]
    if lacking:
        raise wrong(
            f"this account lacks {', '.join(lacking)}",
            plan.project,
            "Have roles/owner of a project of its own, or the roles that have these permissions",
        )
    return "are enough for each kind of thing that is made"


def _agent(rest: Rest, plan: Plan) -> str:
    """By https://cloud.google.com/resource-manager/reference/rest/v1/projects/getIamPolicy. An API that is enabled
    does not always bring its agent, and the first trigger is refused without it.
    """
    project = f"{PROJECTS}/projects/{plan.project}"
    agent = AGENT.format(rest.ask(project).found(plan.project, "Correct project_id")["projectNumber"])
    policy = rest.ask(f"{project}:getIamPolicy", {}).found(plan.project, "Correct project_id")
    granted = {
        member
        for binding in policy.get("bindings", ())
        if binding.get("role") == AGENTS_ROLE and "condition" not in binding
        for member in binding.get("members", ())
    }
    member = f"serviceAccount:{agent}"
    if member not in granted:
        raise wrong(
            f"lacks {AGENTS_ROLE}, or is not there: the first trigger would be refused",
            agent,
            "gcloud services enable eventarc.googleapis.com"
            f" --project={plan.project} && gcloud beta services identity create --service=eventarc.googleapis.com"
            f" --project={plan.project} && gcloud projects add-iam-policy-binding {plan.project}"
            f" --member={member} --role={AGENTS_ROLE} --condition=None",
        )
    return "is there, with its role"


def _instance(rest: Rest, plan: Plan) -> str:
    """By https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances."""
    name = plan.cloud_sql.instance
    url = f"{INSTANCES}/projects/{plan.project}/instances/{name}"
    found = rest.ask(url).found(name, "Make it, or correct cloud_sql.instance")
    version = re.fullmatch(r"POSTGRES_(\d+)", str(found.get("databaseVersion", "")))
    if version is None or int(version[1]) < OLDEST:
        raise wrong(f"is of {found.get('databaseVersion')}", name, f"Upgrade it to PostgreSQL {OLDEST} or later")
    if found.get("state") != "RUNNABLE":
        start = f"gcloud sql instances patch {name} --project={plan.project} --activation-policy=ALWAYS"
        raise wrong(f"its state is {found.get('state')}", name, f"Start it: {start}")
    if found.get("region") != plan.region:
        raise wrong(
            f"is in {found.get('region')}, the functions are in {plan.region}", name, "Set region to its region"
        )
    if not any(address.get("type") == "PRIVATE" for address in found.get("ipAddresses", ())):
        raise wrong(
            "has no private address",
            name,
            f"gcloud sql instances patch {name} --project={plan.project}"
            f" --network=projects/{plan.project}/global/networks/NETWORK, with the network of the functions",
        )
    flags = {str(flag.get("name")): flag.get("value") for flag in found.get("settings", {}).get("databaseFlags", ())}
    return _flags(plan, name, flags)


def _flags(plan: Plan, name: str, flags: Document) -> str:
    limit = plan.cloud_sql.connection_limit
    if plan.iam and flags.get("cloudsql.iam_authentication") != "on":
        # A patch replaces all flags; a list of which an item has a comma is one with another sign between its items
        # (https://cloud.google.com/sdk/gcloud/reference/topic/escaping).
        items = [f"{flag}={value}" for flag, value in {**flags, "cloudsql.iam_authentication": "on"}.items()]
        joined = f"^~^{'~'.join(items)}" if any("," in item for item in items) else ",".join(items)
        patch = f"gcloud sql instances patch {name} --project={plan.project} --database-flags={shlex.quote(joined)}"
        raise wrong("takes no logins of accounts", name, patch)
    # Without the flag, it is by the memory of the machine (https://cloud.google.com/sql/docs/postgres/flags).
    given = flags.get("max_connections")
    if given is not None and int(str(given)) != limit:
        raise wrong(
            f"its max_connections is {given}, cloud_sql.connection_limit says {limit}",
            name,
            f"Set cloud_sql.connection_limit = {given}",
        )
    known = "" if given is not None else f"; it has no flag max_connections: see that SHOW max_connections says {limit}"
    return f"is there, of a version that is supported, with a private address{known}"


def _subnetwork(rest: Rest, plan: Plan, subnetwork: str) -> str:
    """By https://cloud.google.com/compute/docs/reference/rest/v1/subnetworks."""
    path = (
        subnetwork if "/" in subnetwork else f"projects/{plan.project}/regions/{plan.region}/subnetworks/{subnetwork}"
    )
    found = rest.ask(f"{COMPUTE}/{path}").found(subnetwork, "Make it, or correct vpc.direct.subnetwork")
    if f"/regions/{plan.region}/" not in f"/{path}":
        raise wrong(f"is not in {plan.region}", subnetwork, "Name one of the functions' region")
    size = ip_network(str(found["ipCidrRange"])).prefixlen
    if size > LONGEST_PREFIX:
        raise wrong(
            f"is a /{size}: too few addresses for the instances of five functions",
            subnetwork,
            f"Name one of /{LONGEST_PREFIX} or larger",
        )
    return f"is there, a /{size}"


def _secret(rest: Rest, plan: Plan, secret: str) -> str:
    """By https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions."""
    answer = rest.ask(f"{SECRETS}/projects/{plan.project}/secrets/{secret}/versions/latest")
    if answer.status == HTTPStatus.NOT_FOUND:
        return "has no version yet: give database_urls with the apply"
    state = answer.found(secret, "").get("state")
    if state != "ENABLED":
        raise wrong(
            f"its newest version is {state}",
            secret,
            f"gcloud secrets versions add {secret} --project={plan.project} --data-file=-",
        )
    return "has a version"
