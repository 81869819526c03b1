"""Commands by which an operator decides: go back to a snapshot, publish a held one or drop it, drop what left the
catalog, and say that a failure was dealt with.
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
from shared.operate.cli.output import Exit, Json, Output, reporting
from shared.words import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.catalog import Table
    from shared.operate.acknowledge import Told
    from shared.operate.decisions import Published
    from shared.services import Services

GROUP = Group()

#: What the JSON says of a publish that did not come about.
_NOTHING: Json = {
    "snapshot_id": None,
    "publication": None,
    "previous_snapshot_id": None,
    "seconds": None,
    "views": None,
}


@GROUP.command("rollback", example="recosync rollback iris_france")
def rollback(
    table: TableArgument,
    snapshot: SnapshotArgument = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Let the functions publish again, and publish what arrived meanwhile.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Go back to a snapshot, by default the one before.

    The table stays there, whatever the functions import, until --unpin, which brings the newest of it.
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
        status = "unpinned" if done else "was not pinned"
        output.done = {"table": known.name, "status": status}
        output.line(f"{known.name} {'is unpinned' if done else status}.")
        _bring(output, services, known)


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


@GROUP.command("acknowledge", example='recosync acknowledge iris_france --reason "the source was mended"')
def acknowledge(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="FAILURE",
            help="An id that the status shows, or a table, view or log; without one, what there is to acknowledge.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="What was done about it; the status shows it.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say that failures were dealt with.

    They leave the first line of the status and its exit code, and stay in the record. What fails later counts again.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import acknowledge

        if what is None:
            if reason is not None:
                raise BadRequestError("--reason needs the failure: its id, or its table")
            _tell_waiting(output, acknowledge.waiting(daily_services()))
            return
        if reason is None:
            raise BadRequestError("--reason should say what was done about it", where=what)
        done = acknowledge.acknowledge(daily_services(), what, reason, operator())
        before = done.before
        if before is not None:
            output.line(f"{what} was acknowledged already, by {before.by} at {before.at:%Y-%m-%d %H:%M} UTC.")
        else:
            output.line(f"{quantity(len(done.failures), 'failure')} acknowledged. What fails from now on counts again.")
        output.document(
            {
                "failure": what,
                "status": "acknowledged" if before is None else "acknowledged already",
                "failures": [_entry(told) for told in done.failures],
            }
        )


def _tell_waiting(output: Output, waiting: Sequence[Told]) -> None:
    """What there is to acknowledge, each cause once."""
    causes: dict[str, list[Told]] = {}
    for told in waiting:
        causes.setdefault(told.id, []).append(told)
    output.table(
        "To be acknowledged",
        ["Failure", "Times", "Of", "Last (UTC)", "What"],
        [
            [named, len(found), ", ".join(_names(found)), f"{found[0].at:%Y-%m-%d %H:%M}", found[0].message]
            for named, found in causes.items()
        ],
    )
    if not waiting:
        output.line("There is nothing to acknowledge.")
    output.document({"waiting": [_entry(told) for told in waiting]})


def _names(found: Sequence[Told]) -> list[str]:
    return list(dict.fromkeys(told.name for told in found if told.name))


def _entry(told: Told) -> Json:
    return {"id": told.id, "name": told.name, "at": told.at, "message": told.message}


def _bring(output: Output, services: Services, table: Table) -> None:
    """Publish the newest that the pin kept back. When it does not come, the pin is gone all the same."""
    from shared.operate import decisions
    from shared.operate.cli import outcomes
    from shared.operate.patience import while_busy

    kept = decisions.kept_back(services, table.name)
    if kept is None:
        output.line("Nothing newer than what readers see has arrived: the next snapshot is published as it comes.")
        output.document({**output.done, **_NOTHING})
        return
    try:
        published = while_busy(lambda: decisions.bring(services, table.name, kept, operator()), output.note)
    except SyncError as e:
        output.document(
            {**output.done, **_NOTHING, "snapshot_id": str(kept), "error": str(e), "retryable": e.retryable}
        )
        again = f"recosync import {table.name} --snapshot {kept}"
        output.problem(f"recosync: {table.name} is not pinned, and {kept} has not come: {e}. To bring it:", [again])
        raise typer.Exit(Exit.of(e)) from None
    if published is not None:
        _tell(output, services, published)
        return
    stands = outcomes.standing(services, table, kept)
    output.document({**output.done, **_NOTHING, "snapshot_id": str(kept), "reasons": list(stands.reasons)})
    outcomes.explain(output, [stands])
    outcomes.leave([stands], ())


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
            **output.done,
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
