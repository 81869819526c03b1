"""What comes of snapshots, one after the other: how each is imported or followed, how it is told, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from shared.errors import SyncError
from shared.operate.cli.commands import BucketPath, operator
from shared.operate.cli.output import Exit, Json, Output

if TYPE_CHECKING:
    from shared.catalog import Table
    from shared.names import SnapshotId
    from shared.operate.imports import Found, Imported
    from shared.services import Services


@dataclass(frozen=True)
class Failed:
    """A table that failed, which leaves the others alone."""

    table: str
    error: SyncError

    @property
    def entry(self) -> Json:
        return {"table": self.table, "error": str(self.error), "retryable": self.error.retryable}


def each[R](tables: Iterable[Table], step: Callable[[Table], R]) -> tuple[list[R], list[Failed]]:
    """What the step makes of each table, and what failed."""
    done: list[R] = []
    failed: list[Failed] = []
    for table in tables:
        try:
            done.append(step(table))
        except SyncError as e:
            failed.append(Failed(table.name, e))
    return done, failed


def bring(output: Output, services: Services, found: Found, *, chosen: bool) -> Imported:
    """Import a snapshot in this process; `chosen` when the operator named it or its day."""
    from shared.operate import imports

    with output.progress(f"importing {found.table.name}", total=found.parts) as bar, bar.counting("part staged"):
        return imports.run(services, found, operator(), chosen=chosen)


def follow(output: Output, services: Services, found: Found) -> Imported:
    """Follow the functions' import of a snapshot that was exported just now."""
    from shared.operate import imports

    with output.progress(f"following {found.table.name}", total=found.parts) as bar:
        return replace(imports.follow(services, found, bar.advance), new=True)


def standing(services: Services, table: Table, snapshot: SnapshotId) -> Imported:
    """What came of a snapshot that stood in the bucket before: nobody brings it any more if it is not published."""
    from shared.operate import imports

    found = imports.look(services, table, snapshot)
    return replace(found, outcome="waiting") if found.outcome == "under way" else found


def show(output: Output, imported: Sequence[Imported], place: BucketPath | None) -> None:
    """Tell people what came of the snapshots. `place` is where they stand, if it is not the environment's."""
    if imported:
        output.table(
            "Imported",
            ["Table", "Snapshot", "Outcome", "Publication"],
            [[one.table, one.snapshot, _words(one), one.publication] for one in imported],
        )
    for one in imported:
        for line in explained(one, place):
            output.problem(f"recosync: {one.table} {one.snapshot}: {line}")


def show_failed(output: Output, failed: Iterable[Json]) -> None:
    for failure in failed:
        output.problem(f"recosync: {failure['error']}")


def explained(imported: Imported, place: BucketPath | None = None) -> list[str]:
    """Why readers don't see the snapshot, and what to do."""
    name, snapshot, published = imported.table, imported.snapshot, imported.published
    again = f"recosync import {name} --snapshot {snapshot}" + (f" --bucket-path {place}" if place else "")
    match imported.outcome:
        case "held":
            # What is older than what readers see takes them back.
            passes = "rollback" if published is not None and published > snapshot else "approve"
            return [
                *imported.reasons,
                f"held: recosync {passes} {name} {snapshot}, or recosync reject {name} {snapshot}",
            ]
        case "rejected":
            return [f"somebody rejected it, and its parts are dropped; a new one: recosync export {name} --force"]
        case "pinned":
            return [f"the table stays at {published} until: recosync rollback {name} --unpin"]
        case "older":
            return [f"{published} is published, which is newer; to go back: {again}"]
        case "waiting":
            return [f"it stood there before, so its event has come already, or is lost: {again}"]
    return []


def entry(imported: Imported) -> Json:
    """What the JSON says of it."""
    return {
        "table": imported.table,
        "snapshot_id": str(imported.snapshot),
        "status": _words(imported),
        "publication": imported.publication,
        "published_snapshot_id": imported.published and str(imported.published),
        "reasons": list(imported.reasons),
    }


def leave(imported: Sequence[Imported], failed: Iterable[Exit], *, held: bool = False) -> None:
    """Leave with the exit code that says the most: what can be retried first, then what failed, what made no sense, and
    what waits.
    """
    codes = set(failed)
    if any(one.outcome == "rejected" for one in imported):
        codes.add(Exit.FAILED)
    if held or any(one.outcome != "published" for one in imported):
        codes.add(Exit.HELD)
    for code in (Exit.RETRY, Exit.FAILED, Exit.USAGE, Exit.HELD):
        if code in codes:
            raise typer.Exit(code)


def _words(imported: Imported) -> str:
    if imported.outcome == "published":
        return "published" if imported.new else "published already"
    return imported.outcome
