"""What BigQuery refuses, and local-bigquery 0.3.2 lets pass: each rule with the page of Google's that has it."""

import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import parse_qs

import duckdb
from local_bigquery import app
from local_bigquery.catalog import metadata, names, tables
from local_bigquery.engine import types
from local_bigquery.engine.sessions import Session
from local_bigquery.errors import BigQueryError, not_found
from local_bigquery.jobs import query, runner
from local_bigquery.models import (
    Dataset,
    Job,
    JobConfiguration,
    JobConfigurationExtract,
    JobConfigurationLoad,
    JobConfigurationQuery,
    Table,
    TableReference,
)
from local_bigquery.sql.translate import parse
from sqlglot import exp
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local import LOCATION, discovery, googlesql

# Where data sets are made, and jobs run, of which nobody says where
# (https://cloud.google.com/bigquery/docs/locations#specify_locations).
_DEFAULT = "US"
# What the names of a multi-region's regions begin with (https://cloud.google.com/bigquery/docs/locations#multi-regions).
_REGIONS = {"US": "us-", "EU": "europe-"}
# https://cloud.google.com/bigquery/docs/reference/rest/v2/JobReference
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
# https://cloud.google.com/bigquery/docs/labels-intro#requirements, of letters but those of ASCII
_MOST_LABELS, _LABEL_KEY, _LABEL_VALUE = 64, re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
# https://cloud.google.com/bigquery/quotas#query_jobs and #load_jobs
_LONGEST_STATEMENT, _MOST_URIS = 1024 * 1024, 10_000
# Types that no type of Parquet becomes
# (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#type_conversions).
_NOT_IN_PARQUET = ("JSON", "INTERVAL", "RANGE")

_execute, _job, _get = query.execute, runner._job, runner.get


@dataclass(frozen=True)
class _Request:
    """Where a request says that the job is that it is about."""

    method: str
    location: str | None


_request: ContextVar[_Request] = ContextVar("request")
# Where the job runs that is submitted.
_place: ContextVar[str] = ContextVar("place", default=_DEFAULT)


def install() -> None:
    """Have local-bigquery refuse it. Before it serves."""
    query.execute, runner._job, runner.get = execute, job, get
    # The last one sees a body after it was unzipped.
    app.user_middleware.append(Middleware(Asked))


class Asked:
    """Answers what no request of the service is, and notes what a request says of a job's place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/emulated/"):
            body, query = await _body(receive), scope["query_string"].decode()
            receive = _again(body, receive)
            try:
                path = scope["raw_path"].decode()
                discovery.service("bigquery.v2").check(scope["method"], f"{path}?{query}", body)
            except discovery.UnknownError as e:
                refusal = BigQueryError("invalid", f"Invalid request: {e}")
                await JSONResponse(refusal.response(), refusal.code)(scope, receive, send)
                return
            location = parse_qs(query).get("location", [None])[0]
            if re.fullmatch(r"POST /bigquery/v2/projects/[^/]+/(jobs|queries)", f"{scope['method']} {scope['path']}"):
                given = json.loads(body or b"{}")
                location = given.get("jobReference", {}).get("location") or given.get("location")
            _request.set(_Request(scope["method"], location))
        await self._app(scope, receive, send)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay


def job(project: str, name: str | None, configuration: JobConfiguration) -> Job:
    """A job that is new, in its place."""
    made: Job = _job(project, name, configuration)
    return made.replace(jobReference=made.jobReference.replace(location=_place.get()))


def get(project: str, name: str) -> Job:
    """A job, where it is looked for: elsewhere than in the multi-regions it is not found without its place
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get).
    """
    found: Job = _get(project, name)
    request, place = _request.get(), found.jobReference.location
    asked = request.location or (place if place in _REGIONS else _DEFAULT)
    if request.method == "GET" and asked.lower() != place.lower():
        raise not_found("Job", f"{project}:{asked}.{name}")
    return found


def check_job(project: str, name: str, configuration: JobConfiguration) -> None:
    """Raise BigQueryError for what makes no job. Of one that is made, note where it runs."""
    if not _JOB_ID.fullmatch(name):
        raise BigQueryError("invalid", f'Invalid job ID "{name}"')
    check_labels(configuration.labels)
    _place.set(_request.get().location or next(_locations(project, configuration), _DEFAULT))


def check_labels(labels: Mapping[str, str] | None) -> None:
    """Raise BigQueryError for labels that no resource may have."""
    if len(labels or {}) > _MOST_LABELS:
        raise BigQueryError("invalid", f"More than {_MOST_LABELS} labels")
    for key, value in (labels or {}).items():
        if not _LABEL_KEY.fullmatch(key):
            raise BigQueryError("invalid", f'Label key "{key}" has invalid characters')
        if not _LABEL_VALUE.fullmatch(value):
            raise BigQueryError("invalid", f'Label value "{value}" has invalid characters')


def _locations(project: str, configuration: JobConfiguration) -> Iterator[str]:
    """Where the data sets are that a job is about."""
    if configuration.load:
        references = [_dataset(configuration.load.destinationTable)]
    elif configuration.extract:
        references = [_dataset(configuration.extract.sourceTable)]
    else:
        references = _datasets(configuration.query, project)
    yield from filter(None, (location(*reference) for reference in references))


def location(project: str, dataset: str) -> str | None:
    """Where a data set is."""
    found = metadata.load(Dataset, project, dataset)
    return found.location if found else None


def located(table: Table) -> Table:
    """The table, where its data set is."""
    return table.replace(location=location(*_dataset(table.tableReference)) or _DEFAULT)


def _dataset(table: TableReference) -> tuple[str, str]:
    project, dataset, _ = tables.reference(table)
    return project, dataset


def _datasets(config: JobConfigurationQuery, project: str) -> list[tuple[str, str]]:
    """The data sets that a statement names."""
    try:
        trees = parse(config.query or "")
    except BigQueryError:
        return []
    default = config.defaultDataset
    outer = (default and default.projectId) or project
    return [(table.catalog or outer, table.db) for tree in trees for table in tree.find_all(exp.Table) if table.db]


def _refuse_elsewhere(project: str, dataset: str) -> None:
    """A job reads and writes data sets of its own place alone
    (https://cloud.google.com/bigquery/docs/locations#specify_locations).
    """
    found, place = location(project, dataset), _place.get()
    if found and found.lower() != place.lower():
        message = f"Not found: Dataset {names.label(project, dataset)} was not found in location {place}"
        raise BigQueryError("notFound", message)


def check_extract(config: JobConfigurationExtract) -> None:
    """Raise BigQueryError for an extract to a bucket that is elsewhere
    (https://cloud.google.com/bigquery/docs/exporting-data#data-locations).
    """
    _refuse_elsewhere(*_dataset(config.sourceTable))
    place = _place.get()
    if not _is_within(LOCATION, place):
        message = f"Cannot read and write in different locations: source: {place}, destination: {LOCATION}"
        raise BigQueryError("invalid", message)


def check_load(config: JobConfigurationLoad) -> None:
    """Raise BigQueryError for a load from a bucket that is elsewhere, of a generation, or of what Parquet lacks
    (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#limitations).
    """
    _refuse_elsewhere(*_dataset(config.destinationTable))
    place, uris = _place.get(), config.sourceUris or []
    if uris and place != _DEFAULT and not _is_within(LOCATION, place):
        message = f"Cannot read and write in different locations: source: {LOCATION}, destination: {place}"
        raise BigQueryError("invalid", message)
    if len(uris) > _MOST_URIS:
        raise BigQueryError("invalid", f"Too many source URIs: {len(uris)}, at most {_MOST_URIS}")
    for uri in uris:
        if re.search(r"#\d+$", uri):
            raise BigQueryError("invalid", f"A generation can't be loaded: {uri}")
    # What is uploaded is local.sources': it makes in one step what takes two there.
    fields = (uris and config.schema_ and config.schema_.fields) or []
    for field in fields if config.sourceFormat == "PARQUET" else []:
        if field.type in _NOT_IN_PARQUET:
            raise BigQueryError("invalid", f"Field {field.name} is {field.type}, which Parquet can't be loaded into")


def _is_within(bucket: str, place: str) -> bool:
    """Whether a bucket is in a place, or in a region of it."""
    regions = _REGIONS.get(place.upper())
    return bucket.lower() == place.lower() or (regions is not None and bucket.lower().startswith(regions))


def execute(
    cur: duckdb.DuckDBPyConnection,
    project: str,
    job: str | None,
    config: JobConfigurationQuery,
    dry_run: bool = False,
    session: Session | None = None,
) -> object:
    """Run a query that is of its place, and GoogleSQL. A statement of no job is local-bigquery's own."""
    if job or dry_run:
        for reference in _datasets(config, project):
            _refuse_elsewhere(*reference)
        _refuse_invalid(config, project)
    return _execute(cur, project, job, config, dry_run, session)


def _refuse_invalid(config: JobConfigurationQuery, project: str) -> None:
    if len(config.query or "") > _LONGEST_STATEMENT:
        raise BigQueryError("invalid", f"The query is too large: at most {_LONGEST_STATEMENT} characters")
    parameters = {
        parameter.name: parameter.parameterType.type for parameter in config.queryParameters or [] if parameter.name
    }
    try:
        googlesql.check(config.query or "", lambda name: _columns(name, config, project), parameters)
    except googlesql.InvalidError as refusal:
        raise BigQueryError("invalidQuery", str(refusal)) from None


def _columns(name: googlesql.Name, config: JobConfigurationQuery, project: str) -> googlesql.Columns | None:
    """The types of a table's columns, None if it is not there."""
    default = config.defaultDataset
    given = ".".join(name).rsplit(".", 2)
    outer = [(default and default.projectId) or project, (default and default.datasetId) or ""]
    reference = [*outer[: 3 - len(given)], *given]
    try:
        found = tables.columns(*reference)
    except (BigQueryError, duckdb.Error):
        return None
    return {column.name: types.bigquery_type(column) for column in found}
