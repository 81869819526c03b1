"""What the steps of a run work on: one log, where its rows are, and how far its hours have come."""

from __future__ import annotations

from dataclasses import dataclass

from shared.catalog import HourlyTable
from shared.hourly.objects import BatchObjects
from shared.hourly.raw_table import RawTable
from shared.hourly.store import Store
from shared.names import Hour
from shared.rows.log_table import LogTable
from shared.services import HourlyServices


@dataclass(frozen=True)
class LogRun:
    """One run of the flow over one log: its rows in PostgreSQL, in Cloud Storage and in BigQuery, and its manifests.

    `start` is the first hour that the flow owns; `deadline` is of time.monotonic; `counts` says whether this role may
    note attempts in the ledger.
    """

    services: HourlyServices
    log_table: LogTable
    objects: BatchObjects
    raw_table: RawTable
    store: Store
    start: Hour
    deadline: float
    counts: bool

    @property
    def tells(self) -> bool:
        """Whether somebody is to be told of hours that are done."""
        return self.services.settings.hour_done_topic is not None

    @property
    def table(self) -> HourlyTable:
        return self.log_table.table
