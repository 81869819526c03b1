"""Commands by which an operator decides: go back to a snapshot, publish a held one or drop it, drop what left the
catalog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError, SyncError
from shared.operate.cli.commands import (
    AsJson,
    Group,
    SnapshotArgument,
    TableArgument,
    Verbose,
    daily_services,
    known_tables,
    operator,
)
from shared.operate.cli.output import Exit, Output, reporting

if TYPE_CHECKING:
    from shared.operate.decisions import Published
    from shared.services import Services

GROUP = Group()


@GROUP.command("rollback", example="recosync rollback iris_france")
def rollback(
    table: TableArgument,
    snapshot: SnapshotArgument = None,
    unpin: Annotated[bool, typer.Option("--unpin", help="Let the functions publish again.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Go back to a snapshot, by default the one before.

    The table stays there, whatever the functions import, until --unpin.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import decisions

        services = daily_services()
        (known,) = known_tables(services, [table])
        if unpin and snapshot:
            raise BadRequestError("--unpin takes no snapshot")
        if not unpin:
            published = decisions.rollback(services, known.name, snapshot, operator())
            _tell(output, services, published, until=f"recosync rollback {known.name} --unpin")
            return
        done = decisions.unpin(services, known.name, operator())
        output.document({"table": known.name, "status": "unpinned" if done else "was not pinned"})
        output.line(
            f"{known.name} is published again with its next snapshot." if done else f"{known.name} was not pinned."
        )


@GROUP.command("approve", example="recosync approve iris_france 20260101T050000Z")
def approve(
    table: TableArgument, snapshot: SnapshotArgument = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Publish a snapshot that is held, by default the newest."""
    with reporting(as_json, verbose) as output:
        from shared.operate import decisions

        services = daily_services()
        (known,) = known_tables(services, [table])
        _tell(output, services, decisions.approve(services, known.name, snapshot, operator()))


@GROUP.command("reject", example="recosync reject iris_france 20260101T050000Z")
def reject(
    table: TableArgument, snapshot: SnapshotArgument = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Drop a snapshot that is held, by default the newest."""
    with reporting(as_json, verbose) as output:
        from shared.operate import decisions

        services = daily_services()
        (known,) = known_tables(services, [table])
        rejected = decisions.reject(services, known.name, snapshot, operator())
        output.line(f"{known.name} {rejected} is rejected; what was published stays.")
        output.document({"table": known.name, "snapshot_id": str(rejected), "status": "rejected"})


@GROUP.command("drop", example="recosync drop former_table")
def drop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A table or view that the catalog no longer has.")],
    force: Annotated[bool, typer.Option("--force", help="Also what was exported or built within a day.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Drop a table or view that left the catalog, with its rows.

    Nothing else is dropped with it: it is refused while other objects depend on it.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import removal

        dropped = removal.drop(daily_services(), name, operator(), force=force)
        for each in dropped:
            output.line(f"The {each.kind} {each.where} is dropped: {each.bytes:,} bytes.")
        fields = [
            {"kind": each.kind, "relations": list(map(".".join, each.relations)), "bytes": each.bytes}
            for each in dropped
        ]
        output.document({"name": name, "dropped": fields})


def _tell(output: Output, services: Services, published: Published, until: str | None = None) -> None:
    """Tell what readers see now, `until` which command, and bring the views along. When they don't come, what is
    published is told all the same: the command is not to be repeated for them.
    """
    before = f" (before: {published.previous})" if published.previous else ""
    output.line(
        f"{published.table} is {published.snapshot}, publication {published.publication}{before}:"
        f" {published.seconds * 1000:.0f} ms."
    )
    failure: SyncError | None = None
    try:
        views = _refresh(output, services, published)
        output.line(f"Its views: {views}.")
    except SyncError as e:
        failure, views = e, str(e)
    if until is not None:
        output.line("It stays there until:")
        output.command(until)
    output.document(
        {
            "table": published.table,
            "snapshot_id": str(published.snapshot),
            "publication": published.publication,
            "previous_snapshot_id": published.previous and str(published.previous),
            "seconds": round(published.seconds, 3),
            "views": views,
        }
    )
    if failure is not None:
        names = " ".join(view.name for view in services.catalog.views_of(published.table))
        output.problem(f"recosync: its views are as they were: {failure}")
        output.problem(f"recosync: {published.table} is published; its views alone:", [f"recosync materialize {names}"])
        raise typer.Exit(Exit.of(failure))


def _refresh(output: Output, services: Services, published: Published) -> str:
    """Rebuild the views, beside the function that the completion message calls: whoever is first."""
    from shared.daily import refresh
    from shared.operate import outcome
    from shared.operate.patience import while_busy

    with output.progress(f"rebuilding the views of {published.table}"):
        done = while_busy(lambda: refresh.refresh(services, published.table, published.publication), output.note)
    missing = outcome.look(services, services.catalog.tables[published.table], published.snapshot).behind
    return f"{done}, without {', '.join(missing)}: another table has yet to be published" if missing else done
