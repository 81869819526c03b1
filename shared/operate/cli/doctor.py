"""The command that looks whether a deployment is as the suite needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from shared.errors import BadRequestError
from shared.operate.cli.commands import AsJson, Group, Verbose
from shared.operate.cli.output import Exit, reporting
from shared.words import quantity

GROUP = Group()


@GROUP.command("doctor", example="recosync doctor --api-role api")
def doctor(
    deployment: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            "--deployment",
            metavar="FILE",
            help="What `terraform output -json deployment` prints: what it deployed and its alerts are looked at too.",
        ),
    ] = None,
    plan: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="What `terraform show -json` prints of a plan: only what its first apply needs is looked at.",
        ),
    ] = None,
    api_role: Annotated[
        str | None, typer.Option("--api-role", metavar="ROLE", help="The API's role in PostgreSQL.")
    ] = None,
    status_role: Annotated[
        str | None, typer.Option("--status-role", metavar="ROLE", help="The status page's role.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Have a row of every type travel, under names of its own.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell whether what the environment describes is there, and as it should be.

    It changes nothing. Each line is ok, or says what is wrong and what mends it. What --rehearse writes, it takes away.
    """
    with reporting(as_json, verbose) as output:
        from shared.operate.doctor import Asked, Check, Verdict, before, examine, fields
        from shared.operate.doctor.database import Readers
        from shared.operate.doctor.deployed import read

        if plan is not None and (deployment is not None or api_role or status_role or rehearse):
            raise BadRequestError("--plan takes no other option: nothing is deployed yet")
        known = None if deployment is None else read(deployment.read(), deployment.name)
        readers = Readers(api_role, status_role, known.connections.needed if known else None)
        checks: list[Check] = []
        made = examine(Asked("operator", readers, known, rehearse=rehearse))
        for check in made if plan is None else before(plan.read(), plan.name):
            output.line(check.line)
            checks.append(check)
        output.document({**fields(checks)})
        wrong, unknown = (sum(c.verdict is verdict for c in checks) for verdict in (Verdict.WRONG, Verdict.UNKNOWN))
        told = f"{quantity(len(checks), 'check')}: {wrong} wrong, {unknown} unknown."
        output.line(
            told if known or plan else f"{told} Not looked at, without --deployment: functions, triggers, jobs, alerts."
        )
        if wrong:
            raise typer.Exit(Exit.DIFFERS)
        if unknown:
            raise typer.Exit(Exit.RETRY)
