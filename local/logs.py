"""The logs of a catalog in PostgreSQL: made as the API would make them, and filled as it would fill them.

A log is two files of its name, in `local/input` or in the folder `input` of a catalog's own: `<log>.sql` makes the
table, with the rights of whoever writes to it, and `<log>_rows.sql` adds `%(rows)s` rows in [`%(start)s`, `%(end)s`).
Without them, both are made up of the log's block.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from local import data, made_up_log
from local.cloud import Deployment
from local.sources import InputError
from shared import catalog
from shared.catalog import HourlyTable

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


@dataclass(frozen=True)
class Log:
    """How a log's table is made, and what adds its rows."""

    table: bytes
    rows: bytes

    def create(self, dsn: str) -> None:
        """Make the table, empty. It belongs to the role of `dsn`; the role api may read it and add to it."""
        with psycopg.connect(dsn) as connection:
            connection.execute(self.table)

    def write(self, dsn: str, start: datetime, end: datetime, rows: int) -> None:
        """Add `rows` rows that lie in [start, end): but for their ids, the same whenever it is asked for the same."""
        with psycopg.connect(dsn) as connection:
            self.insert(connection, start, end, rows)

    def insert(self, connection: psycopg.Connection, start: datetime, end: datetime, rows: int) -> None:
        """Add rows in a transaction of the caller's, which they become visible with."""
        connection.execute(self.rows, {"start": _naive(start), "end": _naive(end), "rows": rows})


def of_files(name: str, folder: Path = data.INPUT) -> Log:
    return Log(*((folder / f"{file}.sql").read_bytes() for file in (name, f"{name}_rows")))


def create(here: Deployment, table: HourlyTable) -> Log:
    """Make a log's table: by the files of the catalog's own folder, or by ours if it has the columns, or made up.

    Raises InputError when the folder's own files make another table.
    """
    own = here.place.file.parent / "input"
    where = sql.Identifier(catalog.load(here.place).schema, table.name)
    with psycopg.connect(here.dsn) as connection:
        for folder in (own, data.INPUT):
            if not (folder / f"{table.name}.sql").is_file():
                continue
            log = of_files(table.name, folder)
            with connection.transaction() as made:
                connection.execute(log.table)
                found: dict[str, str] = dict(connection.execute(_COLUMNS, [where.as_string(connection)]).fetchall())
                lacking = [f"{c.name} {c.type.sql}" for c in table.columns if found.get(c.name) != c.type.sql]
                if not lacking:
                    return log
                raise psycopg.Rollback(made)
            if folder == own:
                raise InputError(f"{folder / table.name}.sql makes no table with {', '.join(lacking)}")
        log = Log(*(each.as_string(connection).encode() for each in made_up_log.log(table, where)))
        connection.execute(log.table)
        return log


def _naive(at: datetime) -> datetime:
    """As the table has it: UTC, and not saying so."""
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
