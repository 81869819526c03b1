"""What became of snapshots, one after the other: how each is imported or followed, how it is told, the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from shared.errors import SyncError
from shared.operate.cli.commands import BucketPath, operator
from shared.operate.cli.each import Failed, failed_at
from shared.operate.cli.output import Exit, Json, Output

if TYPE_CHECKING:
    from shared.catalog import Table
    from shared.names import SnapshotId
    from shared.operate.imports import Found
    from shared.operate.outcome import SnapshotOutcome
    from shared.operate.waiting import Awaited
    from shared.services import Services


def bring(output: Output, services: Services, found: Found, *, chosen: bool) -> SnapshotOutcome:
    """Import a snapshot in this process; `chosen` when the operator named it or its day."""
    from shared.operate import imports

    with output.progress(f"importing {found.table.name}", total=found.parts) as bar, bar.counting("part staged"):
        return imports.run(services, found, operator(), output.note, chosen=chosen)


def follow(
    output: Output, services: Services, awaited: Sequence[Awaited], seconds: float
) -> tuple[list[SnapshotOutcome], list[Failed]]:
    """Wait until readers have the snapshots, tables and views; what came of each, and what failed, told at once."""
    from shared.operate import waiting

    done: list[SnapshotOutcome] = []
    failed: list[Failed] = []
    with output.progress("following the functions"):
        for one, came in waiting.until_seen(services, awaited, output.note, seconds):
            if isinstance(came, SyncError):
                failed.append(failed_at(output, one.table.name, came))
            else:
                done.append(came)
    return done, failed


def standing(services: Services, table: Table, snapshot: SnapshotId) -> SnapshotOutcome:
    """What came of a snapshot that stood in the bucket before: nobody brings it any more if it is not published."""
    from shared.operate import outcome

    found = outcome.look(services, table, snapshot)
    return replace(found, what="waiting") if found.what == "under way" else found


def show(output: Output, imported: Sequence[SnapshotOutcome], place: BucketPath | None) -> None:
    """Tell people what came of the snapshots. `place` is where they stand, if it is not the environment's."""
    output.table(
        "Imported",
        ["Table", "Snapshot", "Outcome", "Publication"],
        [[one.table, one.snapshot, _words(one), one.publication and str(one.publication)] for one in imported],
    )
    explain(output, imported, place)


def explain(output: Output, imported: Iterable[SnapshotOutcome], place: BucketPath | None = None) -> None:
    """Why readers don't see snapshots, and the commands that decide, each on a line of its own."""
    for one in imported:
        why, commands = _explained(one, place)
        if why:
            output.problem(f"recosync: {one.table} {one.snapshot}: {why}", commands)


def mention(output: Output, imported: Iterable[SnapshotOutcome]) -> None:
    """The same for who did not ask whether readers see them."""
    for one in imported:
        why, commands = _explained(one, None)
        if why:
            output.line(f"{one.table} {one.snapshot}: {why}")
        for command in commands:
            output.command(command)


def tell_views(output: Output, imported: Iterable[SnapshotOutcome]) -> None:
    """What has yet to come of views after an import."""
    views = dict.fromkeys(view for one in imported if one.what == "published" for view in one.behind)
    if views:
        output.line("mv_refresh rebuilds the views, as `recosync status` tells. In this process:")
        output.command(f"recosync materialize {' '.join(views)}")


def _explained(imported: SnapshotOutcome, place: BucketPath | None) -> tuple[str, Sequence[str]]:
    """Why readers don't see the snapshot, and the commands that there are for that."""
    name, snapshot, published = imported.table, imported.snapshot, imported.published
    again = f"recosync import {name} --snapshot {snapshot}" + (f" --bucket-path {place}" if place else "")
    match imported.what:
        case "held":
            # What is older than what readers see takes them back.
            passes = "rollback" if published is not None and published > snapshot else "approve"
            why = f"held, because {'; '.join(imported.reasons)}. To publish it, or to drop it:"
            return why, (f"recosync {passes} {name} {snapshot}", f"recosync reject {name} {snapshot}")
        case "rejected":
            return "somebody rejected it, and its parts are dropped. A new one:", (f"recosync export {name} --force",)
        case "pinned":
            return f"the table stays at {published} until:", (f"recosync rollback {name} --unpin",)
        case "older":
            return f"{published} is published, which is newer. To go back:", (again,)
        case "without views":
            views = ", ".join(imported.behind)
            return f"published; {views} can't be built before another table that it reads is published too", ()
        case "waiting":
            return "it stood there before, so its event has come already, or is lost. To import it:", (again,)
    return "", ()


def entry(imported: SnapshotOutcome) -> Json:
    """What the JSON says of it."""
    return {
        "table": imported.table,
        "snapshot_id": str(imported.snapshot),
        "status": _words(imported),
        "publication": imported.publication,
        "published_snapshot_id": imported.published and str(imported.published),
        "reasons": list(imported.reasons),
        "views_behind": list(imported.behind),
    }


def leave(imported: Sequence[SnapshotOutcome], failed: Iterable[Exit]) -> None:
    """Leave with the exit code that says the most: what can be retried first, then what failed, what made no sense,
    what did not come in time, and what waits.
    """
    codes = set(failed)
    if any(one.what == "rejected" for one in imported):
        codes.add(Exit.FAILED)
    if any(one.what != "published" for one in imported):
        codes.add(Exit.HELD)
    for code in (Exit.RETRY, Exit.FAILED, Exit.USAGE, Exit.LATE, Exit.HELD):
        if code in codes:
            raise typer.Exit(code)


def _words(imported: SnapshotOutcome) -> str:
    if imported.what == "published":
        return "published" if imported.new else "published already"
    return imported.what
