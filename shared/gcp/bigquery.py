"""BigQuery: what a table looks like, and jobs that are asked for by name.

A job is judged by its `state` and `errorResult`
(https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatus), never by a client method that raises.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError, RetryableError, SourceError, SyncError
from shared.gcp.errors import translated
from shared.names import JobName, TableRef

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

#: Reasons after which the same request can succeed (https://cloud.google.com/bigquery/docs/error-messages).
TRANSIENT_REASONS = frozenset(
    (
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "stopped",
        "tableUnavailable",
        "timeout",
    )
)

#: Reasons that say that a resource or a role is missing.
DEPLOYMENT_REASONS = frozenset(("accessDenied", "notFound"))

_ALIASES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


@dataclass(frozen=True)
class Field:
    """A column of a BigQuery table, its type by its GoogleSQL name."""

    name: str
    type: str
    repeated: bool


@dataclass(frozen=True)
class TableInfo:
    """A table's metadata. `rows` is None where BigQuery does not know it (a view)."""

    ref: TableRef
    kind: str
    location: str
    rows: int | None
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class JobError:
    """Why a job failed: BigQuery's reason code and its words."""

    reason: str
    message: str

    def failure(self, where: str, *, quote: bool) -> SyncError:
        """The failure that this is to us; `quote` its words where they can't hold a value of a row."""
        what = f"{self.reason}: {self.message}" if quote else f"{self.reason} (its message may quote a row)"
        if self.reason in TRANSIENT_REASONS:
            return RetryableError(what, where=where)
        if self.reason in DEPLOYMENT_REASONS:
            return ConfigurationError(what, where=where, remedy="Check the data sets, the bucket, and their roles")
        return SourceError(what, where=where)


@dataclass(frozen=True)
class Job:
    """The state of a job. `files` is how many objects an extract wrote."""

    name: JobName
    done: bool
    error: JobError | None
    files: int | None


class BigQuery:
    """One client, made on first use. Every method raises RetryableError or PermanentError as `translated` decides."""

    def __init__(self, project: str, *, emulated: bool = False) -> None:
        self.project, self._emulated = project, emulated

    @cached_property
    def _client(self) -> "Client":
        from google.cloud.bigquery import Client

        if self._emulated:
            # The client library takes the emulator's address from the environment, but still asks for credentials.
            from google.auth.credentials import AnonymousCredentials

            return Client(project=self.project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        return Client(project=self.project)

    def table(self, ref: TableRef) -> TableInfo | None:
        """The table's metadata, None when it does not exist."""
        from google.api_core.exceptions import NotFound

        with translated(f"reading the schema of {ref}"):
            try:
                table = self._client.get_table(str(ref))
            except NotFound:
                return None
            fields = (
                Field(f.name, _ALIASES.get(f.field_type, f.field_type), f.mode == "REPEATED") for f in table.schema
            )
            return TableInfo(ref, table.table_type, table.location, table.num_rows, tuple(fields))

    def job(self, name: JobName, location: str) -> Job | None:
        """The job of that name, None when nobody has asked for it."""
        from google.api_core.exceptions import NotFound

        with translated(f"asking for job {name}"):
            try:
                job = self._client.get_job(str(name), location=location)
            except NotFound:
                return None
            error = job.error_result
            counts = getattr(job, "destination_uri_file_counts", None)
            return Job(
                name=name,
                done=job.state == "DONE",
                error=JobError(error.get("reason", ""), error.get("message", "")) if error else None,
                files=sum(counts) if counts else None,
            )

    def query(
        self,
        name: JobName,
        location: str,
        sql: str,
        labels: Mapping[str, str],
        maximum_bytes_billed: int | None,
    ) -> None:
        """Start a query job under that name, or find it started."""
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(labels=dict(labels), use_legacy_sql=False)
        if maximum_bytes_billed is not None:
            config.maximum_bytes_billed = maximum_bytes_billed
        self._insert(
            name,
            # A retry by the library would replace a failed job's id with a random one.
            lambda: self._client.query(sql, job_config=config, job_id=str(name), location=location, job_retry=None),
        )

    def extract(self, name: JobName, location: str, source: TableRef, uri: str, labels: Mapping[str, str]) -> None:
        """Start the extract of a table to Snappy Parquet under that name, or find it started."""
        from google.cloud.bigquery import ExtractJobConfig

        config = ExtractJobConfig(  # type: ignore[no-untyped-call]
            destination_format="PARQUET", compression="SNAPPY", labels=dict(labels)
        )
        self._insert(
            name,
            lambda: self._client.extract_table(
                str(source), uri, job_config=config, job_id=str(name), location=location
            ),
        )

    def wait(self, name: JobName, location: str, deadline: float) -> Job:
        """The job once it is done. Raises RetryableError when `deadline` (of time.monotonic) passes first."""
        pause = 0.1
        while True:
            job = self.job(name, location)
            if job is None:
                raise RetryableError("BigQuery does not know the job it was just given", where=f"job {name}")
            if job.done:
                return job
            if time.monotonic() + pause > deadline:
                raise RetryableError("the job is still running; the next call attaches to it", where=f"job {name}")
            time.sleep(pause)
            pause = min(pause * 1.5, 3.0)

    def drop(self, ref: TableRef) -> None:
        """Delete the table if it is there."""
        with translated(f"dropping {ref}"):
            self._client.delete_table(str(ref), not_found_ok=True)

    @staticmethod
    def _insert(name: JobName, insert: Callable[[], object]) -> None:
        from google.api_core.exceptions import Conflict

        # 409 says that the job exists: another call, or this one's lost answer, started it.
        with translated(f"starting job {name}"), suppress(Conflict):
            insert()
