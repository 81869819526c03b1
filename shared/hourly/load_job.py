"""The job that brings a batch to BigQuery. Its id follows from what the job loads, so that nobody starts it twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.catalog import BigQueryType, HourlyTable
from shared.errors import RetryableError
from shared.gcp.bigquery import Job, Load
from shared.hourly.context import LogRun
from shared.hourly.manifest import Part
from shared.hourly.names import BatchTable
from shared.names import BatchId, Hour, JobName, PartitionRef, TableRef


@dataclass(frozen=True)
class LoadJob:
    """One attempt to load a batch. A job that failed has used up its id, so the next attempt has another."""

    run: LogRun
    batch: BatchId
    attempt: int

    @property
    def name(self) -> JobName:
        return JobName("load", self.run.table.name, self.batch, self.attempt)

    def find(self) -> Job | None:
        """The job that used up this attempt: the job that brings the batch to BigQuery, or a step before it that
        failed.

        None when BigQuery knows of no such job.
        """
        job = self._find(self.name)
        if job is None and self._has_json:
            staged = self._find(self._stage_name)
            return staged if staged is not None and staged.error is not None else None
        return job

    def start(self, parts: Sequence[Part]) -> Job:
        """Start the job that brings the parts to BigQuery, and wait for it; that job, or the step before it that
        failed.
        """
        bigquery, raw_table = self.run.services.bigquery, self.run.raw_table
        uris = [self.run.objects.uri(part.data.name) for part in parts]
        if self._has_json:
            staged = self._stage(uris)
            if staged.error is not None:
                return staged
            bigquery.query(self.name, raw_table.location, self._insert(), labels(self.run.table, self.batch.hour), None)
        else:
            load = Load(uris, PartitionRef(raw_table.ref, self.batch.hour.day), raw_table.schema)
            bigquery.load(self.name, raw_table.location, load, labels(self.run.table, self.batch.hour))
        return self.wait(self.name)

    def wait(self, name: JobName) -> Job:
        """The job once it is done. Raises RetryableError when the run's time is up first."""
        return self.run.services.bigquery.wait(name, self.run.raw_table.location, self.run.deadline)

    def clean(self) -> None:
        """Drop what the attempt no longer needs once it is done."""
        if self._has_json:
            self.run.services.bigquery.drop(self._staged)

    def give_up(self) -> None:
        """Take away what the attempt would load, so that a frozen worker that still tries fails.

        Raises RetryableError when that worker has just begun.
        """
        self.run.objects.remove(self.batch.hour, {self.batch.attempt})
        staged = self._find(self._stage_name) if self._has_json else None
        if staged is None or staged.done:
            self.clean()
            if self._find(self.name) is None:
                return
        raise RetryableError("another run has just started its load", where=f"hour {self.batch.hour}")

    def _stage(self, uris: Sequence[str]) -> Job:
        """Load the batch into a table of its own, JSON as text: no Parquet type can be loaded into a JSON column
        (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#type_conversions).
        """
        raw_table, text = self.run.raw_table, BigQueryType.STRING.api
        if self._find(self._stage_name) is None:
            schema = [{**f, "type": text} if f["type"] == BigQueryType.JSON.api else f for f in raw_table.schema]
            load = Load(uris, self._staged, schema)
            self.run.services.bigquery.load(
                self._stage_name, raw_table.location, load, labels(self.run.table, self.batch.hour)
            )
        return self.wait(self._stage_name)

    def _insert(self) -> str:
        """One statement, all or nothing as a load is. The JSON type rounds numbers that no double can hold."""
        schema, into = self.run.raw_table.schema, self.run.raw_table.ref.quoted
        names = [f"`{field['name']}`" for field in schema]
        values = [
            f"PARSE_JSON({name}, wide_number_mode => 'round')" if field["type"] == BigQueryType.JSON.api else name
            for name, field in zip(names, schema, strict=True)
        ]
        return f"INSERT INTO {into} ({', '.join(names)}) SELECT {', '.join(values)} FROM {self._staged.quoted}"

    def _find(self, name: JobName) -> Job | None:
        return self.run.services.bigquery.job(name, self.run.raw_table.location)

    @property
    def _has_json(self) -> bool:
        return any(column.target is BigQueryType.JSON for column in self.run.table.columns)

    @property
    def _stage_name(self) -> JobName:
        return JobName("stage", self.run.table.name, self.batch, self.attempt)

    @property
    def _staged(self) -> TableRef:
        settings, name = self.run.services.settings, BatchTable(self.run.table.name, self.batch, self.attempt)
        return TableRef(settings.project, settings.temporary_dataset, str(name))


def labels(table: HourlyTable, hour: Hour) -> Mapping[str, str]:
    """What the bill can be split by. Labels take lower case only
    (https://cloud.google.com/bigquery/docs/labels-intro#requirements).
    """
    return {"table": table.name.lower(), "hour": str(hour).lower()}
