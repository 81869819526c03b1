"""The daily flow's steps, as lineage names them: what they read, and what they write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.catalog import Table, View
from shared.daily.context import DailyRun, TableRun
from shared.daily.names import SnapshotFolder
from shared.lineage import Dataset, Run, deployment, relation
from shared.names import SnapshotId
from shared.services import Services


def export(services: Services, table: Table, snapshot: SnapshotId, started: datetime) -> Run:
    """A call's export of a table."""
    settings = services.settings
    ref = table.source.ref(settings.project, settings.datasets)
    return Run(
        deployment(settings.project, settings.environment),
        f"bq_export.{table.name}",
        f"{snapshot} {started.isoformat()}",
        (Dataset("bigquery", str(ref), _columns(table)),),
        _objects(services, table, snapshot),
    )


def load(run: TableRun, snapshot: SnapshotId, *, again: int | None = None) -> Run:
    """The import of a snapshot, from its manifest to its publish; or that it was published `again`, by that number."""
    return Run(
        deployment(run.settings.project, run.settings.environment),
        f"gcs_import.{run.table.name}",
        f"{snapshot}" if again is None else f"{snapshot} {again}",
        (_objects(run.services, run.table, snapshot),),
        _relation(run, run.table),
    )


def build(run: DailyRun, view: View, held: Mapping[str, int], started: datetime) -> Run:
    """A build of a view from these publications."""
    return Run(
        deployment(run.settings.project, run.settings.environment),
        f"mv_refresh.{view.name}",
        f"{sorted(held.items())} {started.isoformat()}",
        tuple(_relation(run, run.catalog.tables[table]) for table in view.reads),
        _relation(run, view),
    )


def _objects(services: Services, table: Table, snapshot: SnapshotId) -> Dataset:
    folder = SnapshotFolder(services.settings.prefix, table.name, snapshot)
    return Dataset(f"gs://{services.settings.bucket}", str(folder), _columns(table))


def _relation(run: DailyRun, of: Table | View) -> Dataset:
    return relation(run.connection.info, of.schema, of.name, _columns(of) if isinstance(of, Table) else {})


def _columns(table: Table) -> dict[str, str]:
    return {column.name: column.type.sql for column in table.columns}
