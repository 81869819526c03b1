"""The command that writes a block of the catalog from a table that is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import BadRequestError
from shared.operate.cli.commands import AsJson, Verbose, daily_services, hourly_services
from shared.operate.cli.folder import CATALOG as CATALOG
from shared.operate.cli.output import Output, reporting

if TYPE_CHECKING:
    from shared.catalog import Place, Source
    from shared.operate.propose import LogProposal, TableProposal


@CATALOG.command("add", example="recosync catalog add analytics.similar_artist")
def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A BigQuery table, [PROJECT.]DATASET.TABLE; with --log PostgreSQL's, [SCHEMA.]TABLE."
        ),
    ],
    log: Annotated[bool, typer.Option("--log", help="The table is a log in PostgreSQL.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The table's name in PostgreSQL, if not its source's.")
    ] = None,
    prints: Annotated[bool, typer.Option("--print", help="Print the block, and write nothing.")] = False,
    no_count: Annotated[bool, typer.Option("--no-count", help="Look for no key in BigQuery.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write the block of a table that is there at the end of the catalog.

    The block has the table's columns with their types, what can't travel as comments that say why, and a key if
    counting proves one. The shipped catalog is left as it is.
    """
    with reporting(as_json, verbose) as output:
        from shared import catalog
        from shared.operate import add, propose

        place = None if prints else catalog.Place.here()
        if log:
            if name is not None:
                raise BadRequestError("--log takes no --name: a log is called as its table is")
            _add(output, place, source.rpartition(".")[2], lambda: add.log(hourly_services(), source))
        else:
            asked = _source(source)
            called = name or propose.name_of(asked.table)
            _add(output, place, called, lambda: add.table(daily_services(), asked, called, counts=not no_count))


def _add(output: Output, place: Place | None, name: str, propose: Callable[[], TableProposal | LogProposal]) -> None:
    """Write what is proposed at the end of the catalog there; without one, only print it."""
    from shared.operate import add
    from shared.words import quantity

    if place is not None:
        add.refuse(place, name)
    proposal = propose()
    block, counted = proposal.block(), proposal.counts
    output.done = {"name": name, "block": block}
    if place is not None:
        add.write(place, block)
    read = f"To look for a key, BigQuery read {quantity(counted.bytes, 'byte')}." if counted else ""
    if place is not None:
        output.line(f"{place.file} ends now with:\n\n{block}\n{read}")
        output.line("Look it over. Then write what Terraform reads, and compare it with what is there:")
        output.command("recosync catalog terraform")
        output.command("recosync catalog check --live")
    elif not output.as_json:
        # Nothing but TOML, as it is to be pasted.
        output.raw(f"{block}{read and f'# {read}'}\n".encode())
    output.document(
        {
            "name": name,
            "written": str(place.file) if place else None,
            "block": block,
            "key": proposal.key,
            "left_out": [asdict(column) for column in proposal.left_out],
            "rows": counted.rows if counted else None,
            "bytes": counted.bytes if counted else None,
        }
    )


def _source(text: str) -> Source:
    from shared.catalog import DatasetVariable, Source

    try:
        found = Source.parse(text)
    except ValueError as e:
        raise BadRequestError(str(e), where=text) from None
    if isinstance(found.dataset, DatasetVariable):
        raise BadRequestError("names a variable: write the data set that it names", where=text)
    return found
