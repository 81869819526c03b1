"""BigQuery: what a table looks like, and jobs that are asked for by name.

A job is judged by its `state` and `errorResult`
(https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatus), never by a client method that raises.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError, RetryableError, SourceError, SyncError
from shared.gcp.errors import TRANSIENT_REASONS, reason, translated
from shared.names import JobName, PartitionRef, TableRef

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, SchemaField, Table, TableReference

#: Reasons that say that a resource or a role is missing.
DEPLOYMENT_REASONS = frozenset(("accessDenied", "billingNotEnabled", "notFound"))

#: What BigQuery says, as `invalidQuery`, of a statement that changes a table while another does
#: (https://cloud.google.com/bigquery/docs/data-manipulation-language#concurrent_jobs).
_CONFLICT = "due to concurrent update"

#: Seconds for which a job that was just given may be unknown.
UNKNOWN_SECONDS = 60

_PARAMETERS = {int: "INT64", str: "STRING", date: "DATE"}
_ALIASES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}

#: Kinds of tables whose metadata count their rows: of a view they say 0, of a materialized one what it last computed.
_COUNTED = frozenset(("TABLE", "SNAPSHOT"))

#: The service's own form of a column (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema).
type FieldDocument = Mapping[str, str]

type Value = int | str | date


@dataclass(frozen=True)
class Field:
    """A column of a BigQuery table, its type by its GoogleSQL name. `parameters` are its greatest length, or its
    precision and scale, where it has them. Of one that may be `masked`, a policy decides who sees which values.
    """

    name: str
    type: str
    repeated: bool
    required: bool = False
    parameters: tuple[int, ...] = ()
    masked: bool = False

    @property
    def sql(self) -> str:
        """The type of its values in GoogleSQL, without parameters and members."""
        return f"ARRAY<{self.type}>" if self.repeated else self.type


@dataclass(frozen=True)
class TableInfo:
    """A table's metadata. `rows` is None where only a query counts them (a view); `partitions` is by what it is
    partitioned, in words: `the day of <column>`.
    """

    ref: TableRef
    kind: str
    location: str
    rows: int | None
    fields: tuple[Field, ...]
    partitions: str = "nothing"
    clustered_by: tuple[str, ...] = ()
    modified: datetime | None = None


@dataclass(frozen=True)
class JobError:
    """Why a job failed: BigQuery's reason code and its words."""

    reason: str
    message: str

    def failure(self, where: str, *, quote: bool) -> SyncError:
        """Our failure for this error; `quote` BigQuery's words where they can't hold a value of a row."""
        what = f"{self.reason}: {self.message}" if quote else f"{self.reason} (its message may quote a row)"
        if self.reason in TRANSIENT_REASONS or _CONFLICT in self.message:
            return RetryableError(what, where=where)
        if self.reason in DEPLOYMENT_REASONS:
            return ConfigurationError(what, where=where, remedy="Check the data sets, the bucket, and their roles")
        return SourceError(what, where=where)


@dataclass(frozen=True)
class Load:
    """Parquet files and where their rows go: a partition of a table that exists, to which they are appended, or a table
    that does not, which is made.
    """

    uris: Sequence[str]
    into: PartitionRef | TableRef
    schema: Sequence[FieldDocument]


@dataclass(frozen=True)
class Job:
    """The state of a job. `files` is how many objects an extract wrote, `uris` those that a load reads, `created` when
    it was asked for.
    """

    name: JobName
    done: bool
    error: JobError | None
    files: int | None
    uris: tuple[str, ...] = ()
    created: datetime | None = None


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
                table = self._client.get_table(_reference(ref))
            except NotFound:
                return None
            fields = map(_field, table.schema)
            return TableInfo(
                ref=ref,
                kind=table.table_type,
                location=table.location,
                rows=table.num_rows if table.table_type in _COUNTED else None,
                fields=tuple(fields),
                partitions=_partitions(table),
                clustered_by=tuple(table.clustering_fields or ()),
                modified=_modified(table),
            )

    def tables(self, dataset: str) -> list[tuple[TableRef, datetime]]:
        """The tables of one of the project's data sets, and when each was made."""
        with translated(f"listing {dataset}"):
            return [
                (TableRef(self.project, dataset, item.table_id), item.created)
                for item in self._client.list_tables(f"{self.project}.{dataset}")
            ]

    def create_table(
        self, ref: TableRef, schema: Sequence[FieldDocument], partition_by: str, cluster_by: Sequence[str]
    ) -> None:
        """Make a table partitioned by the days of a column, unless there is one."""
        from google.cloud.bigquery import SchemaField, Table, TimePartitioning

        table = Table(str(ref), [SchemaField.from_api_repr(dict(field)) for field in schema])
        table.time_partitioning = TimePartitioning(field=partition_by)
        table.clustering_fields = list(cluster_by) or None
        with translated(f"making {ref}"):
            self._client.create_table(table, exists_ok=True)

    def add_columns(self, ref: TableRef, schema: Sequence[FieldDocument]) -> None:
        """Append nullable columns (https://cloud.google.com/bigquery/docs/managing-table-schemas). If somebody else
        changes the table meanwhile, which its etag tells, that is a failure that may be retried.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud.bigquery import SchemaField

        with translated(f"adding columns to {ref}"):
            table = self._client.get_table(str(ref))
            known = {field.name for field in table.schema}
            added = [SchemaField.from_api_repr(dict(field)) for field in schema if field["name"] not in known]
            table.schema = [*table.schema, *added]
            try:
                self._client.update_table(table, ["schema"])
            except PreconditionFailed:
                raise RetryableError("the table was changed meanwhile", where=str(ref)) from None

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
                uris=tuple(getattr(job, "source_uris", None) or ()),
                created=job.created,
            )

    def query(
        self,
        name: JobName,
        location: str,
        sql: str,
        labels: Mapping[str, str],
        maximum_bytes_billed: int | None,
    ) -> bool:
        """Start a query job under that name; False when it was started already."""
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(labels=dict(labels), use_legacy_sql=False)
        if maximum_bytes_billed is not None:
            config.maximum_bytes_billed = maximum_bytes_billed
        return self._insert(
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

    def load(self, name: JobName, location: str, load: Load, labels: Mapping[str, str]) -> None:
        """Start the load of Parquet files under that name, or find it started.

        A load is all or nothing (https://cloud.google.com/bigquery/docs/batch-loading-data).
        """
        from google.cloud.bigquery import LoadJobConfig, ParquetOptions, SchemaField

        appends = isinstance(load.into, PartitionRef)
        # Without it, an array of Parquet is a STRUCT around one, of which a REPEATED column gets nothing
        # (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#list_logical_type).
        lists = ParquetOptions()  # type: ignore[no-untyped-call]
        lists.enable_list_inference = True
        config = LoadJobConfig(
            source_format="PARQUET",
            write_disposition="WRITE_APPEND" if appends else "WRITE_EMPTY",
            create_disposition="CREATE_NEVER" if appends else "CREATE_IF_NEEDED",
            schema=[SchemaField.from_api_repr(dict(field)) for field in load.schema],
            decimal_target_types=["NUMERIC", "BIGNUMERIC"],
            parquet_options=lists,
            labels=dict(labels),
        )
        self._insert(
            name,
            lambda: self._client.load_table_from_uri(
                list(load.uris), str(load.into), job_config=config, job_id=str(name), location=location
            ),
        )

    def rows(
        self, location: str, sql: str, maximum_bytes_billed: int | None = None, **parameters: "Value"
    ) -> list[tuple[object, ...]]:
        """The rows of a small query with named parameters."""
        from google.api_core.exceptions import BadRequest
        from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

        given = [ScalarQueryParameter(name, _PARAMETERS[type(value)], value) for name, value in parameters.items()]
        config = QueryJobConfig(query_parameters=given, use_legacy_sql=False)
        if maximum_bytes_billed is not None:
            config.maximum_bytes_billed = maximum_bytes_billed
        with translated("querying BigQuery"):
            try:
                result = self._client.query(sql, job_config=config, location=location).result()
                return [tuple(row.values()) for row in result]
            except BadRequest as e:
                # What a view computes fails with the value that it failed at.
                raise JobError(reason(e) or "invalid", "").failure("querying BigQuery", quote=False) from e

    def bytes_of(self, sql: str, location: str) -> int:
        """How many bytes a query would process, as BigQuery estimates it without running it
        (https://cloud.google.com/bigquery/docs/running-queries#dry-run).
        """
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(dry_run=True, use_query_cache=False, use_legacy_sql=False)
        with translated("asking BigQuery for an estimate"):
            return int(self._client.query(sql, job_config=config, location=location).total_bytes_processed or 0)

    def wait(self, name: JobName, location: str, deadline: float) -> Job:
        """The job once it is done. Raises RetryableError when `deadline` (of time.monotonic) passes first.

        A job that was just inserted may be unknown for a while, when the insert was retried
        (https://github.com/googleapis/python-bigquery/issues/2134).
        """
        pause, known_by = 0.1, time.monotonic() + UNKNOWN_SECONDS
        while True:
            job = self.job(name, location)
            if job is not None and job.done:
                return job
            now = time.monotonic()
            if job is None and now + pause > min(known_by, deadline):
                raise RetryableError("BigQuery does not know the job it was just given", where=f"job {name}")
            if now + pause > deadline:
                raise RetryableError("the job is still running; the next call attaches to it", where=f"job {name}")
            time.sleep(pause)
            pause = min(pause * 1.5, 3.0)

    def drop(self, ref: TableRef) -> None:
        """Delete the table if it is there."""
        with translated(f"dropping {ref}"):
            self._client.delete_table(str(ref), not_found_ok=True)

    @staticmethod
    def _insert(name: JobName, insert: Callable[[], object]) -> bool:
        from google.api_core.exceptions import Conflict

        with translated(f"starting job {name}"):
            try:
                insert()
            except Conflict:
                return False  # the job exists: another call, or this one's lost answer, started it
            return True


def _field(found: "SchemaField") -> Field:
    if found.precision is not None:
        parameters: tuple[int, ...] = (found.precision, found.scale or 0)
    else:
        parameters = (found.max_length,) if found.max_length is not None else ()
    type_ = _ALIASES.get(found.field_type, found.field_type)
    tags = found.policy_tags.names if found.policy_tags is not None else ()
    masked = bool(tags or found.to_api_repr().get("dataPolicies"))
    return Field(found.name, type_, found.mode == "REPEATED", found.mode == "REQUIRED", parameters, masked)


def _reference(ref: TableRef) -> "TableReference":
    """The client's own form, which it would else make of the text: a table's id may have what it takes for more."""
    from google.cloud.bigquery import DatasetReference, TableReference

    return TableReference(DatasetReference(ref.project, ref.dataset), ref.table)


def _partitions(table: "Table") -> str:
    """By what a table is partitioned (https://cloud.google.com/bigquery/docs/partitioned-tables). One without a column
    is so by the time when its rows came.
    """
    if table.range_partitioning is not None:
        return f"ranges of {table.range_partitioning.field}"
    times = table.time_partitioning
    return f"the {times.type_.lower()} of {times.field or '_PARTITIONTIME'}" if times else "nothing"


def _modified(table: "Table") -> datetime | None:
    """When a table's rows were last changed, if its metadata tells of every change
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table).
    """
    layout = table.time_partitioning
    expires = layout is not None and layout.expiration_ms is not None
    return None if table.table_type != "TABLE" or table.streaming_buffer or expires else table.modified
