"""One step for each table: a failure of one table is told at once, and leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import SyncError
from shared.operate.cli.output import Json, Output

if TYPE_CHECKING:
    from shared.catalog import Table


@dataclass(frozen=True)
class Failed:
    """A table that failed, which leaves the others alone."""

    table: str
    error: SyncError

    @property
    def entry(self) -> Json:
        return {"table": self.table, "error": str(self.error), "retryable": self.error.retryable}


def for_each[R](output: Output, tables: Iterable[Table], step: Callable[[Table], R]) -> tuple[list[R], list[Failed]]:
    """What the step makes of each table, and what failed, which is told at once."""
    done: list[R] = []
    failed: list[Failed] = []
    for table in tables:
        try:
            done.append(step(table))
        except SyncError as e:
            failed.append(failed_at(output, table.name, e))
    return done, failed


def show_failed(output: Output, failed: Iterable[Json]) -> None:
    for failure in failed:
        output.problem(f"recosync: {failure['error']}")


def failed_at(output: Output, table: str, error: SyncError) -> Failed:
    output.problem(f"recosync: {error}")
    return Failed(table, error)
