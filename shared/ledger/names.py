"""What the ledger is called in PostgreSQL: its schema, and in that the tables of staged parts."""

from __future__ import annotations

SCHEMA = "recosync"


def part_table(part_id: int) -> str:
    """The table, in the ledger's schema, that holds a staged part."""
    return f"part_{part_id}"
