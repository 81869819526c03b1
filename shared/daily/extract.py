"""Extract one table: its way through BigQuery to the parts and the manifest of one snapshot.

Every step is found again by its name: the ids of jobs, the temporary table and the folder follow from table, snapshot
and attempt. So a repeated, concurrent or killed call goes on where the work stands, and does nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from shared import log, trace
from shared.catalog import Table
from shared.daily import manifest as manifests
from shared.daily.manifest import Manifest, ManifestPart, Origin
from shared.daily.names import PartName, SnapshotFolder, SnapshotTable, parse_object_name
from shared.daily.source import check, count, profile, select
from shared.errors import ConfigurationError, PermanentError, RetryableError, SourceError, SyncError
from shared.gcp.bigquery import Job, JobError, TableInfo
from shared.gcp.storage import StoredObject
from shared.names import JobName, SnapshotId, TableRef
from shared.rows.profile import Profile
from shared.services import Services
from shared.words import quantity

#: Hours until BigQuery drops a temporary table that a killed call left.
EXPIRATION_HOURS = 24

#: A change of the source this shortly before it is read may be in what is read, or not.
CLOCKS_DIFFER = timedelta(seconds=2)


class Extraction:
    """The making of one snapshot of one table. `as_of` is the instant to read, `deadline` is of time.monotonic."""

    def __init__(
        self, services: Services, table: Table, snapshot: SnapshotId, as_of: datetime, deadline: float
    ) -> None:
        self._services, self._table, self._as_of, self._deadline = services, table, as_of, deadline
        self._folder = SnapshotFolder(services.settings.prefix, table.name, snapshot)

    def run(self) -> tuple[Manifest, bool]:
        """The manifest, and whether this call wrote it. The temporary table is dropped after it, never before."""
        done = self.find_manifest()
        if done is not None:
            self._drop_temporary(_attempt(done, self._folder))
            return done, False
        manifest = self._extract(check(self._services, self._table))
        settings, traceparent = self._services.settings, trace.current()
        new = self._services.storage.create(
            settings.bucket,
            self._folder.manifest,
            manifest.to_json(),
            "application/json",
            {trace.TRACEPARENT: traceparent} if traceparent else {},
        )
        self._drop_temporary(_attempt(manifest, self._folder))
        return manifest if new else self.find_manifest() or manifest, new

    def find_manifest(self) -> Manifest | None:
        """The manifest, once somebody wrote it."""
        bucket = self._services.settings.bucket
        found = self._services.storage.find(bucket, self._folder.manifest)
        content = self._services.storage.read(found.version) if found else None
        if content is None:
            return None
        return manifests.parse(content, self._folder, [column.name for column in self._table.columns])

    def _extract(self, source: TableInfo) -> Manifest:
        """Follow the current attempt to its files; when it is burnt, make at most one new one.

        Burnt is an attempt whose job failed or whose output is gone: a job id can't be used again. Attempts are
        unbounded in number, but a call that made one leaves the next to the next call.
        """
        attempt = 1
        tried = False
        while True:
            query, began = self._services.bigquery.job(self._name("query", attempt), source.location), False
            if query is None:
                tried = True
                began = self._start_query(source, attempt)
            try:
                outcome = self._follow(source, attempt, began=began)
            except PermanentError:
                self._drop_temporary(attempt)
                raise
            if isinstance(outcome, Manifest):
                return outcome
            done = self.find_manifest()  # whoever took our output away wrote this first
            if done is not None:
                return done
            self._drop_temporary(attempt)
            if tried:
                raise outcome
            attempt += 1

    def _temporary(self, attempt: int) -> TableRef:
        """Each attempt has its own, so that a call that is late on a burnt one drops nothing of the next."""
        settings = self._services.settings
        name = SnapshotTable(self._table.name, self._folder.snapshot, attempt)
        return TableRef(settings.project, settings.temporary_dataset, str(name))

    def _drop_temporary(self, attempt: int) -> None:
        """Drop the attempt's table; its expiration does it where this can't."""
        try:
            self._services.bigquery.drop(self._temporary(attempt))
        except SyncError as e:
            log.warning(f"temporary table left to its expiration: {e}")

    def _follow(self, source: TableInfo, attempt: int, *, began: bool) -> Manifest | SyncError:
        """See one attempt through; the error that burnt it when it can't be. `began`: this call made it."""
        bigquery, location = self._services.bigquery, source.location
        query = bigquery.wait(self._name("query", attempt), location, self._deadline)
        if query.error:
            ahead = self._ahead(query) if began else None
            return ahead or self._job_error(query.name, query.error, source)
        name = self._name("extract", attempt)
        if bigquery.job(name, location) is None:
            temporary = bigquery.table(self._temporary(attempt))
            if temporary is None:
                return RetryableError("its result is gone", where=f"job {query.name}")
            if hidden := self._hidden(source, temporary, self._as_of if began else query.created):
                return hidden
            if not temporary.rows and not self._table.allow_empty:
                raise _empty(self._table, str(source.ref))
            uri = f"gs://{self._services.settings.bucket}/{self._folder.part_pattern(attempt)}"
            bigquery.extract(name, location, self._temporary(attempt), uri, self._labels)
        profile = self._profile(source, attempt)
        extract = bigquery.wait(name, location, self._deadline)
        if extract.error:
            return self._job_error(name, extract.error, source)
        if profile is None:
            return RetryableError("the table it extracted is gone", where=f"job {name}")
        # What another call began read the source at another instant.
        started = self._as_of if began else query.created or self._as_of
        modified = self._modified(source) if began else None
        types = {column.name: column.type.sql for column in self._table.columns}
        origin = Origin(started, datetime.now(UTC), modified, profile, types)
        return self._check(extract, origin, source, attempt)

    def _ahead(self, query: Job) -> SyncError | None:
        """The error of a query of this call that asked for a time which had yet to come
        (https://cloud.google.com/bigquery/docs/access-historical-data).
        """
        if query.created is None or self._as_of <= query.created:
            return None
        off = (self._as_of - query.created).total_seconds()
        return ConfigurationError(
            f"the clock of this export is {off:.1f} s ahead of BigQuery's, which reads no table as of the future",
            where=f"job {query.name}",
            remedy="Set the clock right",
        )

    def _hidden(self, source: TableInfo, temporary: TableInfo, read: datetime | None) -> SyncError | None:
        """The error of a result that misses rows of a source that was not changed since it was `read`.

        Whatever else is counted of the snapshot is counted of the same result: only the source's metadata, which no
        policy filters, tells (https://cloud.google.com/bigquery/docs/row-level-security-intro).
        """
        still = source.modified is not None and read is not None and source.modified < read - CLOCKS_DIFFER
        if not still or (temporary.rows or 0) >= (source.rows or 0):
            return None
        return ConfigurationError(
            f"shows {temporary.rows:,} of its {quantity(source.rows or 0, 'row')}: row access policies hide the others"
            " from this account",
            where=str(source.ref),
            remedy="Make the function's account a grantee of a policy with FILTER USING (TRUE)",
        )

    def _modified(self, source: TableInfo) -> datetime | None:
        """When the source was last changed before it was read; None where a change may have slipped in between."""
        known = source.modified is not None and source.modified < self._as_of - CLOCKS_DIFFER
        return source.modified if known else None

    def _profile(self, source: TableInfo, attempt: int) -> Profile | None:
        """What BigQuery counts of what it extracts, while it does; None when another call has dropped it."""
        temporary = self._temporary(attempt)
        sql = count(self._table, source, temporary.aliased)
        try:
            (row,) = self._services.bigquery.rows(source.location, sql, self._services.settings.maximum_bytes_billed)
        except SyncError:
            if self._services.bigquery.table(temporary) is None:
                return None
            raise
        return profile(self._table, source, row)

    def _start_query(self, source: TableInfo, attempt: int) -> bool:
        """Whether it was this call that began it."""
        hours = f"TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {EXPIRATION_HOURS} HOUR)"
        return self._services.bigquery.query(
            self._name("query", attempt),
            source.location,
            f"CREATE OR REPLACE TABLE {self._temporary(attempt).quoted} OPTIONS (expiration_timestamp = {hours}) AS"
            f" {select(self._table, source, self._as_of)}",
            self._labels,
            self._services.settings.maximum_bytes_billed,
        )

    def _check(self, extract: Job, origin: Origin, source: TableInfo, attempt: int) -> Manifest | SyncError:
        """The manifest of an attempt's files, if they are as many as the extract wrote and hold every row."""
        rows, bucket = origin.profile.rows, self._services.settings.bucket
        stored = list(self._services.storage.objects(bucket, self._folder.attempt(attempt)))
        if extract.files is None or len(stored) != extract.files:
            return RetryableError(
                f"wrote {quantity(extract.files or 0, 'file')}, and {len(stored)} can be found",
                where=f"job {extract.name}",
            )
        counts = [self._services.parquet.footer(file.version).rows for file in stored]
        if sum(counts) != rows:
            return RetryableError(f"wrote {sum(counts):,} of {quantity(rows, 'row')}", where=f"job {extract.name}")
        types = {field.name: field.type for field in source.fields}
        return Manifest(
            table=self._table.name,
            snapshot=self._folder.snapshot,
            source_rows=rows,
            columns=tuple((column.name, types[column.name]) for column in self._table.columns),
            parts=tuple(_part(file, count) for file, count in zip(stored, counts, strict=True)),
            origin=origin,
        )

    def _name(self, step: str, attempt: int) -> JobName:
        return JobName(step, self._table.name, self._folder.snapshot, attempt)

    @property
    def _labels(self) -> Mapping[str, str]:
        # Labels take lower case only (https://cloud.google.com/bigquery/docs/labels-intro#requirements).
        return {"table": self._table.name.lower(), "snapshot": str(self._folder.snapshot).lower()}

    @staticmethod
    def _job_error(name: JobName, error: JobError, source: TableInfo) -> SyncError:
        # A view computes, and an external table parses: what fails in them is told with the value that failed.
        return error.failure(f"job {name}", quote=source.kind == "TABLE")


def _attempt(manifest: Manifest, folder: SnapshotFolder) -> int:
    """The attempt that made the manifest's parts; the first where another uploader made them."""
    names = (parse_object_name(part.name, folder.prefix) for part in manifest.parts[:1])
    return next((int(name.attempt) for name in names if isinstance(name, PartName) and name.attempt.isdigit()), 1)


def _part(file: StoredObject, rows: int) -> ManifestPart:
    return ManifestPart(file.version.name, file.version.generation, rows, file.bytes, file.crc32c)


def _empty(table: Table, where: str) -> SourceError:
    return SourceError("has no rows", where=where, remedy=f"Fill it, or set allow_empty for {table.name}")
