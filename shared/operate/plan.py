"""Plan: what an export of a table would move and cost, by its metadata and a dry run in BigQuery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from shared.catalog import Table
from shared.daily import newest, refresh
from shared.daily import source as sources
from shared.daily.context import TableRun
from shared.db.postgres import connect, translated
from shared.gcp.bigquery import TableInfo
from shared.ledger import migrations
from shared.services import Services

#: The source is as the newest snapshot has it: an export would confirm that, and move nothing.
UNCHANGED = "unchanged"

_TIB = 1 << 40


@dataclass(frozen=True)
class Plan:
    """The plan for one table, from `source_table` as the catalog has it. `source` says whether that was changed since
    its newest snapshot. Rows are None
    where BigQuery counts them only by a query (a view). `bytes_billed` is BigQuery's own estimate. `outdated` says, of
    each view of the table that was built from another template, what becomes of it, whether the table is exported or
    not.
    """

    table: str
    source: str
    source_rows: int | None
    rows_to_move: int | None
    bytes_billed: int
    usd: float
    outdated: tuple[str, ...] = ()
    source_table: str = ""


def of(services: Services, table: Table, price_per_tib: float) -> Plan:
    """The plan for one table. Raises SourceError when the source is not what the catalog says."""
    source = sources.check(services, table)
    state = _state(services, table, source)
    # The query that is exported, and the one that counts its result: of the same rows, so asked of the source.
    read = sources.select(table, source, datetime.now(UTC))
    queries = (read, sources.count(table, source, f"({read})"))
    still = state == UNCHANGED
    billed = 0 if still else sum(services.bigquery.bytes_of(query, source.location) for query in queries)
    return Plan(
        table=table.name,
        source=state,
        source_rows=source.rows,
        rows_to_move=0 if still else source.rows,
        bytes_billed=billed,
        usd=round(billed / _TIB * price_per_tib, 6),
        outdated=_outdated(services, table),
        source_table=str(table.source),
    )


def _state(services: Services, table: Table, source: TableInfo) -> str:
    """How the source stands to the newest snapshot, as an export judges it."""
    with connect(services.settings, "plan") as connection, translated(f"looking at {table.name}"):
        latest = newest.of(connection, table) if migrations.exists(connection) else None
    if latest is None:
        return "never exported"
    if not latest.failed and latest.is_like(source):
        return UNCHANGED
    return "changed" if source.modified and latest.stated.source_modified else "may have changed"


def _outdated(services: Services, table: Table) -> tuple[str, ...]:
    with connect(services.settings, "plan") as connection, translated(f"looking at the views of {table.name}"):
        if not migrations.exists(connection):
            return ()
        run = TableRun(services, connection, table)
        told = [refresh.template_changed(run, view) for view in run.views]
    return tuple(each for each in told if each is not None)
