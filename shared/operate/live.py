"""Live: what differs between the catalog and what BigQuery and PostgreSQL have now, by the functions' own checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from shared.catalog import HourlyTable, KeyPath, Table
from shared.daily import evolve
from shared.daily import source as sources
from shared.daily.context import TableRun
from shared.db.postgres import connect, translated
from shared.db.session import refuse_absent
from shared.errors import ConfigurationError, PermanentError, SyncError
from shared.hourly import schema
from shared.hourly.names import LogFolder
from shared.hourly.raw_table import reference
from shared.hourly.recover import was_loaded
from shared.hourly.store import Store
from shared.operate.migrate import pending
from shared.rows.log_table import LogTable
from shared.services import HourlyServices, Services
from shared.target import columns, tables


@dataclass
class Findings:
    """What differs, each by its path in the catalog, and what is only worth knowing; and the failures among them."""

    differences: list[tuple[KeyPath, str]] = field(default_factory=list)
    notes: list[tuple[KeyPath, str]] = field(default_factory=list)
    failures: list[SyncError] = field(default_factory=list)

    @contextmanager
    def at(self, *path: str) -> Iterator[None]:
        """A failure in the block is a difference there, unless it is one that goes by itself."""
        try:
            with translated(f"looking at {'.'.join(path)}"):
                yield
        except (PermanentError, ConfigurationError) as e:
            self.differences.append((path, str(e)))
            self.failures.append(e)


def of_tables(services: Services, done: Callable[[str], None]) -> Findings:
    """Compare the tables with their sources and with what readers have. `done` is called with the name of each."""
    found = Findings()
    with connect(services.settings, "catalog check") as connection:
        for table in services.catalog.tables.values():
            compare_source(found, services, table)
            _target(found, TableRun(services, connection, table))
            done(table.name)
    return found


def of_logs(services: HourlyServices, done: Callable[[str], None]) -> Findings:
    """Compare the logs with their tables in PostgreSQL and in BigQuery. `done` is called with the name of each."""
    found = Findings()
    with connect(services.settings, "catalog check") as connection:
        for log in services.catalog.hourly.values():
            compare_log(found, LogTable(connection, services.catalog.schema, log))
            compare_raw_table(found, services, log)
            done(log.name)
    return found


def compare_log(found: Findings, log_table: LogTable) -> None:
    """Compare a log with its table in PostgreSQL."""
    path = ("hourly", log_table.table.name)
    with found.at(*path):
        wrong = [((*path, *of), str(what)) for of, what in log_table.differences()]
        found.differences += wrong
        if not wrong:
            log_table.check()


def compare_raw_table(found: Findings, services: HourlyServices, log: HourlyTable) -> None:
    """Compare a log with its table in BigQuery."""
    path, ref = ("hourly", log.name), reference(services.settings, log)
    with found.at(*path):
        table = services.bigquery.table(ref)
        if table is None:
            store = Store(services.storage, services.settings.bucket, LogFolder(services.settings.prefix, log.name))
            if was_loaded(store):
                raise schema.gone(ref, log)
            maker = schema.maker(log)
            how = f"{maker} makes it, or the first hour" if log.target.ours else f"make it by {maker}"
            found.notes.append((path, f"{ref} does not exist yet: {how}"))
            return
        found.differences += [((*path, *of), f"{ref}: {what}") for of, what in schema.differences(table, log)]
        if lacking := schema.missing(table, log):
            found.notes.append(((*path, "columns"), f"{ref} lacks {', '.join(lacking)}, which the next hour adds"))


def compare_source(found: Findings, services: Services, table: Table) -> None:
    """Compare a table with its source."""
    path = ("tables", table.name)
    with found.at(*path, "source"):
        source = sources.find(services, table)
        found.differences += [
            ((*path, "columns", name), f"{what}, in {source.ref}")
            for name, what in sources.drifted(table, source).items()
        ]
        named = {column.name for column in table.columns}
        more = [f"{field.name} ({field.sql})" for field in source.fields if field.name not in named]
        if more:
            found.notes.append(((*path, "columns"), f"{source.ref} has more, which do not travel: {', '.join(more)}"))


def _target(found: Findings, run: TableRun) -> None:
    connection, table, path = run.connection, run.table, ("tables", run.table.name)
    for column in table.columns:
        with found.at(*path, "columns", column.name):
            refuse_absent(connection, [column], run.where)
    with found.at(*path):
        if not tables.check(connection, run.schema, table):
            found.notes.append((path, f"{run.where} does not exist yet: its first publish makes it"))
            return
        present = columns.of_relation(connection, run.schema, table.name)
        missing = [column for column in table.columns if column.name not in present]
        changes = [(column.name, f"is missing in {run.where}: recosync migrate adds it") for column in missing]
        found.differences += [((*path, "columns", name), what) for name, what in (*changes, *pending(run))]
        if evolve.is_new(run):
            found.notes.append((path, f"no publish made {run.where}: the first one adopts the rows that it holds"))
