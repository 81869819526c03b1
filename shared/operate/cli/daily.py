"""Commands of the daily flow: export, import, materialize, and what an export would move and cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from shared.errors import BadRequestError
from shared.names import SnapshotId, format_day
from shared.operate.cli import outcomes
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
)
from shared.operate.cli.each import for_each, show_failed
from shared.operate.cli.output import Exit, Json, Output, reporting

if TYPE_CHECKING:
    from shared.catalog import Table
    from shared.operate.cli.each import Failed
    from shared.operate.outcome import SnapshotOutcome
    from shared.operate.waiting import Awaited
    from shared.services import Services

GROUP = Group()

#: What an export says of snapshots that it found or made complete; an unchanged source has brought nothing.
BROUGHT = ("exported", "exported already")

#: And of those that are not new, but perhaps not before the readers' eyes: nobody is at them any more.
STOOD = ("exported already", "held")


@GROUP.command("export", "export-gcs", example="recosync export iris_france --force")
def export_tables(
    tables: TableArguments = None,
    table_name: TableOption = None,
    date: DayOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make a new snapshot now, whatever exists.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the functions until readers have it, views too.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up once nothing has moved for so long.")
    ] = 600,
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
        from shared.operate import waiting

        if date is not None and force:
            raise BadRequestError("--force takes no --date: it makes a snapshot of now")
        functions = fires_events(bucket_path)
        services = daily_services(bucket_path)
        asked = known_tables(services, tables, table_name)
        body: dict[str, object] = {"tables": [table.name for table in asked], "force": force}
        if date is not None:
            body["date"] = format_day(date)
        request = export.parse(services, body, None, datetime.now(UTC))
        since = waiting.clock(services)
        with output.progress("exporting", total=len(asked)) as bar, bar.counting("snapshot", "source", "export"):
            answer, _ = export.run(services, request)
        _tell_export(output, answer)
        exported = _exported(services, _entries(answer, "tables"), since)
        done, failed = _come_of(output, services, exported, functions=functions, wait=timeout if wait else None)
        stays = wait or not functions
        if stays:
            outcomes.show(output, done, bucket_path)
        else:
            _tell_events(output, done, new=any(map(_is_new, _entries(answer, "tables"))))
        output.document(
            {
                **answer,
                "failed": [*_entries(answer, "failed"), *(each.entry for each in failed)],
                "imported": [outcomes.entry(each) for each in done if stays],
            }
        )
        codes = [Exit.RETRY if failure["retryable"] else Exit.FAILED for failure in _entries(answer, "failed")]
        waits = done if stays else [each for each in done if each.what == "held"]
        outcomes.leave(waits, [*codes, *(Exit.of(each.error) for each in failed)])


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

    Without --date or --snapshot it is the latest complete one. A snapshot that one of the two names is published even
    if readers have seen a newer one.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import imports

        if date is not None and snapshot is not None:
            raise BadRequestError("--snapshot takes no --date: it names its own")
        services = daily_services(bucket_path)
        asked = known_tables(services, tables, table_name)
        chosen = date is not None or snapshot is not None

        def bring(table: Table) -> SnapshotOutcome:
            found = imports.find(services, table, date, snapshot)
            return outcomes.bring(output, services, found, chosen=chosen)

        done, failed = for_each(output, asked, bring)
        output.document(
            {"imported": [outcomes.entry(each) for each in done], "failed": [each.entry for each in failed]}
        )
        outcomes.show(output, done, bucket_path)
        outcomes.tell_views(output, done)
        outcomes.leave(done, [Exit.of(each.error) for each in failed])


@GROUP.command("materialize", "materialize-gcloud", example="recosync materialize iris_france_mv")
def materialize(
    views: ViewArguments = None,
    view_name: ViewOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Rebuild materialized views now, also views that are fresh."""
    with reporting(as_json, verbose) as output:
        from shared.daily import refresh
        from shared.operate.patience import while_busy

        services = daily_services()
        asked = known_views(services, views, view_name)
        rebuilt: list[Json] = []
        output.done = {"rebuilt": rebuilt}
        try:
            with output.progress("rebuilding", total=len(asked)) as bar:
                for view in asked:
                    started = time.monotonic()
                    while_busy(partial(refresh.rebuild, services, view), output.note)
                    rebuilt.append({"view": view.name, "seconds": round(time.monotonic() - started, 3)})
                    bar.advance(doing=view.name)
        finally:
            if rebuilt:
                rows = [[view["view"], view["seconds"]] for view in rebuilt]
                output.table("Views rebuilt", ["View", "Seconds"], rows)
        output.document({"rebuilt": rebuilt})


@GROUP.command("plan", example="recosync plan iris_france")
def plan(
    tables: TableArguments = None,
    price_per_tib: Annotated[
        float, typer.Option("--price-per-tib", min=0, max=1_000_000, help="US dollars for a TiB of on-demand query.")
    ] = 6.25,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell what an export would move and cost.

    BigQuery estimates the bytes in a dry run; nothing is exported.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import plan, removal

        services = daily_services()
        asked = known_tables(services, tables)
        with output.progress("asking BigQuery", total=len(asked)) as bar:

            def ask(table: Table) -> plan.Plan:
                try:
                    return plan.of(services, table, price_per_tib)
                finally:
                    bar.advance(doing=table.name)

            plans, failed = for_each(output, asked, ask)
        orphans = removal.left(services)
        output.table(
            f"What an export would do, at {price_per_tib:.2f} USD per TiB",
            ["Table", "Source", "Source rows", "Rows to move", "Bytes billed", "USD"],
            [[p.table, p.source, p.source_rows, p.rows_to_move, p.bytes_billed, f"{p.usd:.4f}"] for p in plans],
        )
        for line in (*dict.fromkeys(line for p in plans for line in p.outdated), *map(str, orphans)):
            output.line(line)
        total = round(sum(p.usd for p in plans), 6)
        output.document(
            {
                "tables": [asdict(p) for p in plans],
                "failed": [each.entry for each in failed],
                "orphans": [{"kind": o.kind, "name": o.name, "bytes": o.bytes} for o in orphans],
                "usd": total,
                "price_per_tib": price_per_tib,
            }
        )
        outcomes.leave((), [Exit.of(each.error) for each in failed])


def _tell_export(output: Output, answer: Json) -> None:
    fields = ("table", "snapshot_id", "status", "rows", "parts", "bytes")
    output.table(
        "Exported",
        ["Table", "Snapshot", "Status", "Rows", "Parts", "Bytes"],
        [[entry.get(name) for name in fields] for entry in _entries(answer, "tables")],
    )
    show_failed(output, _entries(answer, "failed"))


def _tell_events(output: Output, stood: Sequence[SnapshotOutcome], *, new: bool) -> None:
    """What comes of the snapshots without this command: of those that `stood` there before, nothing."""
    if new:
        output.line("The functions import it: `recosync status` tells how far they are, --wait follows them.")
    outcomes.explain(output, [each for each in stood if each.what == "held"])
    outcomes.mention(output, [each for each in stood if each.what != "held"])


@dataclass(frozen=True)
class _Exported:
    """A snapshot that an export call told of, and what it called that."""

    status: str
    awaited: Awaited

    @property
    def name(self) -> str:
        return self.awaited.table.name


def _exported(services: Services, entries: Iterable[Json], since: datetime) -> list[_Exported]:
    from shared.operate.waiting import Awaited

    return [
        _Exported(
            str(entry["status"]),
            Awaited(
                services.catalog.tables[str(entry["table"])],
                SnapshotId.parse(str(entry["snapshot_id"])),
                new=_is_new(entry),
                since=since,
            ),
        )
        for entry in entries
    ]


def _come_of(
    output: Output, services: Services, exported: Sequence[_Exported], *, functions: bool, wait: float | None
) -> tuple[list[SnapshotOutcome], list[Failed]]:
    """What became of the exported snapshots: at the hands of the functions, or in this process where no event fires.

    `wait` is for how many seconds without any movement; who does not wait hears of those that nobody is at any more.
    """
    from shared.operate import imports

    snapshots = {one.name: one.awaited.snapshot for one in exported}

    def bring(table: Table) -> SnapshotOutcome:
        found = imports.find(services, table, None, snapshots[table.name])
        return outcomes.bring(output, services, found, chosen=True)

    def look(table: Table) -> SnapshotOutcome:
        return outcomes.standing(services, table, snapshots[table.name])

    done: list[SnapshotOutcome] = []
    failed: list[Failed] = []
    if not functions:
        done, failed = for_each(output, [one.awaited.table for one in exported if one.status in BROUGHT], bring)
    new, gone = {each.table for each in done if each.new}, {each.table for each in failed}
    rest = [one for one in exported if one.name not in gone]
    if wait is not None:
        awaited = [replace(one.awaited, new=one.awaited.new and (functions or one.name in new)) for one in rest]
        done, late = outcomes.follow(output, services, awaited, wait)
    else:
        known = {each.table for each in done}
        stood = [one.awaited.table for one in rest if one.name not in known and one.status in STOOD]
        more, late = for_each(output, stood, look)
        done += more
    return done, failed + late


def _is_new(entry: Json) -> bool:
    """Whether this command wrote the manifest, whose event the functions get."""
    return entry["status"] == "exported"


def _entries(answer: Json, name: str) -> list[Json]:
    return cast(list[Json], answer[name])
