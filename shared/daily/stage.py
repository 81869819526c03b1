"""Stage a part: load it where no reader sees it, in one transaction, once."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import MAX_ROW_BYTES, Table
from shared.db.postgres import CopyPlace, Lock, holding, is_transient, translated
from shared.errors import DataError, UnreadableError
from shared.gcp.footer import Footer
from shared.gcp.parquet import Rows
from shared.ledger import attempts, snapshots
from shared.ledger.attempts import Work
from shared.names import ObjectVersion, SnapshotId
from shared.rows import casts, copy
from shared.rows.profile import Tap, of_table
from shared.services import Services
from shared.target import belongings, tables
from shared.words import quantity

#: How closely ANALYZE looks at a part: 3,000 rows in place of 30,000, a tenth of the time. Plans go by the statistics
#: of the whole table, which a publish takes in full.
STATISTICS_TARGET = "10"

#: What to do about a part that kills its workers.
FATAL = "Write its rows as smaller parts, or give gcs_import more memory or time, and import the snapshot"


def stage(
    services: Services,
    connection: psycopg.Connection,
    table: Table,
    snapshot: SnapshotId,
    version: ObjectVersion,
) -> None:
    """Load the part into a child table of its own, unless that is done already.

    Raises BusyError while another worker is at it, DataError when the part is not what the catalog says, FatalWorkError
    when it keeps killing its workers, and RetryableError. A worker that dies leaves nothing but a note of the attempt:
    the ledger's row, the table and its rows are one transaction.
    """
    with log.bound(part=version), translated(f"staging {version}"):
        if snapshots.part_is_staged(connection, version):
            return
        tables.ensure(connection, services.catalog.schema, table)
        work = Work(f"part {version}", FATAL)
        with (
            holding(connection, Lock.part(version)),
            attempts.counted(connection, services.settings, work),
            connection.transaction(),
        ):
            part_id = snapshots.claim_part(connection, table.name, snapshot, version)
            if part_id is not None:
                _load(services, connection, table, version, part_id)


def _load(
    services: Services, connection: psycopg.Connection, table: Table, version: ObjectVersion, part_id: int
) -> None:
    started = time.monotonic()
    footer = services.parquet.footer(version)
    plan = casts.plan(table.columns, footer, where=f"{table.name}, {version}")
    wanted = tables.create_child(connection, services.catalog.schema, table, part_id)
    tap = Tap(table.columns)
    rows = _copy(services, connection, table, version, footer, plan, tables.child(part_id), tap)
    if rows != footer.rows:
        raise DataError(f"PostgreSQL took {rows:,} of {quantity(footer.rows, 'row')}", where=str(version))
    tables.drop_defaults(connection, part_id)
    held = of_table(connection, tables.child(part_id), table.columns, expected=tap.profile)
    differences = tap.profile.differences(held)
    if differences:
        raise DataError(f"Parquet and PostgreSQL differ: {'; '.join(differences)}", where=str(version))
    for each in wanted:
        belongings.give(connection, each, f"{services.catalog.schema}.{table.name}")
    seconds = time.monotonic() - started
    snapshots.finish_part(connection, part_id, seconds, tap.profile, held)
    connection.execute("SELECT set_config('default_statistics_target', %s, true)", [STATISTICS_TARGET])
    connection.execute(sql.SQL("ANALYZE {}").format(tables.child(part_id)))
    log.info("part staged", rows=rows, seconds=round(seconds, 3), rows_per_second=round(rows / seconds))


def _copy(
    services: Services,
    connection: psycopg.Connection,
    table: Table,
    version: ObjectVersion,
    footer: Footer,
    plan: tuple[casts.Cast, ...],
    child: sql.Identifier,
    tap: Tap,
) -> int:
    """Copy, and on a value that does not fit, find out which column and row group it stands in."""
    import pyarrow as pa

    try:
        found = _rows(services, table, version, footer, plan)
        values = pa.schema(list(found.schema)[: len(plan)])
        return copy.copy(connection, child, plan, values, tap.through(services.parquet.stream(version, found)))
    except UnreadableError as e:
        raise _located(services, table, version, footer, plan) or e from e
    except psycopg.Error as e:
        place = CopyPlace.of(e)
        # What is not found is at fault itself, and no value: a function that a constraint of somebody's calls.
        if place is None or is_transient(e) or (e.sqlstate or "")[:2] in ("42", "3F"):
            raise
        if isinstance(e, pg.ProgramLimitExceeded) and place.column is None:
            # The server writes many rows at once, so the line is one behind it.
            what = f"a row takes more than {MAX_ROW_BYTES} bytes in PostgreSQL, of which a long value takes 18"
            remedy = "Take columns out of the catalog, or split the table"
            raise DataError(what, where=f"{table.name}, {version}", remedy=remedy) from e
        limit = next((cast.limit for cast in plan if cast.column.name == place.column), "")
        limit = f"{limit or 'PostgreSQL refuses it'} ({e.sqlstate})"
        row_group = footer.row_group_of(place.line - 1)
        raise _misfit(table, place.column or "a column", row_group, version, limit) from e


def _rows(
    services: Services, table: Table, version: ObjectVersion, footer: Footer, plan: tuple[casts.Cast, ...]
) -> Rows:
    """The rows of a part, by DuckDB if it can."""
    expressions = casts.selected(plan)
    try:
        return services.parquet.part(version, footer, expressions)
    except UnreadableError as e:
        # It may be statistics that DuckDB fails by, before it reads a page.
        broken = _located(services, table, version, footer, plan)
        if broken is not None:
            raise broken from e
    return services.parquet.part(version, replace(footer, beyond_duckdb=True), expressions)


def _located(
    services: Services, table: Table, version: ObjectVersion, footer: Footer, plan: tuple[casts.Cast, ...]
) -> DataError | None:
    """The error that names the first misfit; None when every value can be read and fits."""
    try:
        found = services.parquet.misread(version, footer, {cast.column.name: cast.expression for cast in plan})
    except UnreadableError:
        return None
    if found is None:
        return None
    if not found.broken:
        limit = next(cast.limit for cast in plan if cast.column.name == found.column)
        return _misfit(table, found.column, found.row_group, version, limit)
    where = f"{table.name}.{found.column}, row group {found.row_group} of {version}"
    return DataError(found.broken, where=where, remedy="Write the part anew")


def _misfit(table: Table, column: str, row_group: int, version: ObjectVersion, limit: str) -> DataError:
    return DataError(
        f"a value does not fit: {limit}",
        where=f"{table.name}.{column}, row group {row_group} of {version}",
        remedy="Correct the source and export it again",
    )
