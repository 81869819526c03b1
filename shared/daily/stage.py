"""Stage a part: load it where no reader sees it, in one transaction, once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors as pg
from psycopg import sql

from shared import log
from shared.catalog import MAX_ROW_BYTES
from shared.daily.context import TableRun
from shared.db.locks import Lock
from shared.db.postgres import CopyPlace, at_once, is_transient, translated
from shared.errors import DataError, UnreadableError
from shared.gcp.footer import Footer
from shared.gcp.parquet import Rows
from shared.ledger import attempts, snapshots
from shared.ledger.attempts import Work
from shared.names import ObjectVersion, SnapshotId
from shared.rows import casts, copy
from shared.rows.casts import Cast
from shared.rows.profile import Tap, of_table
from shared.target import belongings, tables
from shared.words import quantity

#: How closely ANALYZE looks at a part: 3,000 rows in place of 30,000, a tenth of the time. Plans go by the statistics
#: of the whole table, which a publish takes in full.
STATISTICS_TARGET = "10"

#: What to do about a part that kills its workers.
FATAL = "Write its rows as smaller parts, or give gcs_import more memory or time, and import the snapshot"


@dataclass(frozen=True)
class _Part:
    """A part on its way: its file, and what becomes of each column."""

    run: TableRun
    version: ObjectVersion
    footer: Footer
    plan: tuple[Cast, ...]

    @property
    def where(self) -> str:
        return f"{self.run.table.name}, {self.version}"

    def limit(self, column: str | None) -> str:
        """What a value of the column has to be."""
        return next((cast.limit for cast in self.plan if cast.column.name == column), "")

    def misfit(self, column: str, row_group: int, limit: str) -> DataError:
        return DataError(
            f"a value does not fit: {limit}",
            where=f"{self.run.table.name}.{column}, row group {row_group} of {self.version}",
            remedy="Correct the source and export it again",
        )


def stage(run: TableRun, snapshot: SnapshotId, version: ObjectVersion) -> None:
    """Load the part into a child table of its own, unless that is done already.

    Raises BusyError while another worker is at the part, DataError when the part is not what the catalog says,
    FatalWorkError when it keeps killing its workers, and RetryableError. A worker that dies leaves nothing but a note
    of the attempt: the ledger's row, the table and its rows are one transaction.
    """
    connection = run.connection
    with log.bound(part=version), translated(f"staging {version}"):
        work = Work(f"part {version}", FATAL)
        with attempts.alone(connection, run.settings, Lock.part(version), work), connection.transaction():
            part_id = snapshots.claim_part(connection, run.table.name, snapshot, version)
            if part_id is not None:
                _load(run, version, part_id)


def _load(run: TableRun, version: ObjectVersion, part_id: int) -> None:
    started, connection, child = time.monotonic(), run.connection, tables.child(part_id)
    footer = run.services.parquet.footer(version)
    part = _Part(run, version, footer, casts.plan(run.table.columns, footer, where=f"{run.table.name}, {version}"))
    wanted, filled = tables.create_child(connection, run.schema, run.table, part_id)
    tap = Tap(part.plan)
    rows = _copy(part, child, tap)
    if rows != footer.rows:
        raise DataError(f"PostgreSQL took {rows:,} of {quantity(footer.rows, 'row')}", where=str(version))
    tables.drop_defaults(connection, part_id, filled)
    held = of_table(connection, child, run.table.columns, expected=tap.profile)
    differences = tap.profile.differences(held)
    if differences:
        raise DataError(f"Parquet and PostgreSQL differ: {'; '.join(differences)}", where=str(version))
    for each in wanted:
        belongings.give(connection, each, run.where)
    tables.declare(connection, run.schema, run.table, part_id)
    seconds = time.monotonic() - started
    note = snapshots.finished(connection, part_id, seconds, tap.profile, held)
    target = sql.SQL("SET LOCAL default_statistics_target = {}").format(STATISTICS_TARGET)
    at_once(connection, [note, target, sql.SQL("ANALYZE {}").format(child)])
    log.info("part staged", rows=rows, seconds=round(seconds, 3), rows_per_second=round(rows / seconds))


def _copy(part: _Part, child: sql.Identifier, tap: Tap) -> int:
    """Copy, and on a value that does not fit, find out which column and row group it stands in."""
    import pyarrow as pa

    run, plan = part.run, part.plan
    try:
        found = _rows(part)
        values = pa.schema(list(found.schema)[: len(plan)])
        batches = tap.through(run.services.parquet.stream(part.version, found))
        return copy.copy(run.connection, child, plan, values, batches)
    except UnreadableError as e:
        raise _located(part) or e from e
    except psycopg.Error as e:
        place = CopyPlace.of(e)
        # What is not found is at fault itself, and no value: a function that a constraint of somebody's calls.
        if place is None or is_transient(e) or (e.sqlstate or "")[:2] in ("42", "3F"):
            raise
        if isinstance(e, pg.ProgramLimitExceeded) and place.column is None:
            # The server writes many rows at once, so the line is one behind it.
            what = f"a row takes more than {MAX_ROW_BYTES} bytes in PostgreSQL, of which a long value takes 18"
            remedy = "Take columns out of the catalog, or split the table"
            raise DataError(what, where=part.where, remedy=remedy) from e
        limit = f"{part.limit(place.column) or 'PostgreSQL refuses it'} ({e.sqlstate})"
        raise part.misfit(place.column or "a column", part.footer.row_group_of(place.line - 1), limit) from e


def _rows(part: _Part) -> Rows:
    """The rows of a part, by DuckDB if it can."""
    parquet, expressions = part.run.services.parquet, casts.selected(part.plan)
    try:
        return parquet.part(part.version, part.footer, expressions)
    except UnreadableError as e:
        # It may be statistics that DuckDB fails by, before it reads a page.
        broken = _located(part)
        if broken is not None:
            raise broken from e
    return parquet.part(part.version, replace(part.footer, beyond_duckdb=True), expressions)


def _located(part: _Part) -> DataError | None:
    """The error that names the first misfit; None when every value can be read and fits."""
    of = {cast.column.name: cast.expression for cast in part.plan}
    # An array's values are those of a column of its own, as `c.list.element`.
    paths = {chunk.column for chunk in part.footer.chunks if _column(chunk.column) in of}
    expressions = {path: of[_column(path)] for path in paths}
    try:
        found = part.run.services.parquet.misread(part.version, part.footer, expressions)
    except UnreadableError:
        return None
    if found is None:
        return None
    column = _column(found.column)
    if not found.broken:
        return part.misfit(column, found.row_group, part.limit(column))
    where = f"{part.run.table.name}.{column}, row group {found.row_group} of {part.version}"
    return DataError(found.broken, where=where, remedy="Write the part anew")


def _column(path: str) -> str:
    """The column that a path in a file's schema is in."""
    return path.partition(".")[0]
