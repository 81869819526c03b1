"""Commands of the hourly flow: export hours, load what was exported, fill a range, mend what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from shared.errors import BadRequestError, printable
from shared.names import Hour, format_day
from shared.operate.cli.commands import (
    AsJson,
    BucketOption,
    DayOption,
    Group,
    LogArgument,
    LogOption,
    Verbose,
    hourly_services,
    operator,
    parse_hour,
)
from shared.operate.cli.output import Bar, Exit, Json, Output, reporting
from shared.words import quantity

if TYPE_CHECKING:
    from shared.hourly.request import HourlyRequest
    from shared.operate.mend import Mended
    from shared.services import HourlyServices

GROUP = Group()

#: What the log says of an hour that is through.
SETTLED = ("hour is done", "hour is empty", "hour is failed")

#: Characters of an operator's reason.
MAX_REASON = 500

HourOption = Annotated[int | None, typer.Option("--hour", min=0, max=23, help="That hour of the day, in UTC.")]
UntilOption = Annotated[
    Hour | None,
    typer.Option(parser=parse_hour, metavar="YYYYMMDD[THH]", help="Up to this hour, which is not among them."),
]


@GROUP.command(
    "hourly",
    "hourly_export_process",
    "hourly-export-process",
    example="recosync hourly --date 20260101 --hour 5",
)
def export_hours(
    table_name: LogOption = None,
    date: DayOption = None,
    hour: HourOption = None,
    until: UntilOption = None,
    delete_from_source: Annotated[
        bool, typer.Option("--delete-from-source", help="Delete the verified rows from PostgreSQL.")
    ] = False,
    recover_missed: Annotated[
        bool, typer.Option("--recover-missed", help="Also export earlier gaps, and look for late rows.")
    ] = False,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Export hours of a log to BigQuery.

    Without a date it is the last complete hour; with a date alone, all its hours that have ended.
    """
    with reporting(as_json, verbose) as output:
        from shared.hourly import run
        from shared.hourly.request import parse

        services = hourly_services(bucket_path)
        body = {
            **_hours(table_name, date, hour, until),
            "delete_from_source": delete_from_source,
            "recover_missed": recover_missed,
        }
        request = parse(services, body, None, datetime.now(UTC))
        with _progress(output, request) as bar, bar.counting(*SETTLED):
            answer, _ = run.run(services, request)
        _tell(output, answer)


@GROUP.command(
    "hourly-load",
    "hourly_load_gcs_to_bigquery",
    "hourly-load-gcs-to-bigquery",
    example="recosync hourly-load --date 20260101 --hour 5",
)
def load_hours(
    date: DayOption,
    table_name: LogOption = None,
    hour: HourOption = None,
    until: UntilOption = None,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Load exported hours into BigQuery and verify them.

    Nothing new is read from PostgreSQL.
    """
    with reporting(as_json, verbose) as output:
        from shared.hourly import run
        from shared.hourly.request import parse

        services = hourly_services(bucket_path)
        body = _hours(table_name, date, hour, until)
        request = parse(services, body, None, datetime.now(UTC))
        with _progress(output, request) as bar, bar.counting(*SETTLED):
            answer, _ = run.load(services, request)
        _tell(output, answer)


@GROUP.command("backfill", example="recosync backfill past_offer_context --from 20260101 --until 20260103T07")
def fill(
    log: LogArgument,
    first: Annotated[
        Hour, typer.Option("--from", parser=parse_hour, metavar="YYYYMMDD[THH]", help="The first hour, in UTC.")
    ],
    until: Annotated[
        Hour,
        typer.Option(
            parser=parse_hour, metavar="YYYYMMDD[THH]", help="Up to this hour or day, which is not among them."
        ),
    ],
    delete_from_source: Annotated[
        bool, typer.Option("--delete-from-source", help="Delete the verified rows from PostgreSQL.")
    ] = False,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Export a range of hours or days of a log.

    The command takes as many runs as it needs, and lets the hourly function work in between.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import backfill

        services = hourly_services(bucket_path)
        request = backfill.parse(services, log, first, until, delete=delete_from_source)
        with _progress(output, request) as bar, bar.counting(*SETTLED):
            answer = backfill.run(services, request, bar.reach, output.note)
        _tell(output, answer)


@GROUP.command("restore", example="recosync restore past_offer_context --date 20260101 --hour 5")
def restore_hours(
    log: LogArgument,
    date: DayOption,
    hour: HourOption = None,
    until: UntilOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also hours that BigQuery holds in part: what it holds goes first.")
    ] = False,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Load hours into BigQuery again from their objects, once.

    With a date alone, all of its hours. An hour that BigQuery holds stays as it is.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import mend

        services = hourly_services(bucket_path)
        request = _request(services, _hours(log, date, hour, until))
        with _progress(output, request) as bar, bar.counting(*SETTLED):
            answer = mend.restore(services, request, output.note, replace=replace, by=operator())
        _tell_mended(output, answer)


@GROUP.command(
    "accept", example="recosync accept past_offer_context --date 20260101 --hour 5 --reason 'corrected by hand'"
)
def accept_hours(
    log: LogArgument,
    date: DayOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; the status page shows it.")],
    hour: HourOption = None,
    until: UntilOption = None,
    bucket_path: BucketOption = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Record what BigQuery holds of hours as the truth, and export no more of what PostgreSQL holds of them now.

    With a date alone, all of its hours.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import mend

        services = hourly_services(bucket_path)
        request = _request(services, _hours(log, date, hour, until))
        with _progress(output, request) as bar, bar.counting(*SETTLED):
            answer = mend.accept_all(services, request, output.note, reason=_reason(reason), by=operator())
        _tell_mended(output, answer)


def _request(services: HourlyServices, body: Mapping[str, object]) -> HourlyRequest:
    from shared.hourly.request import parse

    return parse(services, body, None, datetime.now(UTC))


def _reason(text: str) -> str:
    """Raises BadRequestError for what says nothing, or can't be kept."""
    said = printable(text).strip()
    if not said or len(said) > MAX_REASON:
        raise BadRequestError(f"--reason should have 1 to {MAX_REASON:,} characters")
    return said


def _tell_mended(output: Output, answer: Mended) -> None:
    """Show what became of each hour, and leave with the exit code that it means."""
    output.table(
        f"{answer['table']}, hours in UTC",
        ["Hour", "Status", "Rows", "BigQuery held"],
        [[hour["hour"], hour["status"], hour["rows"], hour["before"]] for hour in answer["hours"]],
    )
    output.document(answer)
    _leave(output, answer["failed"])


def _progress(output: Output, request: HourlyRequest) -> AbstractContextManager[Bar]:
    return output.progress(f"hours of {request.table.name}", total=len(request.hours))


def _hours(log: str | None, day: date | None, hour: int | None, until: Hour | None) -> dict[str, object]:
    """The fields of a function's body, which checks what belongs together."""
    given = {"table_name": log, "date": day and format_day(day), "hour": hour, "until": until and str(until)}
    return {name: value for name, value in given.items() if value is not None}


def _tell(output: Output, answer: Json) -> None:
    """Show a run's answer, and leave with the exit code that it means."""
    hours, failed, remaining = _list(answer, "hours"), _list(answer, "failed"), cast(int, answer["remaining"])
    output.table(
        f"{answer['table']}, hours in UTC",
        ["Hour", "Status", "State", "Rows", "New", "Deleted", "Kept"],
        [[h[n] for n in ("hour", "status", "state", "rows", "new_rows", "deleted", "kept")] for h in hours],
    )
    output.document(answer)
    if not hours and not failed:
        output.line(f"No hour of {answer['table']} was worked on.")
    if remaining:
        output.line(f"{quantity(remaining, 'hour')} left, from {answer['next']}: call again, or use backfill.")
    _leave(output, failed)


def _leave(output: Output, failed: Sequence[Mapping[str, object]]) -> None:
    """Tell what failed, and leave with the exit code that it means."""
    for failure in failed:
        hour, error = f"hour {failure['hour']}", str(failure["error"])
        output.problem(f"recosync: {error}" if hour in error else f"recosync: {hour}: {error}")
    if any(failure["retryable"] for failure in failed):
        raise typer.Exit(Exit.RETRY)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _list(answer: Json, name: str) -> list[Mapping[str, object]]:
    found = answer[name]
    return found if isinstance(found, list) else []
