"""Receipt: once every part of a snapshot is staged, the counts of three systems are compared. They agree, or the
snapshot is never published.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

from psycopg import sql

from shared.catalog import Table
from shared.daily.context import TableRun
from shared.errors import DataError
from shared.ledger import receipts, snapshots
from shared.ledger.receipts import SnapshotReceipt
from shared.ledger.snapshots import NamedPart, Snapshot
from shared.names import SnapshotId
from shared.rows.profile import Profile, of_table
from shared.target import tables
from shared.words import quantity

#: Memory of the count of distinct keys, beyond which PostgreSQL goes to disk.
WORK_MEM = "64MB"


def receipt(run: TableRun, snapshot: SnapshotId) -> SnapshotReceipt | None:
    """The snapshot's receipt, made if need be; None while parts or the manifest are still to come.

    Raises DataError when the systems' counts differ, and when the snapshot has no rows, unless the catalog allows that.
    """
    connection, table = run.connection, run.table
    stated = snapshots.find(connection, table.name, snapshot)
    if stated is None:
        return None
    parts = snapshots.named_parts(connection, table.name, snapshot)
    if any(part.staged_rows is None for part in parts):
        return None
    found = receipts.find(connection, table.name, snapshot)
    if found is not None:
        return found
    made = _make(run, stated, parts)
    _compare(table, f"{table.name} {snapshot}", made, parts)
    receipts.keep(connection, table.name, snapshot, made)
    return made


def of_adopted(run: TableRun, child: sql.Identifier) -> SnapshotReceipt:
    """The receipt of rows that stood in the table before its first publish: only PostgreSQL can count them."""
    return SnapshotReceipt(None, None, of_table(run.connection, child, run.table.columns), None)


def _make(run: TableRun, stated: Snapshot, parts: list[NamedPart]) -> SnapshotReceipt:
    children = [tables.child(part.id) for part in parts if part.id is not None]
    postgresql = _total(
        part.postgresql or of_table(run.connection, child, run.table.columns)
        for part, child in zip(parts, children, strict=True)
    )
    parquet = _total(part.parquet or Profile(part.rows) for part in parts)
    bigquery = stated.profile
    if bigquery is None and stated.source_rows is not None:
        bigquery = Profile(stated.source_rows)
    known = bigquery.keys if bigquery else None
    duplicates = _duplicates(run, children, postgresql.rows, known)
    return SnapshotReceipt(bigquery, parquet, postgresql, duplicates, stated.source_modified, stated.exported)


def _compare(table: Table, where: str, made: SnapshotReceipt, parts: list[NamedPart]) -> None:
    for part in parts:
        if part.rows != part.staged_rows:
            raise DataError(
                f"the manifest counts {quantity(part.rows, 'row')}, PostgreSQL {part.staged_rows:,}",
                where=str(part.version),
            )
    pairs = {
        "BigQuery and Parquet": (made.bigquery, made.parquet),
        "Parquet and PostgreSQL": (made.parquet, made.postgresql),
    }
    for names, (one, other) in pairs.items():
        differences = one.differences(other) if one and other else []
        if differences:
            raise DataError(f"{names} differ: {'; '.join(differences)}", where=where, remedy="Export the table again")
    if made.postgresql.rows == 0 and not table.allow_empty:
        raise DataError("has no rows", where=where, remedy="Fill the source, or set allow_empty in the catalog")


def _duplicates(run: TableRun, children: list[sql.Identifier], rows: int, known: int | None) -> int | None:
    """How many rows repeat another's key. PostgreSQL is spared where the number of keys is `known` already."""
    if not run.table.key:
        return None
    return rows - (_keys(run, children) if known is None else known)


def _total(profiles: Iterable[Profile]) -> Profile:
    every = list(profiles)
    return reduce(add, every) if every else Profile(0)


def _keys(run: TableRun, children: list[sql.Identifier]) -> int:
    """How many different keys the rows have; a NULL in a key is like another."""
    if not children:
        return 0
    key = sql.SQL(", ").join(sql.Identifier(column) for column in run.table.key)
    rows = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT {} FROM {}").format(key, child) for child in children)
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM ({}) AS part GROUP BY {}) AS key").format(rows, key)
    with run.connection.transaction():
        run.connection.execute("SELECT set_config('work_mem', %s, true)", [WORK_MEM])
        row = run.connection.execute(query).fetchone()
    return int(row[0]) if row else 0
