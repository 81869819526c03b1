"""Commands of the daily flow: export, import, materialize, and what an export would move and cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from shared.errors import SyncError
from shared.names import SnapshotId, format_day
from shared.operate.cli.commands import (
    AsJson,
    BucketOption,
    DayOption,
    Group,
    SnapshotOption,
    TableArguments,
    TableOption,
    Verbose,
    ViewArguments,
    ViewOption,
    daily_services,
    fires_events,
    known_tables,
    known_views,
    operator,
)
from shared.operate.cli.output import Exit, Json, Output, reporting

if TYPE_CHECKING:
    from shared.operate.imports import Found, Imported
    from shared.services import Services

GROUP = Group()


@GROUP.command("export", "export-gcs", example="recosync export iris_france --force")
def export_tables(
    tables: TableArguments = None,
    table_name: TableOption = None,
    date: DayOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make a new snapshot now, whatever exists.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the functions until readers see it.")] = False,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Export tables from BigQuery to Cloud Storage.

    The functions import what is written there. With --bucket-path at a place that fires no events, the import runs in
    this process.
    """
    with reporting(as_json, verbose) as output:
        from shared.daily import export
        from shared.operate import imports

        functions = fires_events(bucket_path)
        services = daily_services(bucket_path)
        asked = known_tables(services, tables, table_name)
        body: dict[str, object] = {"tables": [table.name for table in asked], "force": force}
        if date is not None:
            body["date"] = format_day(date)
        request = export.parse(services, body, None, datetime.now(UTC))
        with output.progress("exporting", total=len(asked)) as bar, bar.counting("snapshot", "source", "export"):
            answer, _ = export.run(services, request)
        # An unchanged source has brought nothing.
        brought = [entry for entry in _entries(answer, "tables") if "parts" in entry]
        found = [
            imports.find(
                services,
                services.catalog.tables[str(entry["table"])],
                None,
                SnapshotId.parse(str(entry["snapshot_id"])),
            )
            for entry in (brought if wait or not functions else ())
        ]
        step = _follow if functions else partial(_import, chosen=True)
        imported, failed = _each(found, partial(step, output, services))
        if functions:
            fresh = {entry["table"] for entry in brought if entry["status"] == "exported"}
            imported = [replace(each, new=each.table in fresh) for each in imported]
        answer = {**answer, "failed": [*_entries(answer, "failed"), *failed]}
        _tell_export(output, answer, imported, functions=functions and not wait and bool(brought))


@GROUP.command("import", "import-table", "import-to-gcloud", example="recosync import iris_france --date 20260101")
def import_tables(
    tables: TableArguments = None,
    table_name: TableOption = None,
    date: DayOption = None,
    snapshot: SnapshotOption = None,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Import a snapshot from Cloud Storage into PostgreSQL.

    Without --date or --snapshot it is the latest that is complete. One that is named is published even where readers
    have seen a newer one.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import imports

        services = daily_services(bucket_path)
        asked = known_tables(services, tables, table_name)
        found = [imports.find(services, table, date, snapshot) for table in asked]
        chosen = date is not None or snapshot is not None
        imported, failed = _each(found, partial(_import, output, services, chosen=chosen))
        output.document({"imported": [_entry(each) for each in imported], "failed": failed})
        _tell_failed(output, failed)
        _show(output, imported)
        _leave(imported, failed)


@GROUP.command("materialize", "materialize-gcloud", example="recosync materialize iris_france_mv")
def materialize(
    views: ViewArguments = None,
    view_name: ViewOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Rebuild materialized views now, fresh or not."""
    with reporting(as_json, verbose) as output:
        from shared.daily import refresh
        from shared.operate.patience import while_busy

        services = daily_services()
        asked = known_views(services, views, view_name)
        rebuilt: list[Json] = []
        with output.progress("rebuilding", total=len(asked)) as bar:
            for view in asked:
                started = time.monotonic()
                while_busy(partial(refresh.rebuild, services, view))
                rebuilt.append({"view": view.name, "seconds": round(time.monotonic() - started, 3)})
                bar.advance(doing=view.name)
        output.table("Views rebuilt", ["View", "Seconds"], [[view["view"], view["seconds"]] for view in rebuilt])
        output.document({"rebuilt": rebuilt})


@GROUP.command("plan", example="recosync plan iris_france")
def plan(
    tables: TableArguments = None,
    price_per_tib: Annotated[
        float, typer.Option("--price-per-tib", min=0, help="US dollars for a TiB of on-demand query.")
    ] = 6.25,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell what an export would move and cost.

    BigQuery estimates it in a dry run; nothing is exported.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import plan

        services = daily_services()
        asked = known_tables(services, tables)
        plans: list[plan.Plan] = []
        failed: list[Json] = []
        with output.progress("asking BigQuery", total=len(asked)) as bar:
            for table in asked:
                try:
                    plans.append(plan.of(services, table, price_per_tib))
                except SyncError as e:
                    failed.append({"table": table.name, "error": str(e), "retryable": e.retryable})
                bar.advance(doing=table.name)
        output.table(
            f"What an export would do, at {price_per_tib:.2f} USD per TiB",
            ["Table", "Source", "Source rows", "Rows to move", "Bytes billed", "USD"],
            [[p.table, p.source, p.source_rows, p.rows_to_move, p.bytes_billed, f"{p.usd:.4f}"] for p in plans],
        )
        total = round(sum(p.usd for p in plans), 6)
        output.document(
            {
                "tables": [asdict(p) for p in plans],
                "failed": failed,
                "usd": total,
                "price_per_tib": price_per_tib,
            }
        )
        _tell_failed(output, failed)
        _leave((), failed)


def _each(found: Sequence[Found], step: Callable[[Found], Imported]) -> tuple[list[Imported], list[Json]]:
    """What came of each snapshot, and what failed: one leaves the others alone."""
    imported: list[Imported] = []
    failed: list[Json] = []
    for each in found:
        try:
            imported.append(step(each))
        except SyncError as e:
            failed.append({"table": each.table.name, "error": str(e), "retryable": e.retryable})
    return imported, failed


def _import(output: Output, services: Services, found: Found, *, chosen: bool) -> Imported:
    """Import a snapshot in this process; `chosen` when the operator named it or its day."""
    from shared.operate import imports

    with output.progress(f"importing {found.table.name}", total=found.parts) as bar, bar.counting("part staged"):
        return imports.run(services, found, operator(), chosen=chosen)


def _follow(output: Output, services: Services, found: Found) -> Imported:
    """Follow the functions' import of a snapshot."""
    from shared.operate import imports

    with output.progress(f"following {found.table.name}", total=found.parts) as bar:
        return imports.follow(services, found, bar.advance)


def _tell_export(output: Output, answer: Json, imported: Sequence[Imported], *, functions: bool) -> None:
    failed = _entries(answer, "failed")
    fields = ("table", "snapshot_id", "status", "rows", "parts", "bytes")
    output.table(
        "Exported",
        ["Table", "Snapshot", "Status", "Rows", "Parts", "Bytes"],
        [[entry.get(name) for name in fields] for entry in _entries(answer, "tables")],
    )
    output.document({**answer, "imported": [_entry(each) for each in imported]})
    if functions:
        output.line("The functions import it: `recosync status` tells how far they are, --wait follows them.")
    _tell_failed(output, failed)
    _show(output, imported)
    _leave(imported, failed, held=any(entry["status"] == "held" for entry in _entries(answer, "tables")))


def _tell_failed(output: Output, failed: Sequence[Json]) -> None:
    for failure in failed:
        output.problem(f"recosync: {failure['error']}")


def _show(output: Output, imported: Sequence[Imported]) -> None:
    if imported:
        output.table(
            "Imported",
            ["Table", "Snapshot", "Outcome", "Publication"],
            [[each.table, each.snapshot, _words(each), each.publication] for each in imported],
        )
    for each in imported:
        for line in _explained(each):
            output.problem(f"recosync: {each.table} {each.snapshot}: {line}")


def _words(imported: Imported) -> str:
    if imported.outcome == "published":
        return "published" if imported.new else "published already"
    return imported.outcome


def _explained(imported: Imported) -> list[str]:
    """Why readers don't see the snapshot, and what to do."""
    name, snapshot = imported.table, imported.snapshot
    match imported.outcome:
        case "held":
            return [
                *imported.reasons,
                f"held: recosync approve {name} {snapshot}, or recosync reject {name} {snapshot}",
            ]
        case "rejected":
            return [f"somebody rejected it, and its parts are dropped; a new one: recosync export {name} --force"]
        case "pinned":
            return [f"the table stays at {imported.published} until: recosync rollback {name} --unpin"]
        case "older":
            return [f"{imported.published} is published; going back to it: recosync rollback {name} {snapshot}"]
    return []


def _leave(imported: Sequence[Imported], failed: Sequence[Json] = (), *, held: bool = False) -> None:
    """Leave with the exit code that says the most: what can be retried first, then what failed, then what waits."""
    if any(failure["retryable"] for failure in failed):
        raise typer.Exit(Exit.RETRY)
    if failed or any(each.outcome == "rejected" for each in imported):
        raise typer.Exit(Exit.FAILED)
    if held or any(each.outcome != "published" for each in imported):
        raise typer.Exit(Exit.HELD)


def _entry(imported: Imported) -> Json:
    return {
        "table": imported.table,
        "snapshot_id": str(imported.snapshot),
        "status": _words(imported),
        "publication": imported.publication,
        "published_snapshot_id": imported.published and str(imported.published),
        "reasons": list(imported.reasons),
    }


def _entries(answer: Json, name: str) -> list[Json]:
    return cast(list[Json], answer[name])
