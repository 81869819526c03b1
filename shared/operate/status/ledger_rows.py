"""What the ledger says, as rows, read in one snapshot by a role that may do nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import psycopg
from psycopg.rows import class_row

from shared.catalog import Catalog
from shared.db import queries
from shared.db.postgres import connect, translated
from shared.errors import ConfigurationError
from shared.ledger import migrations, standing
from shared.ledger.holds import Decision
from shared.names import ADOPTED
from shared.operate.status.report import Acknowledgement
from shared.settings import CommonSettings

#: Runs that are shown of each table.
RUNS = 7

#: How far back permanent failures are looked at, and how many of them.
FAILURE_DAYS, FAILURES = 14, 1_000

#: How long after a function told of a failure it counts as failing: the daily calls come in less, and events live 24 h.
FAILING = timedelta(hours=26)

#: Milliseconds that one statement may take: nobody waits longer for a page.
PATIENCE_MS = 15_000


@dataclass(frozen=True, kw_only=True)
class Acknowledgeable:
    """What an operator may say to have dealt with: who did, when and why, or nothing of it."""

    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_why: str | None = None

    @property
    def acknowledged(self) -> Acknowledgement | None:
        if self.acknowledged_at is None:
            return None
        return Acknowledgement(self.acknowledged_at, self.acknowledged_by or "", self.acknowledged_why or "")


@dataclass(frozen=True)
class PublishedRow:
    """What readers see of a table, and its receipt where there is one. `lost_parts` are those of its parts that are no
    children of the table any more.
    """

    name: str
    snapshot: str
    publication: int
    rows: int
    published_at: datetime
    cause: str
    source_modified_at: datetime | None
    export_started_at: datetime | None
    confirmed_at: datetime | None
    receipt_made_at: datetime | None
    bigquery_rows: int | None
    parquet_rows: int | None
    postgresql_rows: int | None
    columns: int
    duplicate_keys: int | None
    lost_parts: int = 0


@dataclass(frozen=True)
class SnapshotRow:
    """When each stage of a snapshot began and ended, as far as the snapshot has come; of several publishes, the first
    counts.

    `counted` is when all parts had come: from then on the snapshot has its receipt.
    """

    name: str
    snapshot: str
    export_began: datetime | None
    export_ended: datetime | None
    recorded: datetime
    stage_began: datetime | None
    stage_ended: datetime | None
    counted: datetime | None
    published: datetime | None
    cause: str | None
    seconds: float | None
    refresh_ended: datetime | None
    decision: Decision | None
    held: datetime | None


@dataclass(frozen=True)
class CallRow(Acknowledgeable):
    """What an export call found of a table; `id` is its in recosync.export_run."""

    name: str
    started_at: datetime
    finished_at: datetime
    outcome: str
    snapshot: str | None
    message: str | None
    id: int = 0


@dataclass(frozen=True)
class FailedRow(Acknowledgeable):
    """A snapshot of which something failed for good: when that was last, and what; of a refresh, with
    what templates. `id` is the failure's in recosync.failure.
    """

    name: str
    snapshot: str
    at: datetime
    message: str
    templates: str | None = None
    id: int = 0


@dataclass(frozen=True)
class HoldRow:
    """A snapshot that waits for a decision."""

    name: str
    snapshot: str
    rows: int
    held_at: datetime
    reasons: list[str]


@dataclass(frozen=True)
class PinRow:
    """A table that events leave alone."""

    name: str
    snapshot: str
    pinned_at: datetime
    pinned_by: str


@dataclass(frozen=True)
class ViewRow:
    """What a live view holds of a table. `template` is the digest of the template that it was built from. A view that
    does not stand any more was dropped by somebody.
    """

    name: str
    table_name: str
    publication: int
    snapshot: str
    built_at: datetime
    seconds: float
    template: str | None
    stands: bool = True


@dataclass(frozen=True)
class FailureRow(Acknowledgeable):
    """A permanent failure; `total` is how many there are. `id` is its in recosync.export_run or recosync.failure.

    `publication` is that of a refresh. `passed` says of an export whether a later call succeeded, and of anything else
    whether the table came through since, with the snapshot or a newer one.
    """

    at: datetime
    kind: str
    table_name: str | None
    snapshot: str | None
    subject: str
    message: str
    publication: int | None
    passed: bool
    total: int
    id: int = 0
    is_export: bool = False


@dataclass(frozen=True)
class FailingRow(Acknowledgeable):
    """What the last answer of a function told as failed."""

    function: str
    name: str
    error: str
    message: str
    retryable: bool
    first_at: datetime
    last_at: datetime
    times: int

    @property
    def acknowledged(self) -> Acknowledgement | None:
        """Who dealt with it; nobody has once it was told again."""
        found = super().acknowledged
        return found if found is not None and found.at >= self.last_at else None


@dataclass(frozen=True)
class OrphanRow:
    """A table or view that was published, or built, and left the catalog."""

    kind: Literal["table", "view"]
    name: str


@dataclass(frozen=True)
class LedgerRows:
    """All that the page shows of the ledger, as of one instant."""

    published: list[PublishedRow]
    snapshots: list[SnapshotRow]
    calls: list[CallRow]
    failed: list[FailedRow]
    holds: list[HoldRow]
    pins: list[PinRow]
    views: list[ViewRow]
    failures: list[FailureRow]
    failing: list[FailingRow] = field(default_factory=list)
    orphans: list[OrphanRow] = field(default_factory=list)
    unaccounted: set[str] = field(default_factory=set)


def read(settings: CommonSettings, catalog: Catalog, now: datetime) -> LedgerRows:
    """Read what the ledger says of the catalog's tables and views.

    Raises SyncError: RetryableError when the ledger can't be reached, ConfigurationError when it is not there, too old,
    or closed to this role.
    """
    with (
        connect(settings, "status") as connection,
        translated("reading the ledger"),
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SELECT set_config('statement_timeout', %s, true)", [f"{PATIENCE_MS}ms"])
        # Compiling a query takes longer than any of these.
        connection.execute("SET LOCAL jit = off")
        _check(connection)
        tables = {"tables": list(catalog.tables)}
        runs = {**tables, "runs": RUNS}
        pairs = [(view.name, table) for view in catalog.views.values() for table in view.reads]
        sources = {
            "views": [view for view, _ in pairs],
            "reads": [table for _, table in pairs],
            "schemas": [catalog.views[view].schema for view, _ in pairs],
        }
        recent = {"since": now - timedelta(days=FAILURE_DAYS), "limit": FAILURES}
        return LedgerRows(
            published=_rows(connection, PublishedRow, "published", tables),
            snapshots=_rows(connection, SnapshotRow, "snapshots", {**runs, "adopted": str(ADOPTED)}),
            calls=_rows(connection, CallRow, "calls", runs),
            failed=_rows(connection, FailedRow, "failed", runs),
            holds=_rows(connection, HoldRow, "holds", {}),
            pins=_rows(connection, PinRow, "pins", {}),
            views=_rows(connection, ViewRow, "views", sources),
            failures=_rows(connection, FailureRow, "failures", recent),
            failing=_rows(connection, FailingRow, "failing", {"since": now - FAILING}),
            orphans=_rows(connection, OrphanRow, "orphans", {**tables, "views": list(catalog.views)}),
            unaccounted=standing.unaccounted(
                connection, {table.name: table.schema for table in catalog.tables.values()}
            ),
        )


def _rows[R](connection: psycopg.Connection, kind: type[R], query: str, values: Mapping[str, object]) -> list[R]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(queries.load("status")[query], values).fetchall()


def _check(connection: psycopg.Connection) -> None:
    access = connection.execute(queries.load("status")["access"]).fetchone()
    if access is None:
        raise ConfigurationError("there is no ledger yet", where="schema recosync", remedy=_MIGRATE)
    usable, readable = access
    if not usable:
        raise ConfigurationError(
            "the role of the status page may not look into it",
            where="schema recosync",
            remedy=f"Run: recosync migrate --reader {shlex.quote(connection.info.user)}",
        )
    # Every version since the second opens its tables to whoever may use the schema.
    if not readable:
        raise ConfigurationError("is older than version 2", where="the ledger", remedy=_MIGRATE)
    if not migrations.exists(connection):
        raise ConfigurationError("there is no ledger yet", where="schema recosync", remedy=_MIGRATE)


_MIGRATE = "Run: recosync migrate"
