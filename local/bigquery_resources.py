"""What local-bigquery knows of jobs, tables and data sets, in memory.

A query's job is saved three times, and a look at a table asks four times: in DuckDB that was a third of the processor's
time. Each resource is kept as its JSON, so that nobody changes what another has.
"""

import hashlib
import json
from collections import defaultdict

from local_bigquery.catalog import metadata, row_access
from local_bigquery.jobs import store
from local_bigquery.models import Job, RowAccessPolicy
from local_bigquery.resource import Resource

type _Key = tuple[str, ...]

_resources: defaultdict[type[Resource], dict[_Key, str]] = defaultdict(dict)


def install() -> None:
    """Have local-bigquery keep them so. Before it serves."""
    metadata.list_, metadata.save, metadata.delete = list_, save, delete
    store.save, store.load, store.list_, store.delete = save_job, load_job, list_jobs, delete_job
    row_access.secured = lambda: frozenset(key[:3] for key in tuple(_resources[RowAccessPolicy]))


def forget(project: str) -> None:
    """Drop all of a project."""
    for model in tuple(_resources):
        delete(model, project)


def list_[R: Resource](model: type[R], *keys: str) -> list[R]:
    known = _resources[model]
    found = [known[keys]] if keys in known else [known[key] for key in _below(model, keys)]
    return [model.model_validate_json(resource) for resource in found]


def save[R: Resource](resource: R, *keys: str) -> R:
    body = {name: value for name, value in resource.dump().items() if name != "etag"}
    etag = hashlib.md5(json.dumps(body, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    _resources[type(resource)][keys] = json.dumps(body | {"etag": etag})
    saved: R = resource.replace(etag=etag)
    return saved


def delete(model: type[Resource], *keys: str) -> None:
    for key in _below(model, keys):
        _resources[model].pop(key, None)


def _below(model: type[Resource], keys: _Key) -> list[_Key]:
    """The full keys that begin so."""
    return [key for key in tuple(_resources[model]) if key[: len(keys)] == keys]


def save_job(job: Job) -> Job:
    _resources[Job][job.jobReference.projectId, job.jobReference.jobId] = json.dumps(job.dump())
    return job


def load_job(project: str, job: str) -> Job | None:
    return next(iter(list_(Job, project, job)), None)


def list_jobs(
    project: str,
    states: list[str] | None = None,
    parent: str | None = None,
    first: int | None = None,
    last: int | None = None,
) -> list[Job]:
    """Those of a project that are of one of the states, have that parent, and were made then (ms): the newest first."""
    jobs = [
        job
        for job in list_(Job, project)
        if job.statistics.parentJobId == parent
        and (states is None or job.status.state in states)
        and (first is None or int(job.statistics.creationTime) >= first)
        and (last is None or int(job.statistics.creationTime) <= last)
    ]
    return sorted(jobs, key=lambda job: (-int(job.statistics.creationTime), job.jobReference.jobId))


def delete_job(project: str, name: str) -> None:
    for job in list_(Job, project):
        if name in (job.jobReference.jobId, job.statistics.parentJobId):
            delete(Job, project, job.jobReference.jobId)
