"""Who may ask Google Cloud for what: the accounts' grants, what each role permits, and what each request needs.

    with guarded(env, account) as env:  # where a process finds the emulators that runs as this account

The grants are those of the table in terraform/README.md, which a test compares with what Terraform plans. A request
that is not in NEEDS is refused too, so that none is forgotten.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc  # type: ignore[import-untyped]
import sqlglot
from google.cloud.pubsub_v1.types import PublishRequest
from sqlglot import exp

from local import ROOT, discovery
from local.proxy import Answer, Forward, Request, standing_before
from local.pubsub import Front, by_rules

#: What each role permits, as far as requests need it that are judged here. The pages are those below
#: https://cloud.google.com/iam/docs/roles-permissions, which list all of it.
ROLES: Mapping[str, frozenset[str]] = {
    role: frozenset(permissions.split())
    for role, permissions in {
        # /storage#storage.objectViewer
        "roles/storage.objectViewer": "storage.objects.get storage.objects.list",
        # /storage#storage.objectUser
        "roles/storage.objectUser": """storage.objects.create storage.objects.delete storage.objects.get
            storage.objects.list storage.objects.move storage.objects.restore storage.objects.update""",
        # /storage#storage.legacyBucketReader
        "roles/storage.legacyBucketReader": "storage.buckets.get storage.objects.list",
        # /bigquery#bigquery.jobUser
        "roles/bigquery.jobUser": "bigquery.jobs.create",
        # /bigquery#bigquery.resourceViewer
        "roles/bigquery.resourceViewer": "bigquery.jobs.get bigquery.jobs.list bigquery.jobs.listAll",
        # /bigquery#bigquery.dataViewer
        "roles/bigquery.dataViewer": """bigquery.datasets.get bigquery.tables.export bigquery.tables.get
            bigquery.tables.getData bigquery.tables.list""",
        # /bigquery#bigquery.dataEditor
        "roles/bigquery.dataEditor": """bigquery.datasets.get bigquery.tables.create bigquery.tables.delete
            bigquery.tables.export bigquery.tables.get bigquery.tables.getData bigquery.tables.list
            bigquery.tables.update bigquery.tables.updateData""",
        # /pubsub#pubsub.publisher
        "roles/pubsub.publisher": "pubsub.topics.publish",
        # /viewer, of all that is in the project: of a bucket it permits nothing
        "roles/viewer": "bigquery.datasets.get bigquery.jobs.create bigquery.jobs.get bigquery.jobs.list",
        # /monitoring#monitoring.metricWriter
        "roles/monitoring.metricWriter": "monitoring.metricDescriptors.create monitoring.timeSeries.create",
        # What they permit is asked of no service that is emulated here: Secret Manager and Cloud SQL.
        "roles/secretmanager.secretAccessor": "secretmanager.versions.access",
        "roles/cloudsql.instanceUser": "cloudsql.instances.login",
    }.items()
}

_README = ROOT / "terraform" / "README.md"
_OUTPUTS = ROOT / "terraform" / "outputs.tf"
_OPERATOR = re.compile(r'output "operators_roles" \{.*?\n\}', re.DOTALL)
# What the output calls the resources of that table.
_OPERATORS = {
    "(var.project_id)": "project",
    '"gs://${module.export_bucket.name}"': "export bucket",
    '"gs://${module.hourly_bucket.name}"': "hourly bucket",
    "(module.completion_topic.id)": "completion topic",
    "(module.refreshed_topic.id)": "refreshed topic",
    "(module.hour_done_topic.id)": "hour-done topic",
    '"${var.project_id}.${module.tmp_dataset.name}"': "tmp_{env}",
    '"the tables of the logs in BigQuery"': "each log's table",
    '(join(", ", local.sources))': "the source data sets",
}
_ROW = re.compile(r"^\| ([^|`]+) \| `(roles/[^`]+)` \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)


@dataclass(frozen=True)
class Grant:
    """A role, and the resource that it is granted on: a path, as projects/P/datasets/D, or a word for one or more."""

    role: str
    on: str

    def permits(self, need: Need) -> bool:
        """A grant is also one on all that is below its resource."""
        return need.permission in ROLES[self.role] and f"{need.on}/".startswith(f"{self.on}/")


@dataclass(frozen=True)
class Need:
    """A permission that a request needs, and the path of the resource."""

    permission: str
    on: str


def granted() -> dict[str, list[Grant]]:
    """What Terraform grants to each account, on the resources that terraform/README.md has words for; and to the
    operator what Terraform's output says that one needs.
    """
    found: dict[str, list[Grant]] = {"operator": []}
    for resource, roles in re.findall(
        r"^ {4}(.+?) += \[(.+)\]$", _OPERATOR.findall(_OUTPUTS.read_text())[0], re.MULTILINE
    ):
        found["operator"] += [Grant(role, _OPERATORS[resource]) for role in re.findall('"(.+?)"', roles)]
    for account, role, resource in _ROW.findall(_README.read_text()):
        found.setdefault(account, []).append(Grant(role, resource))
    return found


@dataclass
class Account:
    """Whom a process runs as. `jobs` are those of the whole project, with whose each is; `used` is what was needed."""

    name: str
    grants: Sequence[Grant]
    jobs: dict[str, str] = field(default_factory=dict)
    used: set[Grant] = field(default_factory=set)

    def lacks(self, needs: Iterable[Need]) -> Need | None:
        """The first need that no grant is for."""
        for need in needs:
            permitting = [grant for grant in self.grants if grant.permits(need)]
            if not permitting:
                return need
            self.used.update(permitting[:1])
        return None

    def refusal(self, need: Need) -> str:
        """As Google words it, with the account."""
        return f"{self.name} does not have {need.permission} access to {need.on} (or it may not exist)"

    def publishes(self, request: PublishRequest) -> tuple[grpc.StatusCode, str] | None:
        """Why it may not publish (https://cloud.google.com/pubsub/docs/access-control#permissions_and_roles)."""
        need = self.lacks([Need("pubsub.topics.publish", request.topic)])
        return (grpc.StatusCode.PERMISSION_DENIED, self.refusal(need)) if need is not None else None

    def guard(self, request: Request, forward: Forward) -> Answer:
        """Hand on what it may ask for: a fault for a proxy before an emulator."""
        need = self.lacks(_needs(self, request, forward))
        if need is not None:
            message = self.refusal(need)
            reason = "accessDenied" if need.permission.startswith("bigquery.") else "forbidden"
            error = {"code": 403, "message": message, "errors": [{"message": message, "reason": reason}]}
            return Answer(HTTPStatus.FORBIDDEN, json.dumps({"error": error}).encode())
        answer = forward(request)
        if request.method == "POST" and re.search(r"/bigquery/v2/projects/[^/]+/(jobs|queries)", request.path):
            self._own(answer)
        return answer

    def _own(self, answer: Answer) -> None:
        """Note whose a job is that was made."""
        if answer.status == HTTPStatus.OK:
            zipped = answer.headers.get("Content-Encoding") or answer.headers.get("content-encoding")
            body = json.loads(gzip.decompress(answer.body) if zipped == "gzip" else answer.body)
            self.jobs.setdefault(str(body.get("jobReference", {}).get("jobId")), self.name)


@contextmanager
def guarded(env: Mapping[str, str], account: Account) -> Iterator[dict[str, str]]:
    """Where the emulators are for whoever runs as this account."""
    with ExitStack() as stack:
        front = Front(env["PUBSUB_EMULATOR_HOST"], account.publishes, by_rules)
        stack.callback(front.stop)
        found = {"PUBSUB_EMULATOR_HOST": front.host}
        for name in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "MONITORING_EMULATOR_HOST"):
            proxy = stack.enter_context(standing_before(env[name]))
            stack.enter_context(proxy.fault(account.guard))
            found[name] = proxy.url
        yield found


@dataclass(frozen=True)
class _Asked:
    """A request as its service's description has it: the method's name, and what is in the address and the body."""

    method: str
    at: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    account: Account
    forward: Forward

    @property
    def project(self) -> str:
        return f"projects/{self.at['projectId']}"

    @property
    def dataset(self) -> str:
        return f"{self.project}/datasets/{self.at['datasetId']}"

    @property
    def table(self) -> str:
        return f"{self.dataset}/tables/{self.at['tableId'].partition('$')[0]}"

    @property
    def bucket(self) -> str:
        return f"buckets/{self.at['bucket']}"


def _needs(account: Account, request: Request, forward: Forward) -> Iterator[Need]:
    """What a request needs to be permitted."""
    parts = urlsplit(request.path)
    name = next((name for start, name in _SERVICES.items() if parts.path.startswith(start)), None)
    if name is None:  # a read of the XML API (https://cloud.google.com/storage/docs/xml-api/get-object-download)
        yield Need("storage.objects.get", f"buckets/{parts.path.split('/')[1]}")
        return
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    if "upload_id" in query:
        return  # what goes on of an upload was permitted when it began
    method, at = discovery.service(name).method(request.method, parts.path)
    at = {key: unquote(value) for key, value in at.items()}
    body = request.body if name != "storage.v1" or request.method != "POST" else discovery.resource(request.body)
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    document = json.loads(body) if body.startswith(b"{") else {}
    asked = _Asked(method, at, query, document, account, forward)
    yield from NEEDS.get(method, _unknown)(asked)


_SERVICES = {
    "/bigquery/": "bigquery.v2",
    "/storage/": "storage.v1",
    "/upload/storage/": "storage.v1",
    "/download/storage/": "storage.v1",
    "/v3/": "monitoring.v3",
}


def _unknown(asked: _Asked) -> Iterator[Need]:
    yield Need(f"(nobody wrote down what {asked.method} needs)", "anything")


def _of(permission: str, on: Callable[[_Asked], str]) -> Callable[[_Asked], Iterator[Need]]:
    return lambda asked: iter([Need(permission, on(asked))])


def _insert_object(asked: _Asked) -> Iterator[Need]:
    """An object that is there is replaced, which is to delete it
    (https://cloud.google.com/storage/docs/access-control/iam-json).
    """
    yield Need("storage.objects.create", asked.bucket)
    name = str(asked.query.get("name") or asked.body.get("name", ""))
    if asked.query.get("ifGenerationMatch") != "0" and _stands(asked, asked.at["bucket"], name):
        yield Need("storage.objects.delete", asked.bucket)


def _copy_object(asked: _Asked) -> Iterator[Need]:
    """By https://cloud.google.com/storage/docs/access-control/iam-json."""
    into = f"buckets/{asked.at['destinationBucket']}"
    yield Need("storage.objects.get", f"buckets/{asked.at['sourceBucket']}")
    yield Need("storage.objects.create", into)
    at = asked.at["destinationBucket"], asked.at["destinationObject"]
    if asked.query.get("ifGenerationMatch") != "0" and _stands(asked, *at):
        yield Need("storage.objects.delete", into)


def _stands(asked: _Asked, bucket: str, name: str) -> bool:
    from urllib.parse import quote

    found = asked.forward(Request("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", {}, b""))
    return found.status == HTTPStatus.OK


def _job(asked: _Asked) -> Iterator[Need]:
    """What a job needs. BigQuery lets a job fail for what it lacks in Cloud Storage; here it is not even made."""
    yield Need("bigquery.jobs.create", asked.project)
    configuration = asked.body.get("configuration", {})
    if extract := configuration.get("extract"):
        # https://cloud.google.com/bigquery/docs/exporting-data#required_permissions
        yield Need("bigquery.tables.export", _path(extract["sourceTable"]))
        for bucket in _buckets(extract.get("destinationUris") or [extract["destinationUri"]]):
            yield Need("storage.objects.create", bucket)
            yield Need("storage.objects.delete", bucket)
    elif load := configuration.get("load"):
        yield from _load(load)
    else:
        yield from _query(asked, configuration["query"])


def _load(load: Mapping[str, Any]) -> Iterator[Need]:
    """By https://cloud.google.com/bigquery/docs/batch-loading-data#required_permissions. Of a table that must be there,
    none is made.
    """
    table = _path(load["destinationTable"])
    if load.get("createDisposition") != "CREATE_NEVER":
        yield Need("bigquery.tables.create", table.rpartition("/tables/")[0])
    yield Need("bigquery.tables.update", table)
    yield Need("bigquery.tables.updateData", table)
    for bucket in _buckets(load["sourceUris"]):
        for permission in ("storage.buckets.get", "storage.objects.get", "storage.objects.list"):
            yield Need(permission, bucket)


def _queries(asked: _Asked) -> Iterator[Need]:
    yield Need("bigquery.jobs.create", asked.project)
    yield from _query(asked, asked.body)


_CHANGES = (exp.Create, exp.Insert, exp.Delete, exp.Update, exp.Merge, exp.Drop)


def _query(asked: _Asked, query: Mapping[str, Any]) -> Iterator[Need]:
    """By https://cloud.google.com/bigquery/docs/running-queries#required_permissions and the pages of DML and DDL."""
    default = query.get("defaultDataset", {})
    outer = str(default.get("projectId") or asked.at["projectId"]), str(default.get("datasetId", ""))
    for tree in sqlglot.parse(query["query"], dialect="bigquery"):
        if tree is None:
            continue
        # What is changed stands before what is read.
        written = next(tree.find_all(exp.Table, bfs=False), None) if isinstance(tree, _CHANGES) else None
        for table in tree.find_all(exp.Table):
            if not table.db and not outer[1]:
                continue  # the name of a subquery
            path = f"projects/{table.catalog or outer[0]}/datasets/{table.db or outer[1]}/tables/{table.name}"
            yield from _statement(tree, path) if table is written else [Need("bigquery.tables.getData", path)]


def _statement(tree: exp.Expr, table: str) -> Iterator[Need]:
    """What a statement needs of the table that it is about."""
    dataset = table.rpartition("/tables/")[0]
    match tree:
        case exp.Create():
            # https://cloud.google.com/bigquery/docs/tables#required_permissions
            yield Need("bigquery.tables.create", dataset)
            if tree.args.get("replace"):
                yield Need("bigquery.tables.updateData", table)
        case exp.Drop():
            yield Need("bigquery.tables.delete", table)
        case _:
            # https://cloud.google.com/bigquery/docs/data-manipulation-language
            yield Need("bigquery.tables.updateData", table)
            if not isinstance(tree, exp.Insert):
                yield Need("bigquery.tables.getData", table)


def _look_at_job(asked: _Asked) -> Iterator[Need]:
    """By https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get: whoever has made a job needs less."""
    own = asked.account.jobs.get(asked.at["jobId"], asked.account.name) == asked.account.name
    yield Need("bigquery.jobs.create" if own else "bigquery.jobs.get", asked.project)


def _path(reference: Mapping[str, str]) -> str:
    table = reference["tableId"].partition("$")[0]
    return f"projects/{reference['projectId']}/datasets/{reference['datasetId']}/tables/{table}"


def _buckets(uris: Sequence[str]) -> list[str]:
    return sorted({f"buckets/{uri.split('/')[2]}" for uri in uris})


#: What each method of a service needs. Cloud Storage's are in
#: https://cloud.google.com/storage/docs/access-control/iam-json, BigQuery's in the reference of each method.
NEEDS: Mapping[str, Callable[[_Asked], Iterator[Need]]] = {
    "storage.buckets.get": _of("storage.buckets.get", lambda asked: asked.bucket),
    "storage.objects.list": _of("storage.objects.list", lambda asked: asked.bucket),
    "storage.objects.get": _of("storage.objects.get", lambda asked: asked.bucket),
    "storage.objects.insert": _insert_object,
    "storage.objects.patch": _of("storage.objects.update", lambda asked: asked.bucket),
    "storage.objects.delete": _of("storage.objects.delete", lambda asked: asked.bucket),
    "storage.objects.copy": _copy_object,
    "storage.objects.rewrite": _copy_object,
    "bigquery.datasets.get": _of("bigquery.datasets.get", lambda asked: asked.dataset),
    "bigquery.tables.list": _of("bigquery.tables.list", lambda asked: asked.dataset),
    "bigquery.tables.get": _of("bigquery.tables.get", lambda asked: asked.table),
    "bigquery.tables.insert": _of("bigquery.tables.create", lambda asked: asked.dataset),
    "bigquery.tables.patch": _of("bigquery.tables.update", lambda asked: asked.table),
    "bigquery.tables.delete": _of("bigquery.tables.delete", lambda asked: asked.table),
    "bigquery.jobs.insert": _job,
    "bigquery.jobs.query": _queries,
    "bigquery.jobs.get": _look_at_job,
    "bigquery.jobs.getQueryResults": _look_at_job,
    "monitoring.projects.timeSeries.create": _of("monitoring.timeSeries.create", lambda asked: asked.at["name"]),
}
