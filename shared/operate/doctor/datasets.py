"""BigQuery: the data sets and where they are, the sources by a dry run of their very query, the tables of the logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from shared.catalog import HourlyTable, Table
from shared.daily import source as sources
from shared.gcp.rest import Rest
from shared.hourly.raw_table import reference
from shared.names import DatasetRef
from shared.operate import live
from shared.operate.doctor.buckets import Place
from shared.operate.doctor.check import Check, is_forbidden, tried, wrong
from shared.operate.live import Findings
from shared.rows.log_table import LogTable
from shared.services import HourlyServices, Services

BIGQUERY = "https://bigquery.googleapis.com/bigquery/v2"


def of_tables(rest: Rest, services: Services, place: Callable[[], Place] | None) -> Iterator[Check]:
    """The data set of temporary tables, which has to fit the `place` of the export bucket, where that is known, and the
    source of each table, which has to be where that data set is: a job runs in one location
    (https://cloud.google.com/bigquery/docs/locations#specify_locations).
    """
    settings = services.settings
    temporary = DatasetRef(settings.project, settings.temporary_dataset)
    if place is not None:
        yield tried(f"data set {temporary.dataset}", partial(_fits, rest, temporary, place, "export"))
    for table in services.catalog.tables.values():
        yield tried(f"source of {table.name}", partial(_source, rest, services, table, temporary))


def of_logs(rest: Rest, services: HourlyServices, place: Callable[[], Place] | None) -> Iterator[Check]:
    """The data set of each log, which has to fit the `place` of the hourly bucket if that is known, and its table."""
    refs = {log.name: reference(services.settings, log) for log in services.catalog.hourly.values()}
    datasets = dict.fromkeys(DatasetRef(ref.project, ref.dataset) for ref in refs.values())
    if place is not None:
        for dataset in datasets:
            yield tried(f"data set {dataset.dataset}", partial(_fits, rest, dataset, place, "hourly"))
    for log in services.catalog.hourly.values():
        yield tried(f"BigQuery table of {log.name}", partial(_raw_table, services, log))


def log_tables(services: HourlyServices, open_log: Callable[[HourlyTable], LogTable]) -> Iterator[Check]:
    """The log in PostgreSQL: its columns, its key, the index on its time column."""
    for log in services.catalog.hourly.values():
        yield tried(f"log {log.name}", partial(_log, open_log, log))


def _location(rest: Rest, dataset: DatasetRef) -> str:
    """By https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets#Dataset."""
    url = f"{BIGQUERY}/projects/{dataset.project}/datasets/{dataset.dataset}"
    remedy = "terraform apply makes it, where it is of the suite; correct its name where it is of others"
    return str(rest.ask(url).found(f"{dataset.project}.{dataset.dataset}", remedy)["location"]).upper()


def _fits(rest: Rest, dataset: DatasetRef, place: Callable[[], Place], role: str) -> str:
    location, bucket = _location(rest, dataset), place()
    if not bucket.fits(location):
        raise wrong(
            f"is in {location}, the {role} bucket in {bucket.location}: no job of BigQuery reads or writes across",
            dataset.dataset,
            "Set bigquery_location to a place that has the bucket's region in it, or name another bucket in"
            f" bucket_names.{role}",
        )
    return f"is in {location}, which fits the bucket's {bucket.location}"


def _source(rest: Rest, services: Services, table: Table, temporary: DatasetRef) -> str:
    found = Findings()
    live.compare_source(found, services, table)
    told = _told(found)
    source = sources.check(services, table)
    if (here := _location(rest, temporary)) != source.location.upper():
        raise wrong(
            f"is in {source.location}, where its query runs, and {temporary.dataset} in {here}",
            str(source.ref),
            "Set bigquery_location to the place of the sources",
        )
    query = sources.select(table, source, datetime.now(UTC))
    read = services.bigquery.bytes_of(query, source.location)
    return f"its query reads {read:,} bytes" + (f"; {told}" if told else "")


def _raw_table(services: HourlyServices, log: HourlyTable) -> str:
    found = Findings()
    live.compare_raw_table(found, services, log)
    return _told(found) or "is as the catalog has it"


def _log(open_log: Callable[[HourlyTable], LogTable], log: HourlyTable) -> str:
    found = Findings()
    live.compare_log(found, open_log(log))
    return _told(found) or "is as the catalog has it, with its key and its index"


def _told(found: Findings) -> str:
    """What is worth knowing. Raises what differs, and first of all that this account may not look."""
    if forbidden := next(filter(is_forbidden, found.failures), None):
        raise forbidden
    if found.differences:
        told = "; ".join(f"{'.'.join(path[2:]) or path[1]} {what}" for path, what in found.differences)
        raise wrong(told, "", "recosync catalog check --live names the lines of the catalog")
    return "; ".join(what for _, what in found.notes)
