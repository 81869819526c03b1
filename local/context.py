"""The API's log table, `past_offer_context`: made as the API has it, and filled as the API fills it."""

from datetime import UTC, datetime

import psycopg

from local import ROOT

_INPUT = ROOT / "local" / "input"
TABLE = (_INPUT / "past_offer_context.sql").read_text()
_ROWS = (_INPUT / "past_offer_context_rows.sql").read_text()


def create(dsn: str) -> None:
    """Make the table, empty. It belongs to the role of `dsn`; the role api may read it and add to it."""
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE.encode())


def write(dsn: str, start: datetime, end: datetime, rows: int) -> None:
    """Add `rows` rows that lie in [start, end): but for their ids, the same rows whenever it is asked for the same."""
    with psycopg.connect(dsn) as connection:
        insert(connection, start, end, rows)


def insert(connection: psycopg.Connection, start: datetime, end: datetime, rows: int) -> None:
    """Add rows in a transaction of the caller's, which they become visible with."""
    connection.execute(_ROWS.encode(), {"start": _naive(start), "end": _naive(end), "rows": rows})


def _naive(at: datetime) -> datetime:
    """As the table has it: UTC, and not saying so."""
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
