"""The command that waits until tables and views are fresh enough, for scripts that go on then."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError
from shared.operate.cli.commands import AsJson, Group, TableOrViewArguments, Verbose
from shared.operate.cli.output import Exit, Json, Output, reporting

if TYPE_CHECKING:
    from shared.operate.freshness import Waited

GROUP = Group()

#: How long a script is kept waiting.
TIMEOUT = timedelta(minutes=30)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise typer.BadParameter("write it as a number and s, m, h or d, such as 30m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write it as 2026-01-31, 2026-01-31T05:00 or 20260131T050000Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@GROUP.command("wait", example="recosync wait iris_france_mv --since 2026-01-01")
def wait(
    names: TableOrViewArguments,
    since: Annotated[
        datetime | None,
        typer.Option("--since", parser=_instant, metavar="TIME", help="Rows as of then or later, in UTC."),
    ] = None,
    fresher_than: Annotated[
        timedelta | None,
        typer.Option("--fresher-than", parser=_duration, metavar="AGE", help="Rows that are younger; 26h by default."),
    ] = None,
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", parser=_duration, metavar="TIME", help="Give up after that; 30m by default."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Wait until readers of tables and views have fresh rows.

    It needs nothing of the environment but DATABASE_URL, of any role that may read the ledger.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate import freshness
        from shared.operate.status.tables import FRESH
        from shared.settings import CommonSettings

        if since is not None and fresher_than is not None:
            raise BadRequestError("--since takes no --fresher-than: either says how fresh rows should be")
        wanted = freshness.Wanted(since, FRESH if since is None and fresher_than is None else fresher_than)
        asked = list(dict.fromkeys(names))
        seconds = (TIMEOUT if timeout is None else timeout).total_seconds()
        settings = CommonSettings.of_database()
        with output.progress("waiting"):
            found = freshness.until_fresh(settings, asked, wanted, output.note, seconds)
        _tell(output, found)


def _tell(output: Output, found: Sequence[Waited]) -> None:
    output.table(
        "Waited for",
        ["Name", "Outcome", "State", "Snapshot", "Fresh as of (UTC)"],
        [
            [
                one.row.name,
                one.what,
                one.row.state,
                one.row.snapshot,
                one.row.fresh_at and f"{one.row.fresh_at:%Y-%m-%d %H:%M:%S}",
            ]
            for one in found
        ],
    )
    for one in found:
        if one.what != "reached":
            output.problem(f"recosync: {one.row.name}: {_why(one)}")
    output.document({"waited": [_entry(one) for one in found]})
    # What needs somebody says more than what may still come.
    for what, code in (("failed", Exit.FAILED), ("held", Exit.HELD), ("pinned", Exit.HELD), ("late", Exit.LATE)):
        if any(one.what == what for one in found):
            raise typer.Exit(code)


def _why(one: Waited) -> str:
    match one.what:
        case "failed":
            return f"{one.because} failed for good; nothing newer comes before that is mended"
        case "held":
            return f"what is newer of {one.because} is held, and waits for a decision"
        case "pinned":
            return f"an operator went back to an earlier snapshot of {one.because}, and pinned it"
        case _:
            return f"not reached: {one.because} is {one.row.state}; it may still come"


def _entry(one: Waited) -> Json:
    fields = asdict(one.row)
    age = fields.pop("age")
    return {
        "name": fields.pop("name"),
        "status": one.what,
        "because": one.because,
        **{name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()},
        "age_seconds": None if age is None else age.total_seconds(),
    }
