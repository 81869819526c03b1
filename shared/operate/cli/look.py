"""Commands that look at everything: status, verify; and migrate, which brings PostgreSQL up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError
from shared.operate.cli.commands import (
    AsJson,
    Group,
    TableOrLogArguments,
    Verbose,
    daily_services,
    hourly_services,
    parse_day_option,
)
from shared.operate.cli.output import Exit, Output, reporting

if TYPE_CHECKING:
    from shared.catalog import Catalog, HourlyTable, Table
    from shared.operate.verify import DayVerdict, TableVerdict

GROUP = Group()

#: Days of a log that are counted unless others are named.
DAYS = 7


@GROUP.command("status", example="recosync status")
def status(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Tell how everything stands, and what waits for somebody."""
    with reporting(as_json, verbose) as output:
        from shared.operate.cli.screen import show
        from shared.operate.status import gather

        with output.progress("gathering"):
            report = gather(hourly_services())
        if as_json:
            output.raw(report.to_json())
        else:
            show(output, report)
        failing = [each for each in report.failing or () if each.attention]
        if not report.complete or any(each.retryable for each in failing):
            raise typer.Exit(Exit.RETRY)
        if failing:
            raise typer.Exit(Exit.FAILED)


@GROUP.command("verify", example="recosync verify iris_france past_offer_context")
def verify(
    names: TableOrLogArguments = None,
    first: Annotated[
        date | None,
        typer.Option("--from", parser=parse_day_option, metavar="YYYYMMDD", help="The first day of logs to count."),
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", parser=parse_day_option, metavar="YYYYMMDD", help="The last day of logs to count."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Recount everything against BigQuery.

    Tables are compared with their receipts, logs with their hour manifests, of the last 7 days if none are named.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog

        tables, logs = _asked(catalog.load(), names or [])
        until = last or datetime.now(UTC).date()
        since = first or until - timedelta(days=DAYS - 1)
        if since > until:
            raise BadRequestError("--from is after --to")
        verdicts, days = _recount(output, tables, logs, since, until)
        _tell(output, verdicts, days)


@GROUP.command("migrate", example="recosync migrate")
def migrate(
    reader: Annotated[
        str | None, typer.Option("--reader", metavar="ROLE", help="A role that may read the ledger: the status page's.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Bring the ledger and the tables up to date.

    The ledger gets its newest schema, and a table the columns that only the catalog has.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate.migrate import migrate as bring_up_to_date

        changes: list[str] = []
        output.done = {"changes": changes}
        try:
            with output.progress("migrating"):
                bring_up_to_date(daily_services(), reader=reader, tell=changes.append)
        finally:
            for change in changes:
                output.line(change)
        output.document({"changes": changes})
        if not changes:
            output.line("Nothing to change.")


def _asked(known: Catalog, names: Sequence[str]) -> tuple[list[Table], list[HourlyTable]]:
    unknown = [name for name in names if name not in known.tables and name not in known.hourly]
    if unknown:
        raise BadRequestError(f"no table or log of the catalog: {', '.join(unknown)}")
    wanted = names or [*known.tables, *known.hourly]
    tables = [table for name, table in known.tables.items() if name in wanted]
    return tables, [log for name, log in known.hourly.items() if name in wanted]


def _recount(
    output: Output, tables: Sequence[Table], logs: Sequence[HourlyTable], since: date, until: date
) -> tuple[list[TableVerdict], list[DayVerdict]]:
    from shared.operate import verify

    verdicts: list[TableVerdict] = []
    days: list[DayVerdict] = []
    with output.progress("counting", total=len(tables) + len(logs) * ((until - since).days + 1)) as bar:
        if tables:
            daily = daily_services()
            for table in tables:
                verdicts.append(verify.table(daily, table))
                bar.advance(doing=table.name)
        if logs:
            hourly = hourly_services()
            for log in logs:
                days += verify.days(hourly, log, since, until, bar.advance)
    return verdicts, days


def _tell(output: Output, verdicts: Sequence[TableVerdict], days: Sequence[DayVerdict]) -> None:
    differs = any(v.differences for v in verdicts) or any(d.differences for d in days)
    if verdicts:
        output.table(
            "Tables",
            ["Table", "Snapshot", "Receipt", "PostgreSQL", "BigQuery now", "Verdict"],
            [
                [
                    v.table,
                    v.snapshot,
                    v.receipt_rows,
                    v.postgresql_rows,
                    v.source_rows,
                    _verdict(v.differences, v.notes),
                ]
                for v in verdicts
            ],
        )
    if days:
        output.table(
            "Logs",
            ["Log", "Day", "Manifest", "BigQuery", "Verdict"],
            [[d.log, d.day, d.manifest_rows, d.bigquery_rows, _verdict(d.differences, d.notes)] for d in days],
        )
    if not verdicts and not days:
        output.line("There is nothing to count on these days.")
    for verdict in verdicts:
        for difference in verdict.differences:
            output.problem(f"recosync: {verdict.table}: {difference}")
    for day in days:
        for difference in day.differences:
            output.problem(f"recosync: {day.log}: {difference}")
    output.document({"agrees": not differs, "tables": list(map(asdict, verdicts)), "days": list(map(asdict, days))})
    if differs:
        raise typer.Exit(Exit.DIFFERS)


def _verdict(differences: Sequence[str], notes: Sequence[str]) -> str:
    return "differs" if differences else "; ".join(notes) or "agrees"
